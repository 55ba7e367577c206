"""ONNX into graphs: versions, functions, branches, shape arithmetic, weights, and that lowerings match their schemas."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx.defs
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper

from tgc.errors import UnsupportedError
from tgc.frontend_onnx import Lowering, import_model, lowers, make_registry, standard_registry
from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.registry import parameters
from tgc.frontend_onnx.structure import FOREIGN
from tgc.ir.graph import Constant, Graph, Map, Node
from tgc.ir.interpret_graph import evaluate, run_graph
from tgc.ir.verify import verify_graph


def model(text: str, opset: int = 17, functions: str = "") -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}, "com.acme" : 1]>{text}{functions}')


def run(graph: Graph, **inputs: np.ndarray) -> np.ndarray:
    """The only output of `graph`."""
    verify_graph(graph)
    (result,) = run_graph(graph, inputs).values()
    return result


X = np.array([[-2, 3, 5], [7, -11, 13]], np.float32)

# The registry.


def test_lookup_takes_the_operators_own_version() -> None:
    @lowers("Softmax", since=(1, 11))
    def old(b: LoweringBuilder, x: Node, *, axis: int = 1) -> Node:
        raise NotImplementedError

    @lowers("Softmax", since=13)
    def new(b: LoweringBuilder, x: Node, *, axis: int = -1) -> Node:
        raise NotImplementedError

    table = make_registry([*old.__dict__["lowerings"], *new.__dict__["lowerings"]])
    found = {opset: table.find("", "Softmax", opset) for opset in (1, 10, 12, 13, 21)}
    assert [f.function if f else None for f in found.values()] == [old, old, old, new, new]
    assert table.find("ai.onnx", "Softmax", 13) is table.find("", "Softmax", 13)


def test_lookup_falls_neither_forward_nor_back() -> None:
    def same(_: LoweringBuilder, x: Node) -> Node:
        return x

    table = make_registry([Lowering("Relu", "", (6,), same), Lowering("Fast", "com.acme", (2, 4), same)])
    assert table.find("", "Relu", 5) is None
    assert table.find("", "Relu", 12) is not None
    assert table.find("", "Relu", 13) is None
    assert [table.find("com.acme", "Fast", opset) is not None for opset in (1, 2, 3, 9)] == [False, True, True, True]
    with pytest.raises(ValueError, match="two lowerings of Relu"):
        make_registry([*table, Lowering("Relu", "", (6, 13), same)])


def schemas(lowering: Lowering) -> list[onnx.defs.OpSchema]:
    every = onnx.defs.get_all_schemas_with_history()
    return [s for s in every if (s.domain, s.name) == (lowering.domain, lowering.op_type) and s.since_version in lowering.since]


@pytest.mark.parametrize("lowering", list(standard_registry()), ids=lambda entry: f"{entry.op_type}-{entry.since[0]}")
def test_lowering_matches_its_schemas(lowering: Lowering) -> None:
    """Names, order and defaults of a lowering's parameters are those of the ONNX schema of every version that it lists."""
    found = schemas(lowering)
    if lowering.domain == "" and lowering.op_type not in FOREIGN:
        assert {s.since_version for s in found} == set(lowering.since), "versions that ONNX does not have"
    takes = parameters(lowering.function)
    defaults = {name: p.default for name, p in inspect.signature(lowering.function).parameters.items()}
    defaults |= {field.name: getattr(group, field.name) for group in takes.groups.values() for field in fields(group)}
    attributes: set[str] = set()
    for schema in found:
        repeats = onnx.defs.OpSchema.FormalParameterOption.Variadic
        assert takes.variadic == any(i.option == repeats for i in schema.inputs)
        assert len(schema.inputs) <= len(takes.inputs)
        wanted = {name: a for name, a in schema.attributes.items() if name != "consumed_inputs"}
        attributes |= set(wanted)
        for name, attribute in wanted.items():
            assert name in takes.attributes, f"attribute {name} of version {schema.since_version}"
            if attribute.default_value.name:
                default = helper.get_attribute_value(attribute.default_value)
                plain = plain_value(default)
                expected = pytest.approx(plain, rel=1e-6) if isinstance(plain, float) else plain
                assert defaults[name] == expected, f"default of {name}"
    assert not found or attributes == set(takes.attributes)


def plain_value(value: object) -> object:
    """An attribute's value as lowerings get it."""
    if isinstance(value, list):
        return tuple(plain_value(entry) for entry in value)
    return value.decode() if isinstance(value, bytes) else value


@dataclass(frozen=True)
class Sides:
    pads: tuple[int, ...] = ()
    mode: str = "zero"


def test_a_dataclass_as_default_stands_for_its_fields() -> None:
    def padded(b: LoweringBuilder, x: Node, *, axis: int = 0, sides: Sides = Sides()) -> Node:
        raise NotImplementedError

    takes = parameters(padded)
    assert takes.attributes == ("axis", "pads", "mode")
    assert takes.arranged({"axis": 1, "mode": "edge"}) == {"axis": 1, "sides": Sides(mode="edge")}


def test_attributes_and_inputs_reach_the_lowering_as_plain_values() -> None:
    seen: list[object] = []

    @lowers("Probe", since=1, domain="com.acme")
    def plain(
        b: LoweringBuilder, x: Node, y: object, z: object, *, f: float, i: int, s: str, fs: object, ss: object, t: object, d: int = 4
    ) -> tuple[Node, Node]:
        seen.extend([y, z, f, i, s, fs, ss, t, d, b.outputs, b.opset, b.site.name])
        return b.add(x, x), x

    node = helper.make_node(
        "Probe", ["x", "", "x"], ["y", ""], "here", domain="com.acme",
        f=0.5, i=3, s="text", fs=[1.5, 2.5], ss=["a", "b"], t=numpy_helper.from_array(np.int64([1, 2])),
    )  # fmt: skip
    made = model("g (float[2, 3] x) => (float[2, 3] y) { y = Relu(x) }")
    made.graph.node[0].CopyFrom(node)
    graph = import_model(made, registry=make_registry(plain.__dict__["lowerings"]))
    np.testing.assert_array_equal(run(graph, x=X), X + X)
    y, z, f, i, s, fs, ss, t, d, outputs, opset, name = seen
    assert (y, z, f, i, s, fs, ss, d) == (None, graph.inputs[0], 0.5, 3, "text", (1.5, 2.5), ("a", "b"), 4)
    np.testing.assert_array_equal(t, np.int64([1, 2]))  # type: ignore[arg-type]
    assert (outputs, opset, name) == (("y", ""), 1, "here")


# Values of a model.


def test_names_types_origins_and_unused_inputs() -> None:
    graph = import_model(
        model("G1 (float[N, 3] x, uint8[4] unused) => (float[N, 3] y) { [first] a = Relu(x)  y = Add(a, x) }"), dims={"N": 2}
    )
    assert graph.name == "G1"
    assert [(i.name, i.dtype.name, i.shape) for i in graph.inputs] == [("x", "f32", (2, 3)), ("unused", "u8", (4,))]
    assert [name for name, _ in graph.outputs] == ["y"]
    assert [n.origin for n in graph.nodes() if isinstance(n, Map)] == ["first", "Add_y"]
    np.testing.assert_array_equal(run(graph, x=X, unused=np.zeros(4, np.uint8)), np.maximum(X, 0) + X)


def test_dimensions_pinned_by_name_by_input_and_across_inputs() -> None:
    made = model("g (float[N, M] x, float[N, 1] z) => (float[N, M] y) { y = Add(x, z) }")
    by_name = import_model(made, dims={"N": 2, "M": 3})
    by_input = import_model(made, shapes={"x": (2, 3)})
    assert [i.shape for i in by_name.inputs] == [i.shape for i in by_input.inputs] == [(2, 3), (2, 1)]
    assert by_name.outputs[0][1].shape == (2, 3)


def test_initializers_are_constants_even_where_they_are_inputs_too() -> None:
    made = model("g (float[2, 3] x, float[3] w) => (float[2, 3] y) { y = Mul(x, w) }")
    made.graph.initializer.append(numpy_helper.from_array(np.float32([1, 2, 3]), "w"))
    graph = import_model(made)
    assert [i.name for i in graph.inputs] == ["x"]
    np.testing.assert_array_equal(run(graph, x=X), X * np.float32([1, 2, 3]))


NUMPY_TYPES = [
    np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, np.float16, ml_dtypes.bfloat16,
    np.float32, np.float64,
]  # fmt: skip


@pytest.mark.parametrize("kind", NUMPY_TYPES)
@pytest.mark.parametrize("raw", [True, False])
def test_weights_of_every_type(kind: type, raw: bool) -> None:
    values = np.array([[0, 1, 1], [1, 0, 1]]).astype(kind)
    number = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    tensor = helper.make_tensor("w", number, [2, 3], values.tobytes() if raw else values.reshape(-1), raw=raw)
    made = model("g (float[2, 3] x) => (float[2, 3] y) { y = Identity(w) }")
    made.graph.output[0].type.tensor_type.elem_type = number
    made.graph.initializer.append(tensor)
    (_, node) = import_model(made).outputs[0]
    assert isinstance(node, Constant)
    assert node.data.dtype == np.dtype(kind)
    np.testing.assert_array_equal(node.data, values)


def test_external_weights(tmp_path: Path) -> None:
    weights = np.arange(3000, dtype=np.float32).reshape(3, 1000)
    made = model("g (float[2, 3] x) => (float[2, 1000] y) { y = MatMul(x, w) }")
    made.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    (tmp_path / "data").mkdir()
    onnx.save_model(made, tmp_path / "net.onnx", save_as_external_data=True, location="data/w.bin")
    assert (tmp_path / "net.onnx").stat().st_size < 1000
    np.testing.assert_allclose(run(import_model(tmp_path / "net.onnx"), x=X), X @ weights, rtol=1e-6)


def test_nodes_in_any_order_and_dead_ones() -> None:
    graph = import_model(
        model("""g (float[2, 3] x) => (float[2, 3] y) {
            y = Relu(a)
            dead = com.acme.Unknown (x)
            a = Neg(x)
        }""")
    )
    np.testing.assert_array_equal(run(graph, x=X), np.maximum(-X, 0))


def test_output_that_is_an_input_or_a_constant() -> None:
    made = model("g (float[2, 3] x) => (float[2, 3] x, float[1] w) { }")
    made.graph.initializer.append(numpy_helper.from_array(np.float32([4]), "w"))
    results = run_graph(import_model(made), {"x": X})
    np.testing.assert_array_equal(results["x"], X)
    np.testing.assert_array_equal(results["w"], np.float32([4]))


def test_a_chain_of_ten_thousand_nodes() -> None:
    names = ["x", *(f"v{i}" for i in range(9_999)), "y"]
    nodes = [helper.make_node("Neg" if i % 2 else "Relu", [names[i]], [names[i + 1]]) for i in range(10_000)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in ("x", "y")]
    made = helper.make_model(helper.make_graph(nodes, "deep", values[:1], values[1:]), opset_imports=[helper.make_opsetid("", 17)])
    assert len(import_model(made).nodes()) > 10


# Folding.


def test_shape_arithmetic_is_gone_after_import() -> None:
    """PyTorch's x.view(x.size(0), -1, 2) and TensorFlow's cast of a float scale, both known once N is."""
    graph = import_model(
        model("""g (float[N, 6, 4] x) => (float[A, B, 2] y) {
            shape = Shape(x)
            zero = Constant<value = int64 {0}> ()
            n = Gather<axis = 0>(shape, zero)
            f = Cast<to = 1>(n)
            scale = Constant<value = float {1.0}> ()
            g = Mul(f, scale)
            back = Cast<to = 7>(g)
            front = Constant<value = int64[1] {0}> ()
            head = Unsqueeze(back, front)
            tail = Constant<value = int64[2] {-1, 2}> ()
            wanted = Concat<axis = 0>(head, tail)
            y = Reshape(x, wanted)
        }"""),
        dims={"N": 3},
    )
    assert graph.outputs[0][1].shape == (3, 12, 2)
    assert len(graph.nodes()) == 2


def test_large_constants_are_left_to_a_later_pass() -> None:
    made = model("g (float[100, 100] x) => (float[100, 100] y) { a = Neg(w)  y = Add(x, a) }")
    made.graph.initializer.append(numpy_helper.from_array(np.ones((100, 100), np.float32), "w"))
    assert any(isinstance(n, Map) and n.origin == "Neg_a" for n in import_model(made).nodes())


# Functions and branches.

AFFINE = """<domain: "com.acme", opset_import: ["" : 16]>
    affine <scale, offset: float = 1.0>(a) => (b, c) {
        s = Constant<value_float: float = @scale> ()
        o = Constant<value_float: float = @offset> ()
        [product] c = Mul(a, s)
        b = Add(c, o)
    }
    <domain: "com.acme", opset_import: ["com.acme" : 1, "" : 17]>
    twice (a) => (b) { [inner] m = com.acme.affine <scale = 2.0, offset = 0.5> (a)  b = com.acme.affine <scale = 3.0> (m) }"""


def test_functions_of_the_model() -> None:
    graph = import_model(model("g (float[2, 3] x) => (float[2, 3] y) { [outer] y = com.acme.twice (x) }", functions=AFFINE))
    np.testing.assert_array_equal(run(graph, x=X), (X * 2 + np.float32(0.5)) * 3 + 1)
    assert [n.origin for n in graph.nodes() if isinstance(n, Map)] == ["outer/inner/product", "outer/inner", "outer/product", "outer"]


def test_our_own_lowering_comes_before_the_models_function() -> None:
    @lowers("twice", since=1, domain="com.acme")
    def twice(b: LoweringBuilder, x: Node) -> Node:
        return b.sub(x, x)

    table = make_registry([*standard_registry(), *twice.__dict__["lowerings"]])
    graph = import_model(model("g (float[2, 3] x) => (float[2, 3] y) { y = com.acme.twice (x) }", functions=AFFINE), registry=table)
    np.testing.assert_array_equal(run(graph, x=X), np.zeros_like(X))


def test_operators_without_a_lowering_use_the_body_in_their_schema() -> None:
    hidden = make_registry(entry for entry in standard_registry() if entry.op_type not in ("HardSwish", "Celu"))
    made = model("g (float[2, 3] x) => (float[2, 3] y, float[2, 3] z) { y = HardSwish(x)  z = Celu<alpha = 2.0>(x) }")
    results = run_graph(import_model(made, registry=hidden), {"x": X})
    np.testing.assert_allclose(results["y"], X * np.clip(X / 6 + 0.5, 0, 1), rtol=1e-6)
    np.testing.assert_allclose(results["z"], np.maximum(X, 0) + np.minimum(0, 2 * (np.exp(X / 2) - 1)), rtol=1e-5)


BRANCH = """g (float[N, 3] x) => (float[N, 3] y) {
    shape = Shape(x)
    first = Constant<value = int64 {0}> ()
    n = Gather(shape, first)
    two = Constant<value = int64 {2}> ()
    condition = Equal(n, two)
    y = If (condition) <
        then_branch = t () => (float[N, 3] a) { a = Neg(x) },
        else_branch = e () => (float[N, 3] b) { b = com.acme.Unknown (x) }
    >
}"""


def test_a_branch_whose_condition_is_known() -> None:
    np.testing.assert_array_equal(run(import_model(model(BRANCH), dims={"N": 2}), x=X), -X)
    with pytest.raises(UnsupportedError, match=r"Unknown of com\.acme"):
        import_model(model(BRANCH), dims={"N": 3})


# The builder.


def test_elementwise_broadcasts_and_takes_scalars_into_the_expression() -> None:
    b = LoweringBuilder()
    x = b.constant(X)
    total = b.add(b.mul(x, b.constant(np.float32([[1], [2]]))), b.scalar(0.5, x.dtype))
    np.testing.assert_array_equal(evaluate(total), X * [[1], [2]] + 0.5)
    assert isinstance(total, Map)
    assert len(total.sources) == 1
    assert b.mul(x, x) is b.mul(x, x)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 4)),
        ((2, 3), (3, 4)),
        ((5, 2, 3), (3, 4)),
        ((2, 3), (5, 3, 4)),
        ((6, 1, 2, 3), (5, 3, 4)),
        ((4, 3), (2, 3, 1)),
    ],
)
def test_matmul_is_numpys(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    b = LoweringBuilder()
    x, y = np.arange(np.prod(left)).reshape(left) + 0.5, np.arange(np.prod(right)).reshape(right) - 4.0
    np.testing.assert_allclose(evaluate(b.matmul(b.constant(x), b.constant(y))), np.matmul(x, y))


def test_views_of_the_builder() -> None:
    b = LoweringBuilder()
    x = b.constant(X)
    np.testing.assert_array_equal(evaluate(b.pad(x, (1, -1), (0, 2), 9)), np.pad(X, ((1, 0), (0, 2)), constant_values=9)[:, 1:])
    np.testing.assert_array_equal(evaluate(b.narrow(x, -1, 2, 2, -2)), X[:, 2::-2])
    np.testing.assert_array_equal(evaluate(b.stack([x, x], 1)), np.stack([X, X], 1))
    np.testing.assert_array_equal(evaluate(b.unsqueeze(x, (0, -1))), X[None, ..., None])
    np.testing.assert_array_equal(evaluate(b.coordinate((2, 3), 1, x.dtype)), [[0, 1, 2], [0, 1, 2]])


def test_models_from_before_opset_7_are_converted() -> None:
    """Broadcasting along a named axis, and slopes of PRelu by channel."""
    made = onnx.parser.parse_model("""<ir_version: 3, opset_import: ["" : 6]>
        g (float[3, 3, 3] x, float[3] bias, float[3] slope) => (float[3, 3, 3] y) <float[3] slope = {0.5, 0.25, 0.0}> {
            s = Add <broadcast = 1, axis = 1> (x, bias)
            y = PRelu(s, slope)
        }""")
    x, bias = np.linspace(-1, 1, 27, dtype=np.float32).reshape(3, 3, 3), np.float32([0.5, -0.5, 0])
    total = x + bias[:, None]
    wanted = np.where(total < 0, total * np.float32([0.5, 0.25, 0])[:, None], total)
    np.testing.assert_allclose(run_graph(import_model(made), {"x": x, "bias": bias})["y"], wanted, rtol=1e-6)


def test_what_the_converter_does_not_know_is_refused() -> None:
    made = onnx.parser.parse_model('<ir_version: 3, opset_import: ["" : 1]> g (float[2] x) => (float[2] y) { y = Upsample(x) }')
    with pytest.raises(UnsupportedError, match="opset 1, which onnx cannot convert to 7"):
        import_model(made)
