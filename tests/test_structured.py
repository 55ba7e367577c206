"""Sequences, optionals and strings whose structure is known while compiling: gone from the graph, and as ONNX records them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
import pytest
from onnx import helper, numpy_helper
from onnx.backend.test.case.test_case import TestCase as Case
from single_operator import normal
from test_node_cases import cases

import tgc
from tgc.errors import ModelError, UnsupportedError
from tgc.frontend_onnx import import_model
from tgc.frontend_onnx.structured import STRUCTURED
from tgc.ir.interpret import run_graph

Array = npt.NDArray[np.generic]


def pieces(name: str, value: object) -> dict[str, Array]:
    """A recorded value by the names that tgc gives it: a sequence x is x_0, x_1, .."""
    if isinstance(value, list):
        return {f"{name}_{n}": np.asarray(element) for n, element in enumerate(value)}
    array = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
    return {name: array}


def by_name(declared: Sequence[onnx.ValueInfoProto], values: Sequence[object]) -> dict[str, Array]:
    return {k: v for one, value in zip(declared, values, strict=True) for k, v in pieces(one.name, value).items()}


def structured_cases() -> list[str]:
    """The node tests with sequences or optionals among their operators, inputs or outputs."""

    def has(case: Case) -> bool:
        kinds = {v.type.WhichOneof("value") for v in (*case.model.graph.input, *case.model.graph.output)}
        return bool(kinds & {"sequence_type", "optional_type"}) or any(node.op_type in STRUCTURED for node in case.model.graph.node)

    return sorted(name for name, case in cases().items() if has(case))


@pytest.mark.parametrize("name", structured_cases())
def test_recorded_cases(name: str) -> None:
    """Scalars and shapes among the inputs are compiled in where they have to be known."""
    case = cases()[name]
    for inputs, outputs in case.data_sets or []:
        if any(value is None or (isinstance(value, list) and not value) for value in inputs):
            pytest.skip("an input that is an optional or a sequence of nothing")
        feeds = by_name(case.model.graph.input, inputs)
        wanted = by_name(case.model.graph.output, outputs)
        own = {value.name for value in case.model.graph.input}
        small = {k: v for k, v in feeds.items() if v.ndim <= 1 and v.dtype.kind in "ib" and k in own}
        graph = import_model(case.model, shapes={k: v.shape for k, v in feeds.items() if k not in small}, constants=small)
        results = run_graph(graph, {k: v for k, v in feeds.items() if k not in small})
        assert sorted(results) == sorted(wanted)
        for key, value in wanted.items():
            assert results[key].dtype == value.dtype
            np.testing.assert_allclose(results[key], value, rtol=1e-6)


def parsed(text: str, opset: int = 20) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}, "ai.onnx.ml" : 4]> {text}')


PIECES = """g (float[5, 4] x, bool c) => (float[5, 4] y, int64 n) {
    two = Constant<value = int64 {2}> ()
    parts = SplitToSequence<axis = 0> (x, two)
    turned = If (c) <
        then_branch = t () => (seq(float[N, M]) a) { a = Identity(parts) },
        else_branch = e () => (seq(float[N, M]) b) {
            b = SequenceMap<body = m (float[N, M] p) => (float[N, M] q) { q = Neg(p) }> (parts)
        }
    >
    n = SequenceLength(turned)
    y = ConcatFromSequence<axis = 0> (turned)
}"""


@pytest.mark.parametrize("condition", [True, False])
def test_sequences_in_a_compiled_program(condition: bool, tmp_path: Path) -> None:
    x = normal(5, 4)
    tgc.compile(parsed(PIECES), "cpu", tmp_path, name="model")
    results = tgc.load(tmp_path).run({"x": x, "c": np.array(condition)})
    np.testing.assert_array_equal(results["y"], x if condition else -x)
    assert results["n"] == 3


def test_an_element_at_a_place_that_is_data() -> None:
    text = "g (float[2, 3] x, float[2, 3] y, int64 n) => (float[2, 3] z) { s = SequenceConstruct(x, y)  z = SequenceAt(s, n) }"
    feeds = {"x": normal(2, 3), "y": normal(2, 3) * 2}
    for n in (0, 1, -1):
        results = run_graph(import_model(parsed(text)), {**feeds, "n": np.array(n)})
        np.testing.assert_array_equal(results["z"], feeds["xy"[n]])


def test_sequences_that_are_outputs_are_numbered() -> None:
    graph = import_model(parsed("g (float[4, 3] x) => (seq(float[1, 3]) y) { y = SplitToSequence(x) }"))
    assert [name for name, _ in graph.outputs] == ["y_0", "y_1", "y_2", "y_3"]


def test_sequences_that_are_inputs_are_pinned_by_their_elements() -> None:
    made = parsed("g (seq(float[N, 3]) x) => (float[M, 3] y) { y = ConcatFromSequence<axis = 0> (x) }")
    with pytest.raises(UnsupportedError, match="x_0=") as refused:
        import_model(made)
    assert "sequence" in refused.value.what
    feeds = {"x_0": normal(2, 3), "x_1": normal(4, 3)}
    results = run_graph(import_model(made, shapes={"x_0": (2, 3), "x_1": (4, 3)}), feeds)
    np.testing.assert_array_equal(results["y"], np.concatenate(list(feeds.values())))


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ModelError, match="position 2 of a sequence of 2"):
        import_model(parsed("g (float[2] x) => (float[2] y) <int64 n = {2}> { s = SequenceConstruct(x, x)  y = SequenceAt(s, n) }"))
    made = parsed("g (float[2] x) => (float[2] y) { o = Optional() y = OptionalGetElement(o) }")
    made.graph.node[0].attribute.append(helper.make_attribute("type", helper.make_tensor_type_proto(1, [2])))
    with pytest.raises(ModelError, match="optional that has none"):
        import_model(made)


def words(*values: str) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, object))


def test_strings_that_are_constants_fold_away() -> None:
    nodes = [
        helper.make_node("StringConcat", ["a", "b"], ["ab"]), helper.make_node("Equal", ["ab", "c"], ["same"]),
        helper.make_node("Cast", ["n"], ["numbers"], to=1),
        helper.make_node("LabelEncoder", ["ab"], ["labels"], domain="ai.onnx.ml", keys_strings=["xu", "yv"], values_int64s=[3, 4]),
        helper.make_node("Cast", ["labels"], ["wide"], to=1), helper.make_node("Cast", ["same"], ["flags"], to=1),
        helper.make_node("Add", ["x", "numbers"], ["s"]), helper.make_node("Add", ["s", "wide"], ["t"]),
        helper.make_node("Add", ["t", "flags"], ["y"]),
    ]  # fmt: skip
    tensors = [words("x", "y"), words("u", "v"), words("xu", "no"), words("0.5", "-2")]
    for tensor, name in zip(tensors, "abcn", strict=True):
        tensor.name = name
    ends = [helper.make_tensor_value_info("x", 1, [2])], [helper.make_tensor_value_info("y", 1, [2])]
    graph = helper.make_graph(nodes, "strings", *ends, tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 4)], ir_version=9)
    results = run_graph(import_model(made), {"x": np.zeros(2, np.float32)})
    np.testing.assert_array_equal(results["y"], np.float32([0.5 + 3 + 1, -2 + 4]))


def test_pieces_of_an_axis_with_an_open_length_are_refused() -> None:
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 17]> counted (float[n, 3] x) => (int64 c)
        { s = SplitToSequence (x)  c = SequenceLength (s) }""")
    with pytest.raises(UnsupportedError, match=r"an axis of n elements(?s:.*)--dim n=4") as caught:
        import_model(model, dims={"n": (1, 4)})
    assert "SplitToSequence" in str(caught.value)


def test_strings_at_run_time_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="string"):
        import_model(parsed("g (string[2] x) => (string[2] y) { y = StringConcat(x, x) }"))
    with pytest.raises(UnsupportedError, match="string"):
        import_model(parsed("g (float[2] x) => (string[2] y) { y = Cast<to = 8> (x) }"))
