"""If, Loop and Scan against ONNX Runtime: the graph's meaning, and that of the program which is made of it."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
from single_operator import Array, agrees
from test_recurrent import compiles

import tgc
from tgc.errors import ModelError, OptionError, UnsupportedError
from tgc.frontend_onnx import import_model
from tgc.ir.graph import ScanResult
from tgc.ir.interpret import run_graph

X = np.random.default_rng(3).standard_normal((4, 3)).astype(np.float32)


def model(text: str, opset: int = 17) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')


def loops(made: onnx.ModelProto) -> int:
    """How many scans the model becomes."""
    return len({node.scan for node in import_model(made).nodes() if isinstance(node, ScanResult)})


def same(made: onnx.ModelProto, **feeds: Array) -> None:
    """Interpreter, program and ONNX Runtime agree."""
    compiles(agrees(made, feeds), feeds)


CHOICE = """g (float[4, 3] x, bool c) => (float[4, 3] y, float[4, 3] z) {
    y, z = If (c) <
        then_branch = t () => (float[4, 3] a, float[4, 3] b) { a = Neg(x)  b = Exp(x) },
        else_branch = e () => (float[4, 3] d, float[4, 3] f) { d = Add(x, x)  f = Identity(x) }
    >
}"""


@pytest.mark.parametrize("taken", [True, False])
def test_a_condition_at_run_time_selects(taken: bool) -> None:
    same(model(CHOICE), x=X, c=np.array(taken))


def test_branches_of_different_shapes_are_refused() -> None:
    text = CHOICE.replace("d = Add(x, x)", "d = Transpose(x)")
    with pytest.raises(UnsupportedError, match=r"branches of different types, f32 \[4, 3\] and f32 \[3, 4\]"):
        import_model(model(text))


def test_a_branch_that_does_not_fit_is_avoided_by_compiling_the_condition_in() -> None:
    made = model(CHOICE.replace("d = Add(x, x)", "two = Constant<value = int64[1] {7}> ()  d = Reshape(x, two)"))
    with pytest.raises(ModelError, match="--const with a value of 'c'"):
        import_model(made)
    graph = import_model(made, constants={"c": True})
    np.testing.assert_array_equal(run_graph(graph, {"x": X})["y"], -X)
    with pytest.raises(OptionError, match="no input 'd'"):
        import_model(made, constants={"d": True})


LOOP = """g (float[3] start, float[4, 3] x) => (float[3] last, float[5, 3] all) {
    trips = Constant<value = int64 {5}> ()
    yes = Constant<value = bool {1}> ()
    factor = ReduceSum<keepdims = 0> (x)
    last, all = Loop (trips, yes, start) <
        body = b (int64 i, bool c, float[3] s) => (bool c2, float[3] s2, float[3] row) {
            c2 = Identity(c)
            fi = Cast<to = 1>(i)
            scaled = Mul(fi, factor)
            s2 = Add(s, scaled)
            row = Mul(s2, s)
        }
    >
}"""


def test_a_loop_with_a_known_trip_count_is_a_scan() -> None:
    made = model(LOOP)
    assert loops(made) == 1
    same(made, start=X[0], x=X)


def test_a_loop_of_no_iterations() -> None:
    made = model(LOOP.replace("int64 {5}", "int64 {0}").replace("[5, 3]", "[0, 3]"))
    assert loops(made) == 0
    same(made, start=X[0], x=X)


def test_a_loop_that_stops_when_its_data_say_so() -> None:
    made = model("""g (float[3] start, float limit) => (float[3] last, int64 count) {
        trips = Constant<value = int64 {20}> ()
        yes = Constant<value = bool {1}> ()
        zero = Constant<value = int64 {0}> ()
        one = Constant<value = int64 {1}> ()
        last, count = Loop (trips, yes, start, zero) <
            body = b (int64 i, bool c, float[3] s, int64 n) => (bool c2, float[3] s2, int64 n2) {
                s2 = Add(s, s)
                n2 = Add(n, one)
                top = ReduceMax<keepdims = 0> (s2)
                c2 = Less(top, limit)
            }
        >
    }""")
    assert loops(made) == 1
    for limit in (0.5, 30.0, 1e9):
        same(made, start=np.abs(X[0]) + 0.1, limit=np.array(limit, np.float32))


def test_a_loop_until_a_known_condition_fails() -> None:
    """Without a trip count it is counted, where the condition can be computed while compiling."""
    made = model("""g (float[3] x) => (float[3] last, float[4, 3] all) {
        yes = Constant<value = bool {1}> ()
        three = Constant<value = int64 {3}> ()
        last, all = Loop (, yes, x) <
            body = b (int64 i, bool c, float[3] s) => (bool c2, float[3] s2, float[3] row) {
                s2 = Add(s, s)  row = Identity(s2)  c2 = Less(i, three)
            }
        >
    }""")
    assert loops(made) == 1
    same(made, x=X[0])


def test_a_loop_over_steps_as_exporters_write_it() -> None:
    """`while (step < steps)` with a step that is a state, elements gathered by it, and weights that are carried unchanged."""
    made = model("""g (float[4, 3] x, float[3] w) => (float[3] last, float[3] same, float[3, 3] all) {
        yes = Constant<value = bool {1}> ()
        first = Constant<value = int64 {1}> ()
        steps = Constant<value = int64 {4}> ()
        step, last, same, all = Loop (, yes, first, w, w) <
            body = b (int64 i, bool c, int64 n, float[3] s, float[3] k) => (bool c2, int64 n2, float[3] s2, float[3] k2, float[3] row) {
                one = Constant<value = int64 {1}> ()
                n2 = Add(n, one)
                element = Gather(x, n)
                product = Mul(s, k)
                s2 = Add(product, element)
                row = Identity(s2)
                k2 = Identity(k)
                c2 = Less(n2, steps)
            }
        >
    }""")
    assert loops(made) == 1
    (scan,) = {n.scan for n in import_model(made).nodes() if isinstance(n, ScanResult)}
    assert (scan.length, len(scan.states)) == (3, 2), "weights that never change are no states"
    same(made, x=X, w=X[0])


def test_a_loop_that_ends_before_its_trip_count_collects_what_it_made() -> None:
    made = model("""g (float[3] x) => (float[3] last, float[4, 3] all) {
        trips = Constant<value = int64 {1000}> ()
        yes = Constant<value = bool {1}> ()
        first = Constant<value = float {10.0}> ()
        k, last, all = Loop (trips, yes, first, x) <
            body = b (int64 i, bool c, float n, float[3] s) => (bool c2, float n2, float[3] s2, float[3] row) {
                half = Constant<value = float {0.5}> ()
                one = Constant<value = float {1.0}> ()
                n2 = Mul(n, half)
                s2 = Mul(s, n)
                row = Identity(s2)
                c2 = Greater(n2, one)
            }
        >
    }""")
    assert loops(made) == 1
    same(made, x=X[0])


def test_a_loop_that_slices_by_its_counter_is_written_out() -> None:
    made = model("""g (float[4, 3] x) => (float[1, 3] last) {
        trips = Constant<value = int64 {4}> ()
        yes = Constant<value = bool {1}> ()
        zero = Constant<value = float[1, 3] {0.0, 0.0, 0.0}> ()
        one = Constant<value = int64[1] {1}> ()
        last = Loop (trips, yes, zero) <
            body = b (int64 i, bool c, float[1, 3] s) => (bool c2, float[1, 3] s2) {
                shape = Constant<value = int64[1] {1}> ()
                from = Reshape(i, shape)
                to = Add(from, one)
                row = Slice(x, from, to)
                s2 = Add(s, row)
                c2 = Identity(c)
            }
        >
    }""")
    assert loops(made) == 0
    same(made, x=X)


def test_a_number_of_iterations_that_nothing_tells() -> None:
    text = LOOP.replace("trips = Constant<value = int64 {5}> ()", "").replace("float[4, 3] x)", "float[4, 3] x, int64 trips)")
    with pytest.raises(ModelError, match="the trip count \\('trips'\\) must be known while compiling"):
        import_model(model(text))
    graph = import_model(model(text), constants={"trips": 5})
    compiles(graph, {"start": X[0], "x": X})


def test_a_loop_in_a_loop_reads_what_both_carry() -> None:
    made = model("""g (float[3] x) => (float[3] last, float[3, 3] all) {
        three = Constant<value = int64 {3}> ()
        two = Constant<value = int64 {2}> ()
        yes = Constant<value = bool {1}> ()
        last, all = Loop (three, yes, x) <
            body = outer (int64 i, bool c, float[3] s) => (bool c2, float[3] s2, float[3] row) {
                half = Constant<value = float {0.5}> ()
                begin = Mul(s, half)
                inner, sums = Loop (two, yes, begin) <
                    body = inside (int64 j, bool d, float[3] t) => (bool d2, float[3] t2, float[3] u) {
                        ij = Add(i, j)
                        f = Cast<to = 1>(ij)
                        p = Mul(t, s)
                        t2 = Add(p, f)
                        u = Identity(t2)
                        d2 = Identity(d)
                    }
                >
                axis = Constant<value = int64[1] {0}> ()
                total = ReduceSum<keepdims = 0>(sums, axis)
                s2 = Mul(total, half)
                row = Sub(inner, s)
                c2 = Identity(c)
            }
        >
    }""")
    assert loops(made) == 2
    same(made, x=X[0])


SCAN = """g (float[3] start, float[4, 3] x, float[2, 4] w) => (float[3] last, float[4, 3] sums, float[3, 4] turned) {
    last, sums, turned = Scan <num_scan_inputs = 2, ATTRIBUTES
        body = b (float[3] s, float[3] a, float[2] k) => (float[3] s2, float[3] row, float[3] column) {
            m = ReduceMax<keepdims = 1>(k)
            t = Mul(a, m)
            s2 = Add(s, t)
            row = Identity(s2)
            column = Sub(s, a)
        }
    > (start, x, w)
}"""


@pytest.mark.parametrize("inputs", ["0, 0", "1, 1", "0, 1"])
@pytest.mark.parametrize("outputs", ["0, 0", "1, 1", "1, 0"])
def test_scan_in_all_directions(inputs: str, outputs: str) -> None:
    attributes = f"scan_input_axes = [0, 1], scan_output_axes = [0, -1], scan_input_directions = [{inputs}], "
    made = model(SCAN.replace("ATTRIBUTES", f"{attributes} scan_output_directions = [{outputs}],"))
    assert loops(made) == 1
    same(made, start=X[0], x=X, w=X[:2].repeat(2, 1)[:, :4].copy())


def test_a_state_passed_on_and_states_exchanged() -> None:
    """What follows a state is another state, or what no iteration changes."""
    made = model("""g (float[3] p, float[3] q) => (float[3] a, float[3] b, float[3] c) {
        trips = Constant<value = int64 {3}> ()
        yes = Constant<value = bool {1}> ()
        a, b, c = Loop (trips, yes, p, q, p) <
            body = body (int64 i, bool go, float[3] x, float[3] y, float[3] z) => (bool go2, float[3] x2, float[3] y2, float[3] z2) {
                go2 = Identity(go)  x2 = Identity(y)  y2 = Identity(x)  z2 = Neg(q)
            }
        >
    }""")
    same(made, p=X[0], q=X[1])


@pytest.mark.parametrize("target", ["cpu", "c"])
def test_compiled_code(target: str, tmp_path: object) -> None:
    tgc.compile(model(LOOP), target, str(tmp_path), name="net")
    found = tgc.load(str(tmp_path)).run({"start": X[0], "x": X})
    for name, wanted in run_graph(import_model(model(LOOP)), {"start": X[0], "x": X}).items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-4)
