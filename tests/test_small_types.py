"""Floats of 8 and 4 bits and integers of 4 and 2: rounding, moving, storing, in the interpreter, after `encode`, and compiled."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import tgc
from tgc import targets
from tgc.cli import invoke
from tgc.errors import InvalidIrError, ModelError
from tgc.frontend_onnx import import_model
from tgc.frontend_onnx.tensors import onnx_type, tensor_array
from tgc.ir import dtypes, ops, scalar
from tgc.ir.dtypes import F8E8M0, F16, F32, F64, SMALL, U8, DType, from_numpy
from tgc.ir.expr import Arg, cast
from tgc.ir.graph import Graph
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interpret import run_graph
from tgc.ir.packing import from_codes, from_stored, stored_shape, to_stored
from tgc.ir.small_floats import SMALL_FLOATS, magnitudes
from tgc.ir.text import parse_graph, print_graph
from tgc.ir.verify import verify_graph
from tgc.passes import compile_graph
from tgc.passes.check import check_graph
from tgc.passes.encode import encode
from tgc.passes.fold import fold

Array = npt.NDArray[np.generic]
FLOATS = [dtype for dtype in SMALL if dtype.is_float]
ROUNDED = [dtype for dtype in FLOATS if dtype != F8E8M0]
INTEGERS = [dtype for dtype in SMALL if dtype.is_integer]


def all_values(dtype: DType) -> Array:
    """Every code of a small type, in order."""
    return from_codes(np.arange(1 << dtype.bits, dtype=np.uint8), dtype)


def casts(source: DType, to: DType, size: int) -> Graph:
    """A graph that casts `size` elements."""
    builder = GraphBuilder()
    x = builder.input("x", source, (size,))
    return Graph("casts", (x,), (("y", builder.map(cast(Arg(0, source), to), x)),))


def both(graph: Graph, inputs: dict[str, Array]) -> Array:
    """The output `y`, which is the same after `encode`, bit for bit but for which NaN it is."""
    verify_graph(graph)
    (expected,) = run_graph(graph, inputs).values()
    after = encode(graph)
    verify_graph(after)
    assert not any(node.dtype in SMALL for node in after.nodes())
    (found,) = run_graph(after, {name: to_stored(value) for name, value in inputs.items()}).values()
    same(from_stored(found, from_numpy(expected.dtype), expected.shape), expected)
    return expected


def same(found: Array, expected: Array) -> None:
    """Asserts that two arrays hold the same numbers, the sign of a zero included, NaN for NaN."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    a, b = found.astype(np.float64), expected.astype(np.float64)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.signbit(a[~np.isnan(a)]), np.signbit(b[~np.isnan(b)]))


def around(dtype: DType, wide: npt.DTypeLike) -> Array:
    """Numbers at which rounding to a small float turns: all of its numbers, all middles, and their neighbours in `wide`; and extremes."""
    table = magnitudes(SMALL_FLOATS[dtype])
    with np.errstate(over="ignore"):
        edges = np.concatenate([table, (table[1:] + table[:-1]) / 2]).astype(wide)
    near = np.concatenate([edges, np.nextafter(edges, np.asarray(np.inf, wide)), np.nextafter(edges, np.asarray(-1, wide))])
    limits = np.finfo(wide)
    more = np.array([limits.max, limits.tiny, limits.smallest_subnormal, np.inf, np.nan], wide)
    return np.concatenate([near, -near, more, -more]).astype(wide)


def with_one_nan(values: Array) -> Array:
    """`values` without negative NaN: F4E2M1 has none, and takes -0 for any, where ml_dtypes looks at its sign."""
    return values[~(np.isnan(values) & np.signbit(values))]


@pytest.mark.parametrize("dtype", SMALL, ids=str)
def test_every_code_is_the_number_that_ml_dtypes_says(dtype: DType) -> None:
    values = all_values(dtype)
    found = both(casts(dtype, F32, values.size), {"x": values})
    same(found, values.astype(np.float32))


@pytest.mark.parametrize("dtype", ROUNDED, ids=str)
def test_single_precision_is_rounded_as_ml_dtypes_does(dtype: DType) -> None:
    """At every place where rounding turns, and at every 65537th float of all."""
    spread = np.arange(0, 1 << 32, 65537, dtype=np.uint64).astype(np.uint32).view(np.float32)
    values = with_one_nan(np.concatenate([around(dtype, np.float32), spread]))
    with np.errstate(all="ignore"):
        same(both(casts(F32, dtype, values.size), {"x": values}), values.astype(dtype.numpy))


@pytest.mark.parametrize("dtype", ROUNDED, ids=str)
def test_every_half_is_rounded_as_ml_dtypes_does(dtype: DType) -> None:
    values = with_one_nan(np.arange(1 << 16, dtype=np.uint16).view(np.float16))
    with np.errstate(all="ignore"):
        same(both(casts(F16, dtype, values.size), {"x": values}), values.astype(np.float32).astype(dtype.numpy))


@pytest.mark.parametrize("dtype", ROUNDED, ids=str)
def test_double_precision_is_rounded_once(dtype: DType) -> None:
    """A double just beside a tie goes to its side, which by way of f32 it would not."""
    values = around(dtype, np.float64)
    largest = SMALL_FLOATS[dtype].maximum
    inside = values[np.abs(values) <= largest]
    found = both(casts(F64, dtype, inside.size), {"x": inside}).astype(np.float64)
    numbers = np.unique(all_values(dtype).astype(np.float64))
    numbers = numbers[np.isfinite(numbers)]
    nearest = np.abs(inside[:, None] - numbers).min(axis=1)
    np.testing.assert_array_equal(np.abs(inside - found), nearest)


@pytest.mark.parametrize("source", [*FLOATS, *INTEGERS], ids=str)
@pytest.mark.parametrize("to", [dtypes.F8E5M2, dtypes.F4E2M1, dtypes.I4, dtypes.U2, dtypes.BOOL, dtypes.I32, dtypes.F16, F64], ids=str)
def test_from_one_to_another(source: DType, to: DType) -> None:
    """The definition and `encode` agree, where the IR defines the result."""
    values = all_values(source)
    numbers = values.astype(np.float64)
    if to.is_integer:
        values = values[np.isfinite(numbers) & (np.abs(np.nan_to_num(numbers, posinf=0, neginf=0)) < 2**31)]
    both(casts(source, to, values.size), {"x": values})


def test_powers_of_two_are_rounded_to_the_nearest() -> None:
    exponents = np.arange(-126, 128)
    values = np.ldexp(np.float32([1, 1.25, np.nextafter(np.float32(1.5), np.float32(0)), 1.5, 1.75])[:, None], exponents).reshape(-1)
    found = both(casts(F32, F8E8M0, values.size), {"x": values}).astype(np.float64)
    wanted = np.ldexp(np.repeat([1.0, 1.0, 1.0, 2.0, 2.0], exponents.size), np.tile(exponents, 5))
    np.testing.assert_array_equal(found, np.where(wanted > 2.0**127, np.nan, wanted))


# ---- operators


def model(nodes, inputs, outputs, weights=()) -> onnx.ModelProto:
    """A model of a new opset; inputs are arrays by name, outputs ONNX types by name, weights tensors."""
    declared = [helper.make_tensor_value_info(name, onnx_type(from_numpy(value.dtype)), value.shape) for name, value in inputs.items()]
    results = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()]
    graph = helper.make_graph(nodes, "net", declared, results, list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 26)], ir_version=13)


def answers(made: onnx.ModelProto, inputs: dict[str, Array]) -> Array:
    """The one output, the same by the graph and after `encode`."""
    return both(import_model(made), inputs)


@pytest.mark.parametrize("saturate", [0, 1])
@pytest.mark.parametrize("dtype", ROUNDED[:4], ids=str)
@pytest.mark.parametrize("wide", [np.float32, np.float16])
def test_cast_saturates_or_overflows_as_asked(dtype: DType, saturate: int, wide: type) -> None:
    values = around(dtype, wide)
    node = helper.make_node("Cast", ["x"], ["y"], to=onnx_type(dtype), saturate=saturate)
    made = model([node], {"x": values}, {"y": onnx_type(dtype)})
    with np.errstate(all="ignore"):
        same(answers(made, {"x": values}), ReferenceEvaluator(made).run(None, {"x": values})[0])


@pytest.mark.parametrize("saturate", [0, 1])
@pytest.mark.parametrize("mode", ["up", "down", "nearest"])
def test_cast_to_powers_of_two(mode: str, saturate: int) -> None:
    parts = [0, 1, 0x200000, 0x3FFFFF, 0x400000, 0x400001, 0x600000, 0x7FFFFF]
    bits = (np.arange(512, dtype=np.uint32)[:, None] << 23) + np.array(parts, np.uint32)
    values = bits.reshape(-1).view(np.float32)
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E8M0, saturate=saturate, round_mode=mode)
    found = answers(model([node], {"x": values}, {"y": TensorProto.FLOAT8E8M0}), {"x": values})
    wanted = numpy_helper.to_float8e8m0(values, bool(saturate), mode)
    np.testing.assert_array_equal(found.view(np.uint8), wanted.view(np.uint8))


def test_an_unknown_round_mode_is_an_error() -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E8M0, round_mode="odd")
    with pytest.raises(ModelError, match="round_mode"):
        import_model(model([node], {"x": np.zeros(2, np.float32)}, {"y": TensorProto.FLOAT8E8M0}))


@pytest.mark.parametrize("dtype", SMALL, ids=str)
def test_what_only_moves_elements(dtype: DType) -> None:
    """Transposed, cut, put together, taken, chosen, repeated: codes move, and nothing is rounded."""
    kind, rng = onnx_type(dtype), np.random.default_rng(1)
    values = all_values(dtype)
    x = values[~np.isnan(values.astype(np.float32))][rng.integers(0, 3, (3, 5))]
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"]),
        helper.make_node("Slice", ["t", "one", "four"], ["s"]),
        helper.make_node("Gather", ["s", "order"], ["g"]),
        helper.make_node("Concat", ["g", "g"], ["c"], axis=1),
        helper.make_node("Where", ["mask", "c", "constant"], ["w"]),
        helper.make_node("Identity", ["w"], ["i"]),
        helper.make_node("Reshape", ["i", "shape"], ["y"]),
    ]
    weights = {"one": np.int64([1]), "four": np.int64([4]), "order": np.int64([2, 0, 1]), "shape": np.int64([2, 9])}
    mask, constant = rng.random((3, 6)) < 0.7, x[:1, :1]
    tensors = [numpy_helper.from_array(v, n) for n, v in (weights | {"constant": constant}).items()]
    found = answers(model(nodes, {"x": x, "mask": mask}, {"y": kind}, tensors), {"x": x, "mask": mask})
    moved = x.T[1:4][[2, 0, 1]]
    wanted = np.where(mask, np.concatenate([moved, moved], 1), constant).reshape(2, 9)
    np.testing.assert_array_equal(found.view(np.uint8), wanted.view(np.uint8))


@pytest.mark.parametrize("dtype", SMALL, ids=str)
def test_bits_as_another_type(dtype: DType) -> None:
    values = all_values(dtype)
    other = {8: U8, 4: dtypes.U4 if dtype != dtypes.U4 else dtypes.I4, 2: dtypes.U2 if dtype != dtypes.U2 else dtypes.I2}[dtype.bits]
    there = helper.make_node("BitCast", ["x"], ["y"], to=onnx_type(other))
    found = answers(model([there], {"x": values}, {"y": onnx_type(other)}), {"x": values})
    np.testing.assert_array_equal(found.view(np.uint8) & ((1 << dtype.bits) - 1), np.arange(1 << dtype.bits))
    back = helper.make_node("BitCast", ["x"], ["y"], to=onnx_type(dtype))
    same(answers(model([back], {"x": found}, {"y": onnx_type(dtype)}), {"x": found}), values)


@pytest.mark.parametrize("kind", ["I4", "U4", "I2", "U2", "F4E2M1", "F8E4M3FN", "F8E5M2FNUZ"])
@pytest.mark.parametrize("axis", [0, 1])
def test_blocks_are_quantised_and_back(kind: str, axis: int) -> None:
    dtype: DType = getattr(dtypes, kind)
    rng = np.random.default_rng(2)
    x = rng.normal(0, 20, (8, 12)).astype(np.float32)
    scale = rng.uniform(0.5, 2, (2, 12) if axis == 0 else (8, 3)).astype(np.float32)
    for op, value, result in (("QuantizeLinear", x, dtype), ("DequantizeLinear", x.clip(0, 1).astype(dtype.numpy), F32)):
        more = {"output_dtype": onnx_type(dtype)} if op == "QuantizeLinear" else {}
        node = helper.make_node(op, ["x", "scale"], ["y"], axis=axis, block_size=4, **more)
        made = model([node], {"x": value, "scale": scale}, {"y": onnx_type(result)})
        found = answers(made, {"x": value, "scale": scale})
        same(found, ReferenceEvaluator(made).run(None, {"x": value, "scale": scale})[0])


# ---- storing


@pytest.mark.parametrize("dtype", SMALL, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (4, 4)])
def test_bytes_are_those_of_onnx(dtype: DType, shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape))
    value = np.resize(all_values(dtype), size).reshape(shape)
    tensor = numpy_helper.from_array(value, "x")
    stored = to_stored(value)
    assert stored.tobytes() == tensor.raw_data
    assert stored.shape == stored_shape(dtype, shape)
    np.testing.assert_array_equal(from_stored(stored, dtype, shape).view(np.uint8), value.view(np.uint8))
    np.testing.assert_array_equal(tensor_array(tensor, None, "x").view(np.uint8), value.view(np.uint8))
    if dtype != F8E8M0:  # of which helper rounds the smallest number up
        listed = helper.make_tensor("x", onnx_type(dtype), shape, value.reshape(-1).astype(np.float32))
        same(tensor_array(listed, None, "x"), value)


def test_a_packed_tensor_of_the_wrong_size_is_refused() -> None:
    tensor = TensorProto(name="x", data_type=TensorProto.INT4, dims=(3, 3), raw_data=b"\0" * 4)
    with pytest.raises(ModelError, match="takes 5 bytes"):
        tensor_array(tensor, None, "x")


def test_the_text_form_has_small_types() -> None:
    builder = GraphBuilder()
    x = builder.constant(np.array([-8, 7, 3], ml_dtypes.int4))
    y = builder.constant(np.array([1.5, 448, -0.0], ml_dtypes.float8_e4m3fn))
    graph = Graph("small", (), (("x", x), ("y", y), ("z", builder.map(cast(Arg(0, dtypes.I4), F8E8M0), x))))
    assert print_graph(parse_graph(print_graph(graph))) == print_graph(graph)


def blocks(dtype: DType, rows: int = 1) -> tuple[onnx.ModelProto, dict[str, Array], int]:
    """[rows, 512] x dequantised [512, 384], its input, and the bytes that the weights take."""
    rng = np.random.default_rng(3)
    stored = rng.normal(0, 3, (512, 384)).clip(-2, 1).astype(dtype.numpy)
    scale = rng.uniform(0.5, 1, (16, 384)).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale"], ["d"], axis=0, block_size=32),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    x = {"x": rng.normal(size=(rows, 512)).astype(np.float32)}
    weights = [numpy_helper.from_array(stored, "w"), numpy_helper.from_array(scale, "scale")]
    return model(nodes, x, {"y": TensorProto.FLOAT}, weights), x, to_stored(stored).nbytes + scale.nbytes


@pytest.mark.parametrize("dtype", [dtypes.I4, dtypes.U2, dtypes.F4E2M1], ids=str)
@pytest.mark.parametrize("rows", [1, 4])
def test_weights_stay_packed(tmp_path, dtype: DType, rows: int) -> None:
    made, x, size = blocks(dtype, rows)
    artifact = tgc.compile(made, "cpu", tmp_path)
    assert artifact.program.weights.nbytes == size
    if rows == 1:
        assert artifact.program.arena_bytes == 0, "unpacked where they are read"
    wanted = ReferenceEvaluator(made).run(None, x)[0]
    found = tgc.load(tmp_path).run(x)["y"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("wide", [np.float32, np.float16])
def test_weights_that_an_operator_unpacks_stay_packed(bits: int, wide: type) -> None:
    """MatMulNBits of com.microsoft: fields of a u8, a scale for every 32 of them."""
    rng = np.random.default_rng(4)
    weights = {"w": rng.integers(0, 256, (384, 16, 4 * bits)).astype(np.uint8), "scales": rng.uniform(0.5, 1, (384, 16)).astype(wide)}
    node = helper.make_node("MatMulNBits", ["x", *weights], ["y"], domain="com.microsoft", K=512, N=384, bits=bits, block_size=32)
    kind = onnx_type(from_numpy(wide))
    made = model([node], {"x": np.zeros((1, 512), wide)}, {"y": kind}, [numpy_helper.from_array(v, n) for n, v in weights.items()])
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    for target in ("cpu", "qcom"):
        program = tgc.compile(made, target).program
        assert program.weights.nbytes <= 1.5 * sum(value.nbytes for value in weights.values()), "scales may be wider"


def test_fold_does_not_unpack_what_a_model_packs_itself() -> None:
    """Two numbers of 4 bits in a u8 and a scale: the numbers take eight times the bytes."""
    builder = GraphBuilder()
    bytes_ = builder.constant(np.arange(1 << 17, dtype=np.uint32).astype(np.uint8).reshape(-1, 1))
    low = builder.map(cast(Arg(0, U8), F32), builder.expand(bytes_, (1 << 17, 4)))
    graph = Graph("packed", (), (("y", low),))
    assert [type(node).__name__ for node in fold(graph).nodes()] == ["Constant", "Expand", "Map"]


# ---- compiled


def every_type() -> tuple[onnx.ModelProto, dict[str, Array]]:
    """All codes of every small type to f32 and, moved by one, back out."""
    inputs = {f"x_{dtype}": all_values(dtype)[:-1] for dtype in SMALL}
    nodes, outputs = [], {}
    for dtype in SMALL:
        nodes += [
            helper.make_node("Cast", [f"x_{dtype}"], [f"wide_{dtype}"], to=TensorProto.FLOAT),
            helper.make_node("Concat", ["last", f"wide_{dtype}"], [f"more_{dtype}"], axis=0),
            helper.make_node("Cast", [f"more_{dtype}"], [f"y_{dtype}"], to=onnx_type(dtype), saturate=0),
        ]
        outputs |= {f"wide_{dtype}": TensorProto.FLOAT, f"y_{dtype}": onnx_type(dtype)}
    return model(nodes, inputs, outputs, [numpy_helper.from_array(np.float32([1, 0.5, 1]), "last")]), inputs


@pytest.mark.parametrize("target", ["cpu", "c", "opencl"])
def test_every_type_goes_in_and_comes_out(tmp_path, target: str) -> None:
    made, inputs = every_type()
    try:
        tgc.compile(made, target, tmp_path, selftest=True, check_passes=target == "cpu")
        loaded = tgc.load(tmp_path)
    except tgc.ToolchainError as error:
        pytest.skip(error.what)
    found = loaded.run(inputs)
    expected = run_graph(import_model(made), inputs)
    for name, value in expected.items():
        same(found[name], value)
    assert loaded.selftest() is None


@pytest.mark.parametrize("dtype", [F16, dtypes.BF16, dtypes.F8E4M3FN], ids=str)
def test_check_passes_allows_for_the_roundings_of_a_type(dtype: DType) -> None:
    """Widened, a chain of products rounds once where the graph does after each; a wrong answer is found all the same."""
    rng = np.random.default_rng(5)
    builder = GraphBuilder()
    x = builder.input("x", dtype, (64, 1))
    y = x if dtype.bits == 16 else builder.map(cast(Arg(0, dtype), F16), x)
    wide = y.dtype
    for _ in range(4):
        w = builder.constant(rng.normal(0, 0.125, (64, 64)).astype(wide.numpy))
        product = builder.map(scalar.mul(Arg(0, wide), Arg(1, wide)), builder.expand(builder.permute(y, (1, 0)), (64, 64)), w)
        y = builder.reduce(ops.ADD, product, (1,))
    last = builder.map(cast(Arg(0, wide), dtype), y)
    graph = Graph("half", (x,), (("y", last),))
    compile_graph(graph, targets.find("x86-64-v3"), check=True)
    off = Graph("half", (x,), (("y", builder.map(cast(scalar.mul(Arg(0, wide), 1.5), dtype), y)),))
    with pytest.raises(InvalidIrError, match="changed the output"):
        check_graph("widen", graph, off)


def test_the_command_line_takes_and_gives_small_types(tmp_path) -> None:
    """From .npy, where numpy has forgotten the type's name, and back; verified against the reference, each kernel too."""
    values = all_values(dtypes.I4).reshape(4, 4)
    made = model([helper.make_node("Transpose", ["x"], ["y"])], {"x": values}, {"y": TensorProto.INT4})
    onnx.save(made, tmp_path / "small.onnx")
    np.save(tmp_path / "x.npy", values)
    run = ["run", str(tmp_path / "small.onnx"), "--input", f"x={tmp_path / 'x.npy'}", "-o", str(tmp_path / "out")]
    assert invoke(run) == 0
    result = np.load(tmp_path / "out" / "y.npy").view(ml_dtypes.int4)
    np.testing.assert_array_equal(result.astype(np.int8), values.T.astype(np.int8))
    assert invoke(["verify", str(tmp_path / "small.onnx"), "--against", "reference", "--per-kernel"]) == 0


@pytest.mark.parametrize("dtype", ROUNDED, ids=str)
def test_compiled_code_rounds_alike(tmp_path, dtype: DType) -> None:
    values = np.concatenate([around(dtype, np.float32), np.arange(0, 1 << 32, 655357, dtype=np.uint64).astype(np.uint32).view(np.float32)])
    values = with_one_nan(values)
    node = helper.make_node("Cast", ["x"], ["y"], to=onnx_type(dtype), saturate=0)
    tgc.compile(model([node], {"x": values}, {"y": onnx_type(dtype)}), "cpu", tmp_path)
    with np.errstate(all="ignore"):
        same(tgc.load(tmp_path).run({"x": values})["y"], values.astype(dtype.numpy))
