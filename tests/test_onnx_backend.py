"""A few dozen of the ONNX node tests through the compiled code; the whole suite is a run of its own.

TGC_ONNX_BACKEND chooses the target.
"""

from __future__ import annotations

import onnx.backend.test
import pytest

pytest.importorskip("tgc.run")

import tgc.onnx_backend

NODES = (
    "abs", "add", "add_bcast", "argmax_keepdims_example", "averagepool_2d_pads", "averagepool_2d_ceil", "batchnorm_example",
    "cast_FLOAT_to_DOUBLE", "clip", "concat_2d_axis_1", "conv_with_strides_padding", "convtranspose_2d", "cumsum_1d",
    "depthtospace_example", "div", "equal", "erf", "exp", "expand_dim_changed", "flatten_axis1", "gather_0", "gather_elements_0",
    "gemm_all_attributes", "globalaveragepool", "hardswish", "layer_normalization_default_axis", "leakyrelu", "less", "log",
    "matmul_4d", "maxpool_2d_pads", "mish", "mod_int64_fmod", "pow", "prelu_broadcast", "reduce_l2_keep_dims_random",
    "reduce_mean_keepdims_example", "reshape_extended_dims", "resize_upsample_sizes_nearest", "selu", "sigmoid", "slice",
    "softmax_axis_1", "softplus", "split_equal_parts_2d_opset13", "sqrt", "sub", "tanh", "tile", "transpose_all_permutations_3",
    "where_example",
)  # fmt: skip

suite = onnx.backend.test.BackendTest(tgc.onnx_backend, __name__)
for name in NODES:
    suite.include(f"^test_{name}_cpu$")
globals().update(suite.enable_report().test_cases)


def test_every_name_is_a_test_of_the_suite() -> None:
    found = {name for case in suite.test_cases.values() for name in vars(case) if name.startswith("test_")}
    assert {f"test_{name}_cpu" for name in NODES} <= found
