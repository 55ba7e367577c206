"""com.microsoft: what ONNX Runtime's optimiser makes of convolutions, matrix products, activations and normalisations."""

from __future__ import annotations

from collections.abc import Callable

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.activations import elu, hard_sigmoid, hard_swish, leaky_relu
from tgc.frontend_onnx.lowerings.convolution import conv
from tgc.frontend_onnx.lowerings.linear import gemm, mat_mul
from tgc.frontend_onnx.lowerings.microsoft_quantised import MICROSOFT
from tgc.frontend_onnx.lowerings.normalization import layer_normalization, rms_normalization
from tgc.frontend_onnx.lowerings.reductions import mean
from tgc.frontend_onnx.lowerings.spatial import WINDOWS, Windows
from tgc.frontend_onnx.registry import lowers
from tgc.ir import ops, scalar
from tgc.ir.dtypes import F32, I32
from tgc.ir.expr import Expr
from tgc.ir.graph import Node

_ACTIVATIONS: dict[str, Callable[[Expr], Expr]] = {
    "Relu": lambda x: scalar.maximum(x, 0), "Sigmoid": scalar.sigmoid, "Tanh": scalar.tanh, "Gelu": scalar.gelu,
    "Softplus": scalar.softplus, "Mish": scalar.mish,
}  # fmt: skip


def activated(b: LoweringBuilder, x: Node, name: str, numbers: tuple[float, ...]) -> Node:
    """An activation by the name that fused operators give it, with its parameters."""
    match name, numbers:
        case "", _:
            return x
        case "HardSwish", _:
            return hard_swish(b, x)
        case "Elu", (alpha, *_):
            return elu(b, x, alpha=alpha)
        case _ if name in _ACTIVATIONS:
            return b.elementwise(_ACTIVATIONS[name], x)
        case "LeakyRelu", (alpha, *_):
            return leaky_relu(b, x, alpha=alpha)
        case "Clip", (low, high):
            return b.elementwise(lambda a: scalar.clip(a, low, high), x)
        case "HardSigmoid", (alpha, beta):
            return hard_sigmoid(b, x, alpha=alpha, beta=beta)
    raise b.unsupported(f"activation {name!r} with parameters {list(numbers)}")


@lowers("FusedConv", since=1, domain=MICROSOFT)
def fused_conv(
    b: LoweringBuilder,
    x: Node,
    w: Node,
    bias: Node | None = None,
    added: Node | None = None,
    *,
    activation: str = "",
    activation_params: tuple[float, ...] = (),
    windows: Windows = WINDOWS,
) -> Node:
    """Conv, plus a tensor, then an activation."""
    out = conv(b, x, w, bias, windows=windows)
    return activated(b, out if added is None else b.add(out, added), activation, activation_params)


@lowers("FusedGemm", since=1, domain=MICROSOFT)
def fused_gemm(
    b: LoweringBuilder,
    x: Node,
    y: Node,
    c: Node | None = None,
    *,
    activation: str = "",
    activation_alpha: float | None = None,
    activation_beta: float | None = None,
    activation_gamma: float | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Node:
    """Gemm, then an activation."""
    out = gemm(b, x, y, c, alpha=alpha, beta=beta, transA=transA, transB=transB)
    numbers = tuple(v for v in (activation_alpha, activation_beta, activation_gamma) if v is not None)
    return activated(b, out, activation, numbers)


@lowers("GemmFastGelu", since=1, domain=MICROSOFT)
def gemm_fast_gelu(b: LoweringBuilder, x: Node, w: Node, bias: Node | None = None) -> Node:
    """Gelu by tanh, of X W plus a bias."""
    return fast_gelu(b, mat_mul(b, x, w), bias)


@lowers("TransposeMatMul", since=1, domain=MICROSOFT)
def transpose_mat_mul(b: LoweringBuilder, x: Node, y: Node, *, alpha: float = 1.0, transA: int = 0, transB: int = 0) -> Node:
    """alpha * X Y with the last two axes transposed where asked for."""
    return fused_mat_mul(b, x, y, alpha=alpha, transA=transA, transB=transB)


@lowers("FusedMatMul", since=1, domain=MICROSOFT)
def fused_mat_mul(
    b: LoweringBuilder,
    x: Node,
    y: Node,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> Node:
    """alpha * X Y with the last two axes transposed, or the first moved to before the last, where asked for."""
    left, right = _turned(b, x, transA, transBatchA), _turned(b, y, transB, transBatchB)
    out = mat_mul(b, left, right)
    return out if alpha == 1 else b.elementwise(lambda a: scalar.mul(a, alpha), out)


def _turned(b: LoweringBuilder, x: Node, last: int, batch: int) -> Node:
    rank = len(x.shape)
    if batch and rank > 2:
        x = b.permute(x, [*range(1, rank - 1), 0, rank - 1])
    return b.swap(x, -1, -2) if last and rank > 1 else x


@lowers("Gelu", since=1, domain=MICROSOFT)
def gelu(b: LoweringBuilder, x: Node) -> Node:
    """x * Phi(x), by erf."""
    return b.elementwise(scalar.gelu, x)


@lowers("BiasGelu", since=1, domain=MICROSOFT)
def bias_gelu(b: LoweringBuilder, x: Node, bias: Node) -> Node:
    """Gelu of x plus a bias along the last axis."""
    return b.elementwise(scalar.gelu, b.add(x, bias))


@lowers("FastGelu", since=1, domain=MICROSOFT)
def fast_gelu(b: LoweringBuilder, x: Node, bias: Node | None = None) -> Node:
    """Gelu by tanh, of x plus a bias."""
    return b.elementwise(scalar.gelu_tanh, x if bias is None else b.add(x, bias))


@lowers("QuickGelu", since=1, domain=MICROSOFT)
def quick_gelu(b: LoweringBuilder, x: Node, *, alpha: float = 1.702) -> Node:
    """x * sigmoid(alpha * x)."""
    return b.elementwise(lambda a: scalar.mul(a, scalar.sigmoid(scalar.mul(a, alpha))), x)


def normalised(
    b: LoweringBuilder, x: Node, gamma: Node, beta: Node | None, epsilon: float, centred: bool = True
) -> tuple[Node, Node, Node]:
    """x over its deviation along the last axis, scaled and moved; the mean, and 1 / deviation. Not centred: the root mean square."""
    last = (len(x.shape) - 1,)
    middle = mean(b, x, last)
    apart = b.sub(x, middle) if centred else x
    spread = mean(b, b.mul(apart, apart), last)
    inverse = b.elementwise(lambda v: scalar.rsqrt(scalar.add(v, epsilon)), spread)
    out = b.mul(b.mul(apart, inverse), gamma)
    return out if beta is None else b.add(out, beta), middle, inverse


@lowers("SimplifiedLayerNormalization", since=1)
def simplified_layer_normalization(
    b: LoweringBuilder, x: Node, scale: Node, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Node | tuple[Node, Node]:
    """x over its root mean square over `axis` and all axes after it; 1 / that. ONNX Runtime puts it into ONNX's own domain."""
    out = rms_normalization(b, x, scale, axis=axis, epsilon=epsilon, stash_type=stash_type)
    if len(b.outputs) < 2:
        return out
    axes = tuple(range(b.axis(axis, len(x.shape)), len(x.shape)))
    wide = b.cast(x, F32)
    return out, b.elementwise(lambda v: scalar.rsqrt(scalar.add(v, epsilon)), mean(b, b.mul(wide, wide), axes))


@lowers("LayerNormalization", since=1)
def layer_normalization_1(
    b: LoweringBuilder, x: Node, scale: Node, bias: Node | None = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Node | tuple[Node, ...]:
    """LayerNormalization in opsets before ONNX had it, which ONNX Runtime's optimiser writes all the same."""
    return layer_normalization(b, x, scale, bias, axis=axis, epsilon=epsilon, stash_type=stash_type)


@lowers("SkipLayerNormalization", since=1, domain=MICROSOFT)
def skip_layer_normalization(
    b: LoweringBuilder,
    x: Node,
    skip: Node,
    gamma: Node,
    beta: Node | None = None,
    bias: Node | None = None,
    *,
    epsilon: float = 1e-12,
) -> tuple[Node, Node, Node, Node]:
    """LayerNormalization of x + skip + bias along the last axis; mean, 1 / deviation, and the sum."""
    total = b.add(x, skip) if bias is None else b.add(b.add(x, skip), bias)
    out, middle, inverse = normalised(b, total, gamma, beta, epsilon)
    return out, middle, inverse, total


@lowers("SkipSimplifiedLayerNormalization", since=1, domain=MICROSOFT)
def skip_simplified_layer_normalization(
    b: LoweringBuilder, x: Node, skip: Node, gamma: Node, bias: Node | None = None, *, epsilon: float = 1e-12
) -> tuple[Node, Node, Node, Node]:
    """x + skip + bias over its root mean square along the last axis."""
    total = b.add(x, skip) if bias is None else b.add(b.add(x, skip), bias)
    out, middle, inverse = normalised(b, total, gamma, None, epsilon, centred=False)
    return out, middle, inverse, total


@lowers("EmbedLayerNormalization", since=1, domain=MICROSOFT)
def embed_layer_normalization(
    b: LoweringBuilder,
    input_ids: Node,
    segment_ids: Node | None,
    word_embedding: Node,
    position_embedding: Node,
    segment_embedding: Node | None,
    gamma: Node,
    beta: Node,
    mask: Node | None = None,
    position_ids: Node | None = None,
    *,
    epsilon: float = 1e-12,
    mask_index_type: int = 0,
) -> tuple[Node, Node, Node]:
    """The sum of the embeddings of tokens, positions and segments [batch, length, hidden], normalised; how many tokens count; the sum."""
    batch, length = input_ids.shape
    positions = b.coordinate((batch, length), 1, I32) if position_ids is None else b.broadcast_to(position_ids, (batch, length))
    total = b.add(_embedded(b, word_embedding, input_ids), _embedded(b, position_embedding, positions))
    if segment_embedding is not None and segment_ids is not None:
        total = b.add(total, _embedded(b, segment_embedding, segment_ids))
    out, _, _ = normalised(b, total, gamma, beta, epsilon)
    if mask is None:
        return out, b.full((batch,), 0, I32), total
    return out, b.reduce(ops.ADD, b.cast(mask, I32), (1,), keepdims=False), total


def _embedded(b: LoweringBuilder, table: Node, ids: Node) -> Node:
    shape = (*ids.shape, table.shape[1])
    return b.gather(table, [b.unsqueeze(ids, (-1,)), b.coordinate(shape, len(ids.shape), I32)], shape)
