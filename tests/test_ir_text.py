"""The text form: what it looks like, that it gives back what was printed, and what it says of faulty text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgc.errors import ModelError
from tgc.ir import ops
from tgc.ir.dtypes import BF16, BOOL, DTYPES, F16, F32, F64, I32, I64, INDEX, U8, U32, DType
from tgc.ir.expr import Arg, Broadcast, Buffer, Coordinate, Expr, Lit, Load, Ramp, Var, apply, bitcast, cast, index
from tgc.ir.graph import Graph, Node
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interpret import run_graph
from tgc.ir.kernel import Alloc, Barrier, Block, For, If, Kernel, Parameter, Statement, Store
from tgc.ir.program import Argument, Call, Program, Storage, Tensor
from tgc.ir.text import constants_of, parse_graph, parse_kernel, print_expr, print_graph, print_kernel, print_program
from tgc.ir.text_expression import parse_abbreviations, parse_expression
from tgc.ir.text_tokens import Cursor, tokenize
from tgc.ir.verify_expression import takes

BUFFERS = {dtype: Buffer(f"b_{dtype}", dtype, 16) for dtype in DTYPES}
VECTOR_OPS = [op for op in ops.OPS if op.rule == "same"]


@st.composite
def literals(draw: st.DrawFn, dtype: DType) -> Lit:
    if dtype.kind == "bool":
        return Lit(draw(st.booleans()), dtype)
    if dtype.is_float:
        return Lit(draw(st.floats() | st.integers(-9, 9)), dtype)
    lowest = 0 if dtype.kind == "uint" else -(1 << (dtype.bits - 1))
    return Lit(draw(st.integers(lowest, lowest + (1 << dtype.bits) - 1)), dtype)


@st.composite
def expressions(draw: st.DrawFn, dtype: DType, leaves: tuple[Expr, ...], depth: int = 4) -> Expr:
    """A scalar expression of `dtype` over `leaves` and constants."""
    fitting = [leaf for leaf in leaves if leaf.dtype == dtype]
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from(fitting)) if fitting and draw(st.booleans()) else draw(literals(dtype))
    kinds = [op for op in VECTOR_OPS if takes(op, dtype)] + [ops.WHERE, ops.CAST] + ([ops.LT, ops.EQ] if dtype == BOOL else [])
    op = draw(st.sampled_from(kinds))
    inner = draw(st.sampled_from([F32, I32, INDEX, U8])) if op in (ops.LT, ops.EQ, ops.CAST) else dtype
    types = [BOOL, dtype, dtype] if op == ops.WHERE else [inner] * op.arity
    args = [draw(expressions(t, leaves, depth - 1)) for t in types]
    if len(args) > 1 and draw(st.booleans()):
        args[-1] = args[-2] if args[-1].dtype == args[-2].dtype else args[-1]
    return cast(args[0], dtype) if op == ops.CAST else apply(op, *args)


LEAVES = (Arg(0, F32), Arg(1, I32), Coordinate(0), Arg(2, BOOL), Arg(3, F16))
NAMES = {"a0": LEAVES[0], "a1": LEAVES[1], "c0": LEAVES[2], "a2": LEAVES[3], "a3": LEAVES[4]}


def parse(text: str, names: dict[str, Expr | Buffer]) -> Expr:
    cursor = Cursor(tokenize(text))
    return parse_expression(cursor, parse_abbreviations(cursor, names))


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([F32, I32, BOOL, INDEX, F64, BF16, U32]).flatmap(lambda dtype: expressions(dtype, LEAVES)))
def test_expressions_come_back(expr: Expr) -> None:
    assert parse(print_expr(expr), dict(NAMES)) == expr


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (apply(ops.MUL, apply(ops.ADD, LEAVES[0], Lit(1.0, F32)), LEAVES[0]), "(a0 + 1.0) * a0"),
        (apply(ops.ADD, LEAVES[0], apply(ops.ADD, LEAVES[0], Lit(-0.0, F32))), "a0 + (a0 + -0.0)"),
        (apply(ops.WHERE, apply(ops.LT, LEAVES[1], Lit(3, I32)), Lit(True, BOOL), LEAVES[3]), "where(a1 < 3:i32, true, a2)"),
        (bitcast(cast(LEAVES[1], F32), U32), "bitcast(u32, f32(a1))"),
        (Lit(float("-inf"), F16), "-inf:f16"),
        (cast(apply(ops.MUL, Coordinate(0), index(2)), I64), "i64(c0 * 2)"),
    ],
)
def test_expressions_read_well(expr: Expr, text: str) -> None:
    assert print_expr(expr) == text
    assert parse(text, dict(NAMES)) == expr


def test_shared_subexpressions_are_written_once() -> None:
    expr: Expr = LEAVES[0]
    for _ in range(60):
        expr = apply(ops.ADD, apply(ops.MUL, expr, expr), Lit(1.0, F32))
    text = print_expr(expr)
    assert text.startswith("$0 = a0 * a0 + 1.0; $1 = $0 * $0 + 1.0; ")
    assert len(text) < 2000
    assert parse(text, dict(NAMES)) == expr


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """A graph of a few nodes of every kind over two inputs."""
    b = GraphBuilder()
    x, n = b.input("x", F32, (2, 3, 4)), b.input('odd "name"\n', I32, (2, 3, 4))
    tensors: list[Node] = [x, n, b.constant(draw(st.sampled_from([np.arange(24.0).reshape(2, 3, 4), np.float16([np.nan, -0.0])])), "c")]
    for position in range(draw(st.integers(1, 8))):
        b.origin = draw(st.sampled_from(["", f"node {position}"]))
        tensors.append(draw(nodes(b, draw(st.sampled_from(tensors)))))
    return Graph("g", (x, n), tuple((f"y{i}", t) for i, t in enumerate(tensors)))


@st.composite
def nodes(draw: st.DrawFn, b: GraphBuilder, t: Node) -> Node:
    rank, last = len(t.shape), len(t.shape) - 1
    match draw(st.integers(0, 9)):
        case 0:
            return b.map(draw(expressions(draw(st.sampled_from([F32, I32, BOOL])), (Arg(0, t.dtype), Coordinate(last)))), t)
        case 1:
            return b.reduce(draw(st.sampled_from([ops.MUL, ops.MAX])), t, draw(st.sampled_from([(0,), tuple(range(rank))])))
        case 2:
            return b.reshape(t, (*t.shape, 1))
        case 3:
            return b.permute(t, tuple(draw(st.permutations(range(rank)))))
        case 4:
            return b.expand(b.reshape(t, (1, *t.shape)), (2, *t.shape))
        case 5:
            return b.slice(t, tuple(size - 1 for size in t.shape), (-1,) * rank, t.shape)
        case 6:
            return b.pad(t, (1,) * rank, (0,) * rank, Lit(t.dtype.lowest, t.dtype))
        case 7:
            return b.window(t, last, 1, draw(st.integers(1, 2)))
        case 8:
            return b.concat((t, t), draw(st.integers(0, last)))
        case _:
            return b.gather(t, tuple(b.constant(np.int64([[0, -1]])) for _ in t.shape), (1, 2))


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_graphs_come_back(graph: Graph) -> None:
    text = print_graph(graph)
    again = parse_graph(text, constants_of(graph))
    assert print_graph(again) == text
    inputs = {node.name: np.arange(24).reshape(2, 3, 4).astype(node.dtype.numpy) for node in graph.inputs}
    for (name, wanted), found in zip(run_graph(graph, inputs).items(), run_graph(again, inputs).values(), strict=True):
        np.testing.assert_array_equal(found, wanted, err_msg=name)


GRAPH = """graph "dense"
%0: f32[2, 3] = input "x"
%1: f32[1, 3] = constant [1.0, 0.1, -inf] name="w"
%2: f32[2, 3] = expand(%1)
%3: f32[2, 3] = map(%0, %2) { a0 * a1 } from="MatMul_1"
%4: f32[2, 1] = reduce(%3) op=ADD axes=[1] from="MatMul_1"
%5: f32[2, 1] = map(%4) {
  $0 = a0 * 2.0 + f32(c0)
  $0 * $0
}
output "y" = %5
"""


def test_a_graph_reads_well() -> None:
    graph = parse_graph(GRAPH)
    assert print_graph(graph) == GRAPH
    x = np.float32([[1, 10, 0], [2, 0, 0]])
    with np.errstate(invalid="ignore"):
        assert np.isnan(run_graph(graph, {"x": x})["y"]).all()


def test_large_constants_come_from_a_table() -> None:
    b = GraphBuilder()
    graph = Graph("g", (), (("y", b.constant(np.arange(20.0))),))
    text = print_graph(graph)
    with pytest.raises(ModelError, match=r"line 2: the values of constant '[0-9a-f]{16}' are not here"):
        parse_graph(text)
    np.testing.assert_array_equal(run_graph(parse_graph(text, constants_of(graph)), {})["y"], np.arange(20.0))
    np.testing.assert_array_equal(run_graph(parse_graph(text, missing="zeros"), {})["y"], np.zeros(20))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kernel", "line 1: expected 'graph'"),
        ('graph g\n%0: f33[1] = input "x"', "line 2: there is no type 'f33'"),
        ("graph g\n\n%0: f32[1] = reshape(%1)", "line 3: %1 is no node defined above"),
        ('graph g\n%0: f32[2] = input "x"\n%1: f32[3] = reshape(%0)', r"line 3: reshape %1: \(2,\) to \(3,\)"),
        ('graph g\n%0: f32[2] = input "x"\n%1: f32[2] = reduce(%0) op=ADD axes=[0]', r"line 3: reduce %1 gives f32\[1\]"),
        ('graph g\n%0: f32[2] = input "x"\n%1: f32[2] = reduce(%0) op=ADD', r"reduce does not take 1 sources and \['op'\]"),
        ('graph g\n%0: f32[2] = input "x"\n%1: f32[2] = expand(%0) axis=1', r"expand does not take 1 sources and \['axis'\]"),
        ('graph g\n%0: f32[2] = input "x"\n%1: f32[2] = blur(%0)', "blur does not take"),
        ('graph g\n%0: f32[2] = input "x"\n%1: f32[2] = map(%0) { a0 + a1 }', "'a1' stands for nothing here"),
        ('graph g\n%0: f32[2] = input "x"\n%1: f32[2] = map(%0) { a0 + 1 }', "line 3: ADD on f32, index"),
        ('graph g\n%0: f32[2] = input "x"\n%1: f32[2] = map(%0) { sinh(a0) }', "there is no function 'sinh'"),
        ('graph g\n%0: f32[2] = input "x" @', "line 2: unexpected '@'"),
        ('graph g\n%0: f32[2] = input "x" %1', "line 2: expected a new line, not '%1'"),
        ("graph g\n%0: u8[1] = constant [256]", "line 2: .*out of bounds"),
        ("graph g\n%0: u8[2] = constant [1]", "line 2: cannot reshape"),
    ],
)
def test_faulty_graphs(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_graph(text)


KERNEL = """kernel dense(read x: f32[8] "2 x 4", read w: f32[4] constant, write y: f32[2]) from ["MatMul", "Add"] {
  for i < 2 parallel {
    alloc sum: f32[1] register
    sum[0] = 0.0
    for k < 4 {
      sum[0] = sum[0] + x[i * 4 + k] * w[k]
    }
    if i < 1 {
      y[i] = sum[0]
    }
    $0 = exp2(sum[0]) * 2.0
    y[i] = $0 + $0
  }
}
"""


def test_a_kernel_reads_well() -> None:
    kernel = parse_kernel(KERNEL)
    assert print_kernel(kernel) == KERNEL
    assert kernel.origins == ("MatMul", "Add")
    assert kernel.parameters[0].doc == "2 x 4"


@st.composite
def statements(draw: st.DrawFn, variables: tuple[Var, ...], buffers: tuple[Buffer, ...], depth: int) -> Statement:
    """A statement that sees loop variables below 16 and buffers of 16 elements."""
    loads = tuple(Load(buffer, draw(st.sampled_from([index(3), *variables]))) for buffer in buffers)
    leaves = (*variables, *loads)
    kind = draw(st.integers(0, 5 if depth else 1))
    match kind:
        case 0:
            target = draw(st.sampled_from(buffers))
            return Store(target, draw(st.sampled_from([index(15), *variables])), draw(expressions(target.dtype, leaves, 3)))
        case 1:
            target = draw(st.sampled_from(buffers))
            ramp = Ramp(draw(st.sampled_from([index(0), index(12)])), 1, 4)
            value = Broadcast(draw(expressions(target.dtype, leaves, 1)), 4)
            return Store(target, ramp, draw(st.sampled_from([value, Load(target, ramp), apply(ops.MUL, value, Load(target, ramp))])))
        case 2:
            var = Var(f"i{len(variables)}")
            body = draw(statements((*variables, var), buffers, depth - 1))
            return For(var, draw(st.integers(0, 16)), body, draw(st.sampled_from(["serial", "parallel", "unroll", "vector"])))
        case 3:
            return If(draw(expressions(BOOL, leaves, 2)), draw(statements(variables, buffers, depth - 1)))
        case _:
            new = Buffer(f"t{len(buffers)}", F32, 16, "register")
            inner = draw(st.lists(statements(variables, (*buffers, new), depth - 1), max_size=3))
            return Block((Alloc(new), *inner))


@settings(max_examples=40, deadline=None)
@given(statements((), (Buffer("x", F32, 16), Buffer("n", I32, 16)), 4), st.booleans())
def test_kernels_come_back(body: Statement, on_grid: bool) -> None:
    parameters = (Parameter(Buffer("x", F32, 16), "readwrite"), Parameter(Buffer("n", I32, 16), "readwrite", "doc"))
    if on_grid:
        body = For(Var("g"), 2, For(Var("l"), 4, Block((Barrier(), body)), "lane0"), "grid0")
    kernel = Kernel("k", parameters, body)
    assert parse_kernel(print_kernel(kernel)) == kernel


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kernel k(grab x: f32[1]) { }", "expected one of read, write, readwrite, not 'grab'"),
        ("kernel k() {\n  y[0] = 1.0\n}", "line 2: there is no buffer 'y' here"),
        ("kernel k() {\n  for i < 3 fast {\n  }\n}", "line 2: there is no loop kind 'fast'"),
        ("kernel k() {\n  alloc t: f32[1]\n}", "line 2: expected one of global"),
        ("kernel k(write y: f32[1]) {\n  y[0] = 1.0 2.0\n}", "line 2: expected a new line, not '2.0'"),
        ("kernel k(write y: f32[1]) {\n  y[1] = 1.0\n}", "kernel k: an index of y runs from 1 to 1"),
        ("kernel k() {", "expected a name|begins no statement"),
    ],
)
def test_faulty_kernels(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_kernel(text)


def test_a_program_prints() -> None:
    kernel = parse_kernel("kernel copy(read x: f32[4], write y: f32[4]) { for i < 4 { y[i] = x[i] } }")
    bound = (Storage("in0", "input", F32, 4, 0, (2, 2)), Storage("out0", "output", F32, 4, 0, (4,)))
    program = Program(
        "model", (Tensor("x", F32, (2, 2), "in0"),), (Tensor("y", F32, (4,), "out0"),), (kernel,),
        (Call("copy", (Argument("w", 4), Argument("out0")), ("Copy_1",)),),
        (*bound, Storage("w", "weight", F32, 8, 0, (2, 4))), np.zeros(32, np.uint8), 0,
    )  # fmt: skip
    assert print_program(program) == (
        'program model\ninput "x": f32[2, 2] = in0\noutput "y": f32[4] = out0\n'
        'weights 32 bytes sha256="66687aadf862bd77"\narena 0 bytes, alignment 64\n'
        "storage in0: f32[4] input # row-major [2, 2]\nstorage out0: f32[4] output # row-major [4]\n"
        'storage w: f32[8] weight at 0 # row-major [2, 4]\ncall copy(w + 4, out0) from ["Copy_1"]\n\n'
        "kernel copy(read x: f32[4], write y: f32[4]) {\n  for i < 4 {\n    y[i] = x[i]\n  }\n}\n"
    )


def test_a_one_statement_block_is_kept() -> None:
    body = Block((Store(Buffer("y", F32, 1), index(0), Lit(1.0, F32)),))
    for kernel in (Kernel("k", (Parameter(Buffer("y", F32, 1), "write"),), inner) for inner in (body, body.body[0], Block((body, body)))):
        assert parse_kernel(print_kernel(kernel)) == kernel
