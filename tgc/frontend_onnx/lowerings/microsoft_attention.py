"""com.microsoft: attention as exporters for transformers write it. Scores are [batch, heads, queries, keys]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.integer_products import mat_mul_integer_to_float
from tgc.frontend_onnx.lowerings.linear import mat_mul
from tgc.frontend_onnx.lowerings.microsoft_quantised import MICROSOFT
from tgc.frontend_onnx.lowerings.normalization import softmax
from tgc.frontend_onnx.registry import lowers
from tgc.ir import expr as ex
from tgc.ir import scalar
from tgc.ir.dtypes import I32
from tgc.ir.expr import Coordinate
from tgc.ir.graph import Node


@dataclass(frozen=True, slots=True)
class _Masks:
    """What is taken out of the scores. keys: i32 [batch, 1, 1 or queries, keys], 0 where a key is not to be seen; `bias` is added."""

    keys: Node | None
    bias: Node | None
    causal: bool
    filter_value: float


def _heads(b: LoweringBuilder, x: Node, heads: int) -> Node:
    """[batch, length, heads * size] -> [batch, heads, length, size]."""
    batch, length, hidden = x.shape
    if hidden % heads:
        raise b.invalid(f"{hidden} features in {heads} heads")
    return b.permute(b.reshape(x, (batch, length, heads, hidden // heads)), [0, 2, 1, 3])


def _attended(b: LoweringBuilder, query: Node, key: Node, value: Node, scale: float, masks: _Masks) -> Node:
    """softmax(scale * Q K' + masks) V of tensors [batch, heads, length, size]: [batch, queries, heads * size]."""
    batch, heads, queries, size = query.shape
    keys = key.shape[2]
    scores = b.matmul(query, b.swap(key, 2, 3))
    scores = b.elementwise(lambda s: scalar.mul(s, scale or 1 / sqrt(size)), scores)
    if masks.keys is not None:
        seen = b.expand(masks.keys, (batch, 1, masks.keys.shape[2], keys))
        scores = b.elementwise(lambda s, m: scalar.where(scalar.eq(m, 0), scalar.add(s, masks.filter_value), s), scores, seen)
    if masks.causal:
        row, column = (ex.cast(Coordinate(axis), I32) for axis in (2, 3))
        late = scalar.gt(column, scalar.add(row, keys - queries))
        scores = b.elementwise(lambda s: scalar.where(late, masks.filter_value, s), scores)
    if masks.bias is not None:
        scores = b.add(scores, masks.bias)
    out = b.matmul(softmax(b, scores, axis=-1), value)
    return b.reshape(b.permute(out, [0, 2, 1, 3]), (batch, queries, heads * value.shape[3]))


def _key_mask(b: LoweringBuilder, mask: Node | None, batch: int, keys: int) -> Node | None:
    """A mask of any of its forms as _Masks has it: [batch] counts of keys, [batch, keys], [batch, queries, keys] or rank 4."""
    if mask is None:
        return None
    match mask.shape:
        case (n,) if n == batch:
            counts = b.expand(b.reshape(b.cast(mask, I32), (batch, 1, 1, 1)), (batch, 1, 1, keys))
            return b.elementwise(lambda c: ex.cast(scalar.lt(ex.cast(Coordinate(3), I32), c), I32), counts)
        case (n, k) if n in (1, batch) and k == keys:
            return b.reshape(b.cast(mask, I32), (n, 1, 1, keys))
        case (n, q, k) if n in (1, batch) and k == keys:
            return b.reshape(b.cast(mask, I32), (n, 1, q, keys))
    raise b.unsupported(f"a mask of shape {list(mask.shape)}")


@lowers("Attention", since=1, domain=MICROSOFT)
def attention(
    b: LoweringBuilder,
    x: Node,
    weights: Node,
    bias: Node | None = None,
    mask_index: Node | None = None,
    past: Node | None = None,
    attention_bias: Node | None = None,
    past_sequence_length: Node | None = None,
    *,
    num_heads: int,
    do_rotary: int = 0,
    mask_filter_value: float = -10000.0,
    past_present_share_buffer: int = 0,
    qkv_hidden_sizes: tuple[int, ...] | None = None,
    rotary_embedding_dim: int = 0,
    scale: float = 0.0,
    unidirectional: int = 0,
) -> Node | tuple[Node, Node]:
    """Self attention of x [batch, length, hidden] with the weights of queries, keys and values side by side; keys and values so far."""
    if do_rotary or past_present_share_buffer or past_sequence_length is not None:
        raise b.unsupported("rotary embedding or a shared buffer in Attention")
    joined = mat_mul(b, x, weights)
    if bias is not None:
        joined = b.add(joined, bias)
    sizes = qkv_hidden_sizes or (weights.shape[1] // 3,) * 3
    masks = (mask_index, attention_bias, bool(unidirectional), mask_filter_value)
    return _self_attention(b, joined, sizes, num_heads, past, scale, masks)


def _self_attention(
    b: LoweringBuilder,
    joined: Node,
    sizes: Sequence[int],
    heads: int,
    past: Node | None,
    scale: float,
    masks: tuple[Node | None, Node | None, bool, float],
) -> Node | tuple[Node, Node]:
    """Attention of queries, keys and values side by side in `joined` [batch, length, sum of sizes]."""
    mask_index, attention_bias, causal, filter_value = masks
    starts = (0, sizes[0], sizes[0] + sizes[1])
    query, key, value = (_heads(b, b.narrow(joined, 2, at, n), heads) for at, n in zip(starts, sizes, strict=True))
    if past is not None:
        before = [b.squeeze(b.narrow(past, 0, n, 1), (0,)) for n in (0, 1)]
        key, value = b.concat([before[0], key], 2), b.concat([before[1], value], 2)
    seen = _key_mask(b, mask_index, joined.shape[0], key.shape[2])
    out = _attended(b, query, key, value, scale, _Masks(seen, attention_bias, causal, filter_value))
    return (out, b.stack([key, value], 0)) if len(b.outputs) > 1 else out


@lowers("QAttention", since=1, domain=MICROSOFT)
def q_attention(
    b: LoweringBuilder,
    x: Node,
    weights: Node,
    bias: Node,
    x_scale: Node,
    w_scale: Node,
    mask_index: Node | None = None,
    x_zero_point: Node | None = None,
    w_zero_point: Node | None = None,
    past: Node | None = None,
    *,
    num_heads: int,
    do_rotary: int = 0,
    mask_filter_value: float = -10000.0,
    past_present_share_buffer: int = 0,
    scale: float = 0.0,
    unidirectional: int = 0,
) -> Node | tuple[Node, Node]:
    """Attention whose x and weights are quantised; their product is taken in integers."""
    if do_rotary or past_present_share_buffer:
        raise b.unsupported("rotary embedding or a shared buffer in QAttention")
    joined = mat_mul_integer_to_float(b, x, weights, x_scale, w_scale, x_zero_point, w_zero_point, bias)
    masks = (mask_index, None, bool(unidirectional), mask_filter_value)
    return _self_attention(b, joined, (weights.shape[1] // 3,) * 3, num_heads, past, scale, masks)


@lowers("MultiHeadAttention", since=1, domain=MICROSOFT)
def multi_head_attention(
    b: LoweringBuilder,
    query: Node,
    key: Node | None = None,
    value: Node | None = None,
    bias: Node | None = None,
    key_padding_mask: Node | None = None,
    attention_bias: Node | None = None,
    past_key: Node | None = None,
    past_value: Node | None = None,
    past_sequence_length: Node | None = None,
    cache_indirection: Node | None = None,
    *,
    num_heads: int,
    mask_filter_value: float = -10000.0,
    scale: float = 0.0,
    unidirectional: int = 0,
) -> Node | tuple[Node, Node, Node]:
    """Attention of queries [batch, length, hidden] to keys and values, packed with them or [batch, heads, length, size] too."""
    if past_sequence_length is not None or cache_indirection is not None:
        raise b.unsupported("a shared buffer in MultiHeadAttention")
    q, k, v = _three(b, query, key, value, bias, num_heads)
    if past_key is not None and past_value is not None:
        k, v = b.concat([past_key, k], 2), b.concat([past_value, v], 2)
    seen = _key_mask(b, key_padding_mask, query.shape[0], k.shape[2])
    out = _attended(b, q, k, v, scale, _Masks(seen, attention_bias, bool(unidirectional), mask_filter_value))
    return (out, k, v) if len(b.outputs) > 1 else out


def _three(b: LoweringBuilder, query: Node, key: Node | None, value: Node | None, bias: Node | None, heads: int) -> tuple[Node, Node, Node]:
    """Queries, keys and values [batch, heads, length, size], with their biases."""
    if key is None or value is None:
        return _packed(b, query, key, bias)
    parts: Sequence[Node] = (query, key, value)
    if bias is not None:
        sizes = [query.shape[-1], query.shape[-1], bias.shape[0] - 2 * query.shape[-1]]
        starts = (0, sizes[0], 2 * sizes[0])
        biases = [b.narrow(bias, 0, at, n) for at, n in zip(starts, sizes, strict=True)]
        if any(len(part.shape) != 3 for part in parts):
            raise b.unsupported("a bias for keys that are split into heads")
        parts = [b.add(part, each) for part, each in zip(parts, biases, strict=True)]
    q, k, v = (_heads(b, part, heads) if len(part.shape) == 3 else part for part in parts)
    return q, k, v


def _packed(b: LoweringBuilder, query: Node, key: Node | None, bias: Node | None) -> tuple[Node, Node, Node]:
    """From queries, keys and values [batch, length, heads, 3, size], or queries and [batch, length, heads, 2, size]."""
    if bias is not None:
        raise b.unsupported("a bias for packed keys")
    if key is None:
        if len(query.shape) != 5 or query.shape[3] != 3:
            raise b.invalid(f"queries of shape {list(query.shape)} without keys")
        whole = b.permute(query, [3, 0, 2, 1, 4])
        q, k, v = (b.squeeze(b.narrow(whole, 0, n, 1), (0,)) for n in range(3))
        return q, k, v
    if len(key.shape) != 5 or key.shape[3] != 2:
        raise b.invalid(f"keys of shape {list(key.shape)} without values")
    whole = b.permute(key, [3, 0, 2, 1, 4])
    k, v = (b.squeeze(b.narrow(whole, 0, n, 1), (0,)) for n in range(2))
    return _heads(b, query, key.shape[2]), k, v


@lowers("RotaryEmbedding", since=1, domain=MICROSOFT)
def rotary_embedding(
    b: LoweringBuilder,
    x: Node,
    position_ids: Node,
    cos_cache: Node,
    sin_cache: Node,
    *,
    interleaved: int = 0,
    is_packed_batching: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
    scale: float = 1.0,
) -> Node:
    """Pairs of features of x, [batch, length, hidden] or [batch, heads, length, size], turned by an angle for each position.

    J. Su et al., RoFormer, 2021. A pair is two halves of a head apart, or next to each other where `interleaved`.
    position_ids: [batch, length], or [1]: where the first token stands.
    """
    half = cos_cache.shape[1]
    if len(x.shape) == 3:
        heads = num_heads if num_heads else x.shape[2] // (rotary_embedding_dim or 2 * half)
        apart = b.reshape(x, (*x.shape[:2], heads, x.shape[2] // heads))
    else:
        apart = b.swap(x, 1, 2)
    batch, length, heads, size = apart.shape
    if position_ids.shape == (1,):
        step = b.coordinate((batch, length), 1, position_ids.dtype)
        position_ids = b.add(step, b.reshape(position_ids, (1, 1)))
    shape = (batch, length, 1, half)
    at = b.reshape(position_ids, (batch, length, 1, 1))
    cos, sin = (b.gather(table, [at, b.coordinate(shape, 3, I32)], shape) for table in (cos_cache, sin_cache))
    turned = b.narrow(apart, 3, 0, 2 * half)
    first, second = _pairs(b, turned, half, bool(interleaved))
    real, imaginary = b.sub(b.mul(first, cos), b.mul(second, sin)), b.add(b.mul(first, sin), b.mul(second, cos))
    joined = b.reshape(b.stack([real, imaginary], 4), turned.shape) if interleaved else b.concat([real, imaginary], 3)
    out = joined if size == 2 * half else b.concat([joined, b.narrow(apart, 3, 2 * half, size - 2 * half)], 3)
    scaled = out if scale == 1 else b.elementwise(lambda a: scalar.mul(a, scale), out)
    return b.reshape(scaled, x.shape) if len(x.shape) == 3 else b.swap(scaled, 1, 2)


def _pairs(b: LoweringBuilder, x: Node, half: int, interleaved: bool) -> tuple[Node, Node]:
    if interleaved:
        return b.narrow(x, 3, 0, half, 2), b.narrow(x, 3, 1, half, 2)
    return b.narrow(x, 3, 0, half), b.narrow(x, 3, half, half)
