"""Which operators take tensors with open axes. One that is not listed here refuses them, so that no number is ever wrong.

The rest of the rules is in the builder: reductions leave out what is not live, reshapes move what has to move, and whoever needs an
extent as a number raises UndecidedError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tgc.errors import UnsupportedError
from tgc.frontend_onnx.live import is_open, masked
from tgc.ir import scalar
from tgc.ir.graph import Node
from tgc.ir.lengths import Length, symbols

if TYPE_CHECKING:
    from tgc.frontend_onnx.builder import LoweringBuilder

POINTWISE = frozenset(
    [
        "Abs",
        "Acos",
        "Acosh",
        "Add",
        "And",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "BitShift",
        "BitwiseAnd",
        "BitwiseNot",
        "BitwiseOr",
        "BitwiseXor",
        "Cast",
        "CastLike",
        "Ceil",
        "Celu",
        "Clip",
        "Cos",
        "Cosh",
        "Div",
        "Elu",
        "Equal",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "Greater",
        "GreaterOrEqual",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "IsInf",
        "IsNaN",
        "LeakyRelu",
        "Less",
        "LessOrEqual",
        "Log",
        "Max",
        "Mean",
        "Min",
        "Mish",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "PRelu",
        "Pow",
        "QuickGelu",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Shrink",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sinh",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Sub",
        "Sum",
        "Swish",
        "Tan",
        "Tanh",
        "ThresholdedRelu",
        "Where",
        "Xor",
    ]
)
MOVING = frozenset(
    [
        "AffineGrid",
        "Compress",
        "MaxUnpool",
        "NonMaxSuppression",
        "NonZero",
        "Concat",
        "ConstantOfShape",
        "DeformConv",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "GridSample",
        "Pad",
        "Range",
        "Reshape",
        "Resize",
        "RoiAlign",
        "Scatter",
        "ScatterElements",
        "ScatterND",
        "Shape",
        "Size",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "TensorScatter",
        "TfIdfVectorizer",
        "Tile",
        "Transpose",
        "Trilu",
        "Unique",
        "Unsqueeze",
        "Upsample",
    ]
)
SUMMING = frozenset(
    [
        "ArgMax",
        "ArgMin",
        "AveragePool",
        "BatchNormalization",
        "Conv",
        "ConvTranspose",
        "CumProd",
        "CumSum",
        "Einsum",
        "Gemm",
        "GlobalAveragePool",
        "GlobalLpPool",
        "GlobalMaxPool",
        "GroupNormalization",
        "Hardmax",
        "InstanceNormalization",
        "LayerNormalization",
        "LogSoftmax",
        "LpNormalization",
        "LpPool",
        "MatMul",
        "MaxPool",
        "MeanVarianceNormalization",
        "RMSNormalization",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
        "Softmax",
        "TopK",
    ]
)
QUANTISED = frozenset(
    [
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "QLinearAdd",
        "QLinearConcat",
        "QLinearConv",
        "QLinearLeakyRelu",
        "QLinearMatMul",
        "QLinearMul",
        "QLinearReduceMean",
        "QLinearSigmoid",
        "QLinearSoftmax",
        "QLinearWhere",
        "QuantizeLinear",
    ]
)
FUSED = frozenset(
    [
        "Attention",
        "BiasAdd",
        "BiasGelu",
        "ExpandDims",
        "FastGelu",
        "FusedConv",
        "FusedGemm",
        "FusedMatMul",
        "GemmFastGelu",
        "MultiHeadAttention",
        "RotaryEmbedding",
        "TransposeMatMul",
    ]
)
ADMITTED = POINTWISE | MOVING | SUMMING | QUANTISED | FUSED


def admitted(b: LoweringBuilder, inputs: Sequence[Node | None]) -> Sequence[Node | None]:
    """`inputs`, safe to compute with. Raises UnsupportedError where one has an open axis and the operator takes none."""
    opened = [node for node in inputs if node is not None and is_open(node.shape)]
    if not opened:
        return inputs
    if b.site.op_type not in ADMITTED:
        size = next(size for size in opened[0].shape if isinstance(size, Length))
        raise refusal(b, size)
    if b.site.op_type in ("Div", "Mod") and opened[0].dtype.is_integer:
        return [inputs[0], _no_zeros(b, inputs[1])]
    return inputs


def refusal(b: LoweringBuilder, size: Length) -> UnsupportedError:
    """The error for an axis of `size` elements."""
    free = symbols(size.polynomial)
    pins = " ".join(symbol.pin(symbol.high, symbol.high) for symbol in free if symbol.named)
    hint = f"pin it, for example with {pins}" if pins else "its length depends on data"
    return b.unsupported(f"an axis of {size} elements, as many as are only known at run time", hint)


def _no_zeros(b: LoweringBuilder, divisor: Node | None) -> Node | None:
    """`divisor` with 1 beyond its live part: whole numbers must not be divided by whatever lies there."""
    if divisor is None:
        return None
    return masked(b, divisor, range(len(divisor.shape)), scalar.lit(1, divisor.dtype))
