"""A few dozen of the ONNX node tests through the compiled code; the whole suite is a run of its own.

TGC_ONNX_BACKEND chooses the target.
"""

from __future__ import annotations

import unittest
import warnings

import numpy as np
import onnx.backend.test
import onnx.parser
import pytest

pytest.importorskip("tgc.run")

import tgc.onnx_backend

NODES = (
    "abs", "add", "add_bcast", "argmax_keepdims_example", "averagepool_2d_pads", "averagepool_2d_ceil", "batchnorm_example",
    "cast_FLOAT_to_DOUBLE", "clip", "concat_2d_axis_1", "conv_with_strides_padding", "convtranspose", "cumsum_1d",
    "depthtospace_example", "div", "equal", "erf", "exp", "expand_dim_changed", "flatten_axis1", "gather_0", "gather_elements_0",
    "gemm_all_attributes", "globalaveragepool", "hardswish", "layer_normalization_default_axis", "leakyrelu", "less", "log",
    "matmul_4d", "maxpool_2d_pads", "mish", "mod_int64_fmod", "pow", "prelu_broadcast", "reduce_l2_keep_dims_random",
    "reduce_mean_keepdims_example", "reshape_extended_dims", "resize_upsample_sizes_nearest", "selu", "sigmoid", "slice",
    "softmax_axis_1", "softplus", "split_equal_parts_2d_opset13", "sqrt", "sub", "tanh", "tile", "transpose_all_permutations_3",
    "where_example",
)  # fmt: skip


def suite() -> type[unittest.TestCase]:
    """All node tests of the suite."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The suite divides by zero on purpose while it makes its data, and has marks of its own.
        return onnx.backend.test.BackendTest(tgc.onnx_backend, __name__).test_cases["OnnxBackendNodeModelTest"]


# Of the suite's class only the chosen methods: a whole class in this module would be run as a whole.
TestNodes = type("TestNodes", (unittest.TestCase,), {f"test_{name}": vars(suite())[f"test_{name}_cpu"] for name in NODES})


def test_shapes_and_values_that_come_with_the_inputs() -> None:
    """One prepared model meets two shapes, and a Reshape whose target is an input."""
    made = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 17]>
        g (float[N, M] x, int64[K] shape) => (float[A, B] y) { y = Reshape(x, shape) }""")
    prepared = tgc.onnx_backend.prepare(made)
    for rows in (2, 3):
        x = np.arange(rows * 6, dtype=np.float32).reshape(rows, 6)
        (y,) = prepared.run([x, np.int64([-1, 2])])
        np.testing.assert_array_equal(y, x.reshape(-1, 2))


def test_devices() -> None:
    assert tgc.onnx_backend.supports_device("CPU")
    assert not tgc.onnx_backend.supports_device("CUDA:1")
    with pytest.raises(tgc.ModelError):
        tgc.onnx_backend.prepare(onnx.ModelProto(), "CUDA")
