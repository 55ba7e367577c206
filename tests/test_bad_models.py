"""What a user may hand over that is not a good model: each has an error that says what, where and what to do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper

from tgc import cli
from tgc.errors import ModelError, OptionError, TgcError, TgcWarning, UnsupportedError
from tgc.frontend_onnx import import_model

HEAD = '<ir_version: 8, opset_import: ["" : 17, "com.acme" : 1]>'


def model(text: str) -> onnx.ModelProto:
    """A model in ONNX's text syntax, opset 17."""
    return onnx.parser.parse_model(HEAD + text)


def fault(source: object, kind: type[TgcError], **pins: object) -> str:
    with pytest.raises(kind) as caught:
        import_model(source, **pins)  # type: ignore[arg-type]
    assert type(caught.value) is kind
    return str(caught.value)


def weighted(tensor: TensorProto, shape: str = "2, 3") -> onnx.ModelProto:
    """x + w, where w is `tensor`."""
    made = model(f"g (float[{shape}] x) => (float[{shape}] y) {{ y = Add(x, w) }}")
    tensor.name = "w"
    made.graph.initializer.append(tensor)
    return made


def external(**entries: str) -> TensorProto:
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[2, 3], data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def saved(made: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


# Files.


def test_missing_file(tmp_path: Path) -> None:
    assert "there is no such file" in fault(tmp_path / "nothing.onnx", ModelError)


def test_folder(tmp_path: Path) -> None:
    (tmp_path / "inner.onnx").touch()
    text = fault(tmp_path, ModelError)
    assert "is a folder" in text
    assert "inner.onnx" in text


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    assert "the file is empty" in fault(tmp_path / "m.onnx", ModelError)


@pytest.mark.parametrize("content", [b"not a model at all", b"\x00" * 100, bytes(range(256)) * 8, b"\x08\x08"])
def test_garbage_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    text = fault(path, ModelError)
    assert "is not an ONNX model" in text
    assert str(path) in text


def test_truncated_file_at_any_byte(tmp_path: Path) -> None:
    made = weighted(numpy_helper.from_array(np.ones((2, 3), np.float32)))
    del made.opset_import[1]
    whole = made.SerializeToString()
    path = tmp_path / "m.onnx"
    for size in range(1, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(TgcError):
            import_model(path)


@pytest.mark.filterwarnings("ignore:The onnxtxt format is experimental")
@pytest.mark.parametrize(("suffix", "content"), [("json", b"{]"), ("onnxtxt", b"<<>>"), ("textproto", b"graph {"), ("textproto", b"\xff")])
def test_text_that_does_not_parse(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"m.{suffix}"
    path.write_bytes(content)
    assert "is not an ONNX model" in fault(path, ModelError)


def test_opset_from_the_future() -> None:
    made = model("g (float[1] x) => (float[1] y) { y = Relu(x) }")
    made.opset_import[0].version = 999
    assert "opset 999" in fault(made, UnsupportedError)


# Weights.


def test_missing_external_data(tmp_path: Path) -> None:
    text = fault(saved(weighted(external(location="w.bin")), tmp_path), ModelError)
    assert "initializer 'w'" in text
    assert "'w.bin' is missing" in text


@pytest.mark.parametrize("location", ["../w.bin", "a/../../w.bin", "/etc/passwd", "C:\\w.bin", ""])
def test_external_data_outside_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(24))
    (tmp_path / "inner").mkdir()
    path = saved(weighted(external(location=location)), tmp_path / "inner")
    assert "outside the model's folder" in fault(path, ModelError)


def test_external_data_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(24))
    (tmp_path / "inner").mkdir()
    os.symlink(tmp_path / "w.bin", tmp_path / "inner" / "w.bin")
    path = saved(weighted(external(location="w.bin")), tmp_path / "inner")
    assert "links to a place outside the model's folder" in fault(path, ModelError)


def test_external_data_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "w.bin").mkdir()
    assert "not a regular file" in fault(saved(weighted(external(location="w.bin")), tmp_path), ModelError)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": "8"}, "too short"),
        ({"offset": "-1"}, "not a number"),
        ({"length": "many"}, "not a number"),
        ({"length": "20"}, "takes 24 bytes"),
        ({"offset": "999999999999999999999"}, "too short"),
    ],
)
def test_external_data_of_another_size(tmp_path: Path, entries: dict[str, str], message: str) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(24))
    assert message in fault(saved(weighted(external(location="w.bin", **entries)), tmp_path), ModelError)


def test_external_data_of_a_model_in_memory() -> None:
    assert "pass the model's path" in fault(weighted(external(location="w.bin")), ModelError)


@pytest.mark.parametrize("dims", [[2, 4], [2**40, 2**40], [2**62, 2**62, 2**62], [-2, -3], [0]])
@pytest.mark.parametrize("raw", [True, False])
def test_initializer_whose_size_lies(dims: list[int], raw: bool) -> None:
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=dims)
    if raw:
        tensor.raw_data = bytes(24)
    else:
        tensor.float_data.extend([0.0] * 6)
    assert "initializer 'w'" in fault(weighted(tensor), ModelError)


def test_constant_whose_size_lies() -> None:
    made = model("g (float[2] x) => (float[2] y) { c = Constant<value = float[2] {1, 2}> ()  y = Add(x, c) }")
    made.graph.node[0].attribute[0].t.dims[0] = 2**50
    assert "Constant" in fault(made, ModelError)


@pytest.mark.parametrize("kind", [TensorProto.STRING, TensorProto.COMPLEX64, TensorProto.COMPLEX128, 99])
def test_element_types_without_meaning_here(kind: int) -> None:
    made = model("g (float[2] x) => (float[2] y) { y = Add(x, w) }")
    made.graph.initializer.append(TensorProto(name="w", data_type=kind, dims=[0]))
    assert "element type" in fault(made, UnsupportedError)


# Graphs.


def test_string_input() -> None:
    text = fault(model("g (string[2] x) => (string[2] y) { y = Identity(x) }"), UnsupportedError)
    assert "input with element type string: 'x'" in text
    assert "output with element type string: 'y'" in text


def test_sequence_input() -> None:
    assert "input that is not a tensor (sequence): 'x'" in fault(
        model("g (seq(float[2]) x) => (float[2] y) { i = Constant<value_int = 0> ()  y = SequenceAt(x, i) }"), UnsupportedError
    )


def test_unknown_operators_all_at_once() -> None:
    text = fault(
        model("""g (float[2] x, float[N] unused) => (float[2] y) {
            [first] a = Imaginary (x)
            [second] b = com.acme.Secret (a)
            [third] c, d = com.acme.Secret (x)
            [dead] e = com.acme.Unreachable (x)
            z = Imaginary (c)
            y = Add(b, z)
        }"""),
        UnsupportedError,
    )
    assert "2 things are not supported" in text
    assert "Imaginary of ai.onnx, opset 17 (ONNX has no such operator): 'first', 'Imaginary_z'" in text
    assert "Secret of com.acme, opset 1: 'second', 'third'" in text
    assert "Unreachable" not in text


def test_operator_of_a_domain_that_is_not_imported() -> None:
    text = fault(model("g (float[2] x) => (float[2] y) { y = com.other.Op (x) }"), UnsupportedError)
    assert "com.other, for which the model imports no opset" in text


def test_cycle() -> None:
    made = model("g (float[2] x) => (float[2] y) { [one] a = Add(x, c)  [two] b = Relu(a)  [three] c = Relu(b)  y = Relu(c) }")
    assert "nodes form a cycle: one -> two -> three -> one" in fault(made, ModelError)


def test_node_that_reads_itself() -> None:
    made = model("g (float[2] x) => (float[2] y) { [me] y = Add(x, y) }")
    assert "cycle: me -> me" in fault(made, ModelError)


def test_value_that_nothing_makes() -> None:
    text = fault(model("g (float[2] x) => (float[2] y) { [n] y = Add(x, ghost) }"), ModelError)
    assert "value 'ghost' is read by 'n', but nothing makes it" in text


def test_output_that_nothing_makes() -> None:
    assert "value 'y' is read by an output" in fault(model("g (float[2] x) => (float[2] y) { z = Relu(x) }"), ModelError)


def test_value_made_twice() -> None:
    made = model("g (float[2] x) => (float[2] y) { [p] y = Relu(x)  [q] y = Relu(x) }")
    assert "value 'y' is made twice: by 'p' and by 'q'" in fault(made, ModelError)
    assert "value 'x' is made twice" in fault(model("g (float[2] x) => (float[2] y) { x = Relu(x)  y = Relu(x) }"), ModelError)


def test_inputs_outputs_and_initializers_with_one_name() -> None:
    assert "two inputs are named 'x'" in fault(model("g (float[2] x, float[2] x) => (float[2] y) { y = Relu(x) }"), ModelError)
    assert "two outputs are named 'y'" in fault(model("g (float[2] x) => (float[2] y, float[2] y) { y = Relu(x) }"), ModelError)
    made = weighted(numpy_helper.from_array(np.ones((2, 3), np.float32)))
    made.graph.initializer.append(made.graph.initializer[0])
    assert "two initializers are named 'w'" in fault(made, ModelError)


def test_what_the_checker_finds() -> None:
    made = model("g (float[2] x) => (float[2] y) { y = Relu(x, x) }")
    assert "is not valid ONNX" in fault(made, ModelError)
    missing = model("g (float[1, 1, 4] x) => (float[1, 1, 2] y) { y = MaxPool(x) }")
    assert "kernel_shape" in fault(missing, ModelError)


def test_shapes_that_do_not_fit() -> None:
    text = fault(model("g (float[2, 3] x, float[4, 5] z) => (float[2, 5] y) { [product] y = MatMul(x, z) }"), ModelError)
    assert "product" in text
    assert "[2, 3] and [4, 5]" in text


def test_types_that_do_not_fit() -> None:
    text = fault(model("g (float[2] x, int64[2] z) => (float[2] y) { [sum] y = Add(x, z) }"), ModelError)
    assert "'sum'" in text
    assert "f32" in text
    assert "i64" in text


def test_declared_shapes_that_the_operators_contradict_are_a_warning() -> None:
    made = model("g (float[2, 3] x) => (float[3, 3] y, float[6] z) { y = Relu(x) z = Abs(y) }")
    with pytest.warns(TgcWarning, match=r"model declares: 'y' \[3, 3\] is \[2, 3\] and 1 more, which the operators decide"):
        graph = import_model(made)
    assert [value.shape for _, value in graph.outputs] == [(2, 3), (2, 3)]


def test_warnings_are_one_line_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(model("g (float[2, 3] x) => (float[3, 3] y) { y = Relu(x) }"), tmp_path / "m.onnx")
    assert cli.invoke(["compile", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.startswith(f"tgc: warning: {tmp_path / 'm.onnx'}: of another shape than the model declares: 'y' [3, 3]")


def test_declared_type_that_the_operators_contradict() -> None:
    assert "declared as i64" in fault(model("g (float[2] x) => (int64[2] y) { y = Relu(x) }"), ModelError)


def test_old_model_that_cannot_be_converted() -> None:
    made = onnx.parser.parse_model("""<ir_version: 3, opset_import: ["" : 6]>
        g (float[1] a) => (float[1] y) <float[1] w = {1}> { s = Add(w, a) y = Mul(s, w) }""")
    assert "opset 6, which onnx cannot convert to 7" in fault(made, UnsupportedError)


def test_function_that_calls_itself() -> None:
    made = onnx.parser.parse_model(
        HEAD
        + """g (float[2] x) => (float[2] y) { y = com.acme.loop (x) }
        <domain: "com.acme", opset_import: ["" : 17, "com.acme" : 1]> loop (a) => (b) { b = com.acme.loop (a) }"""
    )
    assert "function loop, which calls itself" in fault(made, UnsupportedError)


def test_branches_of_different_shapes() -> None:
    text = fault(
        model("""g (bool c, float[2] x, float[3] z) => (float[N] y) {
            [choice] y = If (c) <then_branch = t () => (float[2] a) { a = Relu(x) }, else_branch = e () => (float[3] b) { b = Abs(z) }>
        }"""),
        UnsupportedError,
    )
    assert "'choice'" in text
    assert "f32 [2] and f32 [3]" in text
    assert "run time" in text


def test_value_needed_while_compiling() -> None:
    text = fault(model("g (float[2, 3] x, int64[2] s) => (float[A, B] y) { [r] y = Reshape(x, s) }"), ModelError)
    assert "'s'" in text
    assert "must be known while compiling" in text
    assert "hint" in text


@pytest.mark.parametrize("shape", ["{1099511627776, 1099511627776}", "{-5, 2}"])
def test_tensors_that_cannot_exist(shape: str) -> None:
    made = model(f"g (float[2] x) => (float[A, B] y) {{ s = Constant<value = int64[2] {shape}> ()  y = ConstantOfShape(s) }}")
    assert "ConstantOfShape_y" in fault(made, ModelError)
    assert "cannot exist" in fault(model("g (float[1099511627776, 99] x) => (float[A, B] y) { y = Relu(x) }"), ModelError)


@pytest.mark.parametrize("damage", [b"\xff", b"\x80"])
def test_names_that_are_not_text(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model("g (float[2] x) => (float[2] y) { y = Relu(x) }").SerializeToString().replace(b"Relu", b"Rel" + damage))
    assert "not UTF-8" in fault(path, ModelError)


# Dimensions.

OPEN = "g (float[N, 3, H, 8] x, float[M, 2] z) => (float[N, 3, H, 8] y) { y = Relu(x) }"


def test_open_dimensions_all_at_once() -> None:
    text = fault(model(OPEN), OptionError)
    assert "'x' [N, 3, H, 8], 'z' [M, 2]" in text
    assert "--dim N=1 --dim H=1 --dim M=1" in text


def test_open_dimensions_without_names() -> None:
    made = model("g (float[?, 3] x) => (float[?, 3] y) { y = Relu(x) }")
    made.graph.input.append(helper.make_tensor_value_info("u", TensorProto.FLOAT, None))
    made.graph.input.append(helper.make_tensor_value_info("v", TensorProto.FLOAT, ["?", "?"]))
    text = fault(made, OptionError)
    assert "'x' [?, 3], 'u' of unknown rank, 'v' [?, ?]" in text
    assert "--shape x=1x3 --shape u=1x... --shape v=1x1" in text


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        ({"dims": {"Q": 1}}, "no input has a dimension named 'Q'"),
        ({"dims": {"N": -1}}, "not negative"),
        ({"shapes": {"q": (1,)}}, "there is no input 'q'"),
        ({"shapes": {"x": (1, 3, 8)}}, "has 4 axes, not 3"),
        ({"shapes": {"x": (1, 4, 8, 8)}}, "3 where the shape has 4"),
        ({"shapes": {"x": (1, 3, -8, 8)}}, "not negative"),
        ({"shapes": {"x": (1, 3, 8, 8)}, "dims": {"N": 2}}, "N = 2 where the shape has 1"),
    ],
)
def test_pins_that_do_not_fit(pins: dict[str, object], message: str) -> None:
    assert message in fault(model(OPEN), OptionError, **pins)


def test_one_name_with_two_sizes() -> None:
    made = model("g (float[N] x, float[N] z) => (float[N] y) { y = Add(x, z) }")
    assert "N = 2 where the shape has 3" in fault(made, OptionError, shapes={"x": (2,), "z": (3,)})
