"""Dimensions that stay open until run time: one artifact for all sizes, and never a number from beyond the live part."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
from c_build import STRICT, checked, compiler
from onnx import parser
from onnx.reference import ReferenceEvaluator

import tgc
from tests.open_node_cases import outcome
from tgc.errors import ModelError, OptionError, UnsupportedError
from tgc.frontend_onnx import import_model
from tgc.frontend_onnx.independent_rules import RULES
from tgc.frontend_onnx.registry import standard_registry
from tgc.ir.interpret import run_graph
from tgc.ir.lengths import Length, Symbol, UndecidedError, larger, of_symbol, smaller
from tgc.run.open_shapes import live, raw_inputs

Array = npt.NDArray[np.generic]
HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'
ATTENTION = (
    HEAD
    + """g (float[batch, length, 6] x, float[6, 5] w) => (float[batch, length, 5] y, float[n, 5] z, float[batch, 5] s, float[b, l, m] a) {
  y = MatMul(x, w)
  rows = Constant<value_ints=[-1, 5]>()
  z = Reshape(y, rows)
  one = Constant<value_ints=[1]>()
  s = ReduceMean<keepdims=0>(y, one)
  turned = Transpose<perm=[0, 2, 1]>(y)
  scores = MatMul(y, turned)
  a = Softmax<axis=-1>(scores)
}"""
)


def test_equal_lengths_are_one_polynomial() -> None:
    long, batch = of_symbol(Symbol("length", 1, 512)), of_symbol(Symbol("batch", 1, 8))
    assert long + 2 - 2 == long
    assert batch * long * 4 // (batch * long) == 4
    assert int((long - 3) // 2 + 1) == 255
    assert smaller(long, 600) == long
    assert int(larger(long - 10, 0)) == 502
    with pytest.raises(UndecidedError):
        assert long < 5


def test_a_length_does_not_become_a_number() -> None:
    """It would be right for the largest size only."""
    long = of_symbol(Symbol("length", 1, 8))
    assert isinstance(long, Length)
    with pytest.raises(UndecidedError):
        1 / long


@pytest.mark.parametrize("target", ["cpu", "c", "opencl"])
def test_one_artifact_for_all_sizes(target: str, tmp_path: Path) -> None:
    model = parser.parse_model(ATTENTION)
    tgc.compile(model, target, tmp_path / "out", dims={"batch": (1, 4), "length": (1, 7)}, selftest=True)
    loaded = tgc.load(tmp_path / "out")
    rng = np.random.default_rng(0)
    for batch, length in ((4, 7), (2, 3), (1, 1), (3, 7), (4, 2)):
        inputs = {"x": rng.standard_normal((batch, length, 6), np.float32), "w": rng.standard_normal((6, 5), np.float32)}
        wanted = ReferenceEvaluator(model).run(None, inputs)
        for found, expected in zip(loaded.run(inputs).values(), wanted, strict=True):
            assert found.shape == expected.shape
            np.testing.assert_allclose(found, expected, atol=1e-5)
    assert loaded.selftest() is None


def test_sizes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    body = "one = Constant<value_ints=[1]>() s = ReduceSum<keepdims=0>(x, one) z = Add(s, y)"
    model = parser.parse_model(f"{HEAD}g (float[n, 2] x, float[n] y) => (float[n] z) {{ {body} }}")
    tgc.compile(model, "cpu", tmp_path / "out", dims={"n": (2, 5)})
    loaded = tgc.load(tmp_path / "out")
    assert loaded.run({"x": np.ones((3, 2), np.float32), "y": np.ones(3, np.float32)})["z"].tolist() == [3, 3, 3]
    with pytest.raises(OptionError, match="'n' is 3 in input 'x' and 4 in input 'y'"):
        loaded.run({"x": np.ones((3, 2), np.float32), "y": np.ones(4, np.float32)})
    with pytest.raises(OptionError, match="not from 2 to 5"):
        loaded.run({"x": np.ones((6, 2), np.float32), "y": np.ones(6, np.float32)})
    with pytest.raises(OptionError, match="takes f32"):
        loaded.run({"x": np.ones((3, 3), np.float32), "y": np.ones(3, np.float32)})


def test_an_operator_without_rules_refuses_and_names_the_pin() -> None:
    model = parser.parse_model(HEAD + "g (float[n, n] x) => (float y) { y = Det(x) }")
    with pytest.raises(UnsupportedError, match="an axis of n elements"):
        import_model(model, dims={"n": (1, 4)})


def test_a_length_that_can_be_negative_is_refused() -> None:
    text = HEAD + "g (float[1, 1, n] x, float[1, 1, 3] w) => (float[1, 1, m] y) { y = Conv(x, w) }"
    with pytest.raises((ModelError, UnsupportedError), match="n"):
        import_model(parser.parse_model(text), dims={"n": (1, 8)})
    assert import_model(parser.parse_model(text), dims={"n": (3, 8)}).open is not None


def test_what_a_range_leaves_undecided_names_one_that_decides() -> None:
    model = parser.parse_model(HEAD + "g (float[1, 1, n] x) => (float[1, 1, m] y) { y = AveragePool<kernel_shape=[3]>(x) }")
    with pytest.raises(UnsupportedError, match=r"--dim n=3\.\.8 or --dim n=1\.\.2 would decide it"):
        import_model(model, dims={"n": (1, 8)})
    assert import_model(model, dims={"n": (3, 8)}).open is not None


def test_shape_arithmetic_is_followed() -> None:
    """The target of a Reshape that is made of Shape, Gather, Div and Concat."""
    text = (
        HEAD
        + """g (float[batch, length, 8] x) => (float[b, h, l, d] y) {
  shape = Shape(x)
  zero = Constant<value_int=0>()
  one = Constant<value_int=1>()
  two = Constant<value_int=2>()
  first = Gather(shape, zero)
  second = Gather(shape, one)
  last = Gather(shape, two)
  half = Div(last, two)
  axis = Constant<value_ints=[0]>()
  a = Unsqueeze(first, axis)
  c = Unsqueeze(second, axis)
  d = Unsqueeze(half, axis)
  heads = Constant<value_ints=[2]>()
  target = Concat<axis=0>(a, c, heads, d)
  split = Reshape(x, target)
  y = Transpose<perm=[0, 2, 1, 3]>(split)
}"""
    )
    graph = import_model(parser.parse_model(text), dims={"batch": (1, 3), "length": (1, 5)})
    assert graph.outputs[0][1].shape == (3, 2, 5, 4)
    assert graph.open is not None
    assert graph.open.outputs == ((0, None, 1, None),)


CASES = (
    "test_softmax_axis_1", "test_layer_normalization_4d_axis1", "test_concat_3d_axis_1", "test_slice_neg", "test_slice_neg_steps",
    "test_gather_1", "test_gather_negative_indices", "test_matmul_3d", "test_conv_with_strides_padding", "test_maxpool_2d_default",
    "test_reduce_mean_default_axes_keepdims_example", "test_reshape_negative_dim", "test_tile", "test_top_k", "test_einsum_batch_matmul",
    "test_expand_dim_changed", "test_argmax_default_axis_example", "test_transpose_all_permutations_4", "test_mod_mixed_sign_int32",
    "test_div", "test_instancenorm_example", "test_split_variable_parts_2d_opset18", "test_shape_start_1", "test_size",
    "test_gridsample", "test_lstm_defaults", "test_gru_reverse", "test_convtranspose", "test_roialign_aligned_true", "test_qlinearconv",
    "test_scan9_sum", "test_linear_attention_linear", "test_dynamicquantizelinear", "test_matmulinteger", "test_hardmax_axis_1",
    "test_scatter_elements_with_axis", "test_scatternd", "test_tensorscatter", "test_resize_upsample_scales_linear",
    "test_dft_axis", "test_deform_conv_with_mask_bias", "test_adam_multiple",
)  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_node_cases_with_open_dimensions(name: str) -> None:
    """`tests.open_node_cases`, run as a program, does all of them."""
    found = outcome(name)
    assert found.kind != "wrong", found.why


@pytest.mark.filterwarnings("ignore")
def test_most_of_them_are_right() -> None:
    assert sum(outcome(name).kind in ("right", "partly") for name in CASES) >= len(CASES) - 1


def test_every_rule_is_of_an_operator_and_can_be_read() -> None:
    """Of an operator that is lowered, and, where it is a line, with no letter in a result that no input has."""
    known = {(lowering.domain, lowering.op_type) for lowering in standard_registry()}
    assert set(RULES) <= known
    for rule in (rule for rule in RULES.values() if isinstance(rule, str)):
        given, made = rule.split("->")
        assert {c for c in made if c.islower()} <= set(given)


RECURRENT = (
    HEAD
    + """g (float[length, batch, 4] x, float[D, R, 4] w, float[D, R, 3] r) => (float[l, d, b, 3] y, float[d, b, 3] h) {
  y, h = OPERATOR<hidden_size=3, direction="DIRECTION">(x, w, r)
}"""
)


@pytest.mark.parametrize(("operator", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrent_networks_of_open_length(operator: str, gates: int, direction: str) -> None:
    """The last state is that of the true length, not of the largest; what goes backwards begins at the true end."""
    ways = 2 if direction == "bidirectional" else 1
    text = RECURRENT.replace("OPERATOR", operator).replace("DIRECTION", direction).replace("[D, R,", f"[{ways}, {gates * 3},")
    model = parser.parse_model(text)
    graph = import_model(model, dims={"length": (1, 6), "batch": (1, 3)})
    engine = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(1)
    for length, batch in ((6, 3), (4, 2), (1, 1)):
        shapes = {"x": (length, batch, 4), "w": (ways, gates * 3, 4), "r": (ways, gates * 3, 3)}
        inputs = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
        found = live(graph.open, run_graph(graph, raw_inputs(graph.open, graph.inputs, inputs)))
        for name, expected in zip(("y", "h"), engine.run(None, inputs), strict=True):
            np.testing.assert_allclose(found[name], expected, atol=1e-5)


def test_a_transposed_convolution_and_means_end_where_the_image_does() -> None:
    text = (
        HEAD
        + """g (float[batch, 2, height, 7] x, float[2, 3, 4, 3] w) => (float[b, c, h, v] y, float[b, c, h, v] z, float[b, c, h, v] s) {
  y = ConvTranspose<strides=[2, 1], pads=[1, 1, 1, 1]>(x, w)
  z = AveragePool<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(x)
  axis = Constant<value_int=2>()
  s = CumSum<reverse=1>(x, axis)
}"""
    )
    model = parser.parse_model(text)
    graph = import_model(model, dims={"batch": (1, 2), "height": (2, 6)})
    for batch, height in ((2, 6), (1, 4), (2, 2)):
        rng = np.random.default_rng(0)
        inputs = {"x": rng.standard_normal((batch, 2, height, 7), np.float32), "w": rng.standard_normal((2, 3, 4, 3), np.float32)}
        raw = raw_inputs(graph.open, graph.inputs, inputs)
        raw["x"].reshape(-1)[inputs["x"].size :] = np.nan
        found = live(graph.open, run_graph(graph, raw))
        for name, expected in zip("yzs", ReferenceEvaluator(model).run(None, inputs), strict=True):
            np.testing.assert_allclose(found[name], expected, atol=1e-5)


ATTENDED = """g (float[batch, 4, length, 8] q, float[batch, 2, length, 8] k, float[batch, 2, length, 8] v, float[batch, 2, past, 8] pk,
  float[batch, 2, past, 8] pv) => (float[b, h, l, d] y, float[b, g, t, d] nk, float[b, g, t, d] nv) {
  y, nk, nv = Attention<is_causal=1>(q, k, v, , pk, pv)
}"""


def test_attention_of_grouped_heads_to_an_open_past() -> None:
    model = parser.parse_model(HEAD.replace("21", "23") + ATTENDED)
    graph = import_model(model, dims={"batch": (1, 3), "length": (1, 4), "past": (0, 5)})
    for batch, length, past in ((3, 4, 5), (2, 3, 1), (1, 1, 0)):
        rng = np.random.default_rng(0)
        new, old = (batch, 2, length, 8), (batch, 2, past, 8)
        shapes = {"q": (batch, 4, length, 8), "k": new, "v": new, "pk": old, "pv": old}
        inputs = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
        found = live(graph.open, run_graph(graph, raw_inputs(graph.open, graph.inputs, inputs)))
        for name, expected in zip(("y", "nk", "nv"), ReferenceEvaluator(model).run(None, inputs), strict=True):
            np.testing.assert_allclose(found[name], expected, atol=1e-5)


MASKED = """g (float[batch, 2, length, 4] q, float[batch, 2, length, 4] k, float[batch, 2, length, 4] v, float[length, total] m,
  float[batch, 2, past, 4] pk, float[batch, 2, past, 4] pv) => (float[b, h, l, d] y, float[b, h, t, d] nk, float[b, h, t, d] nv) {
  y, nk, nv = Attention(q, k, v, m, pk, pv)
}"""


def test_an_extent_of_an_input_can_be_a_sum_of_dimensions(tmp_path: Path) -> None:
    """As exporters write it: past + length. Another sum is refused when it is passed."""
    model = parser.parse_model(HEAD.replace("21", "23") + MASKED)
    ranges = {"batch": (1, 2), "length": (1, 4), "past": (1, 5)}
    with pytest.raises(ModelError, match="say what is equal"):
        import_model(model, dims={**ranges, "total": (2, 9)})
    model.graph.input[3].type.tensor_type.shape.dim[1].dim_param = "past + length"
    tgc.compile(model, "cpu", tmp_path / "out", dims=ranges)
    loaded = tgc.load(tmp_path / "out")
    rng = np.random.default_rng(0)
    for batch, length, past in ((2, 4, 5), (1, 3, 2), (2, 1, 1)):
        new, old = (batch, 2, length, 4), (batch, 2, past, 4)
        shapes = {"q": new, "k": new, "v": new, "m": (length, past + length), "pk": old, "pv": old}
        inputs = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
        for found, expected in zip(loaded.run(inputs).values(), ReferenceEvaluator(model).run(None, inputs), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(OptionError, match="axis 1 of input 'm' is 3, where the dimensions say 2"):
        loaded.run({**inputs, "m": np.ones((1, 3), np.float32)})


PYRAMID = (
    HEAD
    + """g (float[batch, 2, height, width] x, float[2, 2, 3, 3] w) => (float[b, c, h, v] y) {
  half = Conv<strides=[2, 2], pads=[1, 1, 1, 1]>(x, w)
  small = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(half)
  scales = Constant<value_floats=[1.0, 1.0, 4.0, 4.0]>()
  back = Resize(small, , scales)
  y = Concat<axis=1>(x, back)
}"""
)


def test_a_step_makes_what_is_halved_and_doubled_fit(tmp_path: Path) -> None:
    model = parser.parse_model(PYRAMID)
    with pytest.raises(ModelError, match="one after the other"):
        import_model(model, dims={"batch": (1, 2), "height": (4, 16), "width": 8})
    with pytest.raises(OptionError, match="multiples of its step, 4"):
        import_model(model, dims={"batch": 1, "height": (4, 18, 4), "width": 8})
    tgc.compile(model, "cpu", tmp_path / "out", dims={"batch": (1, 2), "height": (4, 16, 4), "width": (8, 12, 4)})
    loaded = tgc.load(tmp_path / "out")
    rng = np.random.default_rng(0)
    for batch, height, width in ((2, 16, 12), (1, 8, 12), (2, 4, 8)):
        inputs = {"x": rng.standard_normal((batch, 2, height, width), np.float32), "w": rng.standard_normal((2, 2, 3, 3), np.float32)}
        np.testing.assert_allclose(loaded.run(inputs)["y"], ReferenceEvaluator(model).run(None, inputs)[0], atol=1e-5)
    with pytest.raises(OptionError, match="'height' is 10, not from 4 to 16 by 4"):
        loaded.run({"x": np.ones((1, 2, 10, 8), np.float32), "w": np.ones((2, 2, 3, 3), np.float32)})


RESIZE = (
    HEAD
    + """g (float[batch, 2, height, width] x) => (float[b, c, h, w] y, float[b, c, e, f] z) {
  scales = Constant<value_floats=[1.0, 1.0, 2.0, 3.0]>()
  y = Resize<MODE>(x, , scales)
  front = Shape<end=2>(x)
  back = Shape<start=2>(x)
  two = Constant<value_ints=[2]>()
  twice = Mul(back, two)
  sizes = Concat<axis=0>(front, twice)
  z = Resize<MODE>(x, , , sizes)
}"""
)


@pytest.mark.parametrize("mode", ["", 'mode="linear"', 'mode="cubic"', 'coordinate_transformation_mode="asymmetric", nearest_mode="floor"'])
def test_images_of_open_size_grow_by_whole_numbers(mode: str) -> None:
    """Their true edge is repeated, not what lies behind it."""
    model = parser.parse_model(RESIZE.replace("<MODE>", f"<{mode}>" if mode else ""))
    graph = import_model(model, dims={"batch": (1, 2), "height": (1, 5), "width": (2, 4)})
    engine = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch, height, width in ((2, 5, 4), (1, 3, 4), (2, 1, 2)):
        inputs = {"x": np.random.default_rng(0).standard_normal((batch, 2, height, width), np.float32)}
        raw = raw_inputs(graph.open, graph.inputs, inputs)
        raw["x"].reshape(-1)[inputs["x"].size :] = np.nan
        found = live(graph.open, run_graph(graph, raw))
        for name, expected in zip("yz", engine.run(None, inputs), strict=True):
            np.testing.assert_allclose(found[name], expected, atol=1e-5)


SIZES_MAIN = """
#include <stdio.h>
#include "g.h"
static unsigned char arena[G_ARENA_BYTES + 1] __attribute__((aligned(G_ALIGNMENT)));
int main(void) {
  float x[G_X_COUNT], z[G_Z_COUNT], e[G_E_COUNT];
  int64_t lengths[64], bound = 2;
  g_context first, context;
  for (int i = 0; i < (int)G_X_COUNT; ++i) x[i] = (float)i;
  if (g_init(&first, arena, sizeof arena, NULL) != TGC_OK) return 1;
  g_bind_x(&first, x), g_bind_z(&first, z), g_bind_e(&first, e), g_bind_lengths(&first, lengths);
  context = first;
  if (g_set_n(&context, 10) != TGC_BAD_ARGUMENT || g_set_n(&context, 3) != TGC_BAD_ARGUMENT) return 2;
  if (g_run(&context) != TGC_OK) return 3;
  printf("%g", z[0]);
  if (g_set_n(&context, 4) != TGC_OK || g_run(&context) != TGC_OK) return 4;
  printf(" %g", z[0]);
  if (g_bind_n(&context, &bound) != TGC_OK || g_run(&context) != TGC_OK) return 5;
  printf(" %g", z[0]);
  if (g_set_n(&context, 6) != TGC_OK || g_run(&context) != TGC_OK) return 6;
  printf(" %g", z[0]);
  if (g_run(&first) != TGC_OK) return 7;
  printf(" %g", z[0]);
  return 0;
}
"""


def test_the_header_sets_sizes(tmp_path: Path) -> None:
    """The largest at first, what is set or bound last, in a copy of a context too; what is not allowed is refused."""
    cc = compiler("gcc", "clang")
    model = parser.parse_model(HEAD + "g (float[n] x) => (float[1] z, float[n] e) { z = ReduceSum(x) e = Relu(x) }")
    files = tgc.compile(model, "c", tmp_path / "out", dims={"n": (2, 8, 2)}, weights="embed").files
    (tmp_path / "out" / "main.c").write_text(SIZES_MAIN)
    sources = [name for name in files if name.endswith(".c") and name != "example_main.c"]
    checked([cc, *STRICT, "-o", "main", "main.c", *sources, "-lm"], tmp_path / "out")
    done = subprocess.run(["./main"], cwd=tmp_path / "out", capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["28", "6", "1", "15", "28"]


@pytest.mark.parametrize("target", ["cpu", "c", "opencl"])
@pytest.mark.parametrize("count", [2, 3])
def test_an_open_axis_is_split(target: str, count: int, tmp_path: Path) -> None:
    """Into equal parts, the last of which is shorter at some sizes, or empty."""
    names = ", ".join("abc"[:count])
    text = f"{HEAD}g (float[n, 2] x) => ({', '.join(f'float[{name}n, 2] {name}' for name in 'abc'[:count])})"
    model = parser.parse_model(f"{text} {{ {names} = Split<num_outputs={count}>(x) }}")
    tgc.compile(model, target, tmp_path / "out", dims={"n": (1, 7)})
    loaded = tgc.load(tmp_path / "out")
    for size in (7, 6, 5, 4, 2, 1):
        x = np.arange(2 * size, dtype=np.float32).reshape(size, 2)
        each = -(-size // count)
        for number, found in enumerate(loaded.run({"x": x}).values()):
            np.testing.assert_array_equal(found, x[number * each : (number + 1) * each])
