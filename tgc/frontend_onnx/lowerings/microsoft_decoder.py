"""com.microsoft.GroupQueryAttention: attention of a decoder that keeps its keys and values, several query heads to one of these."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.microsoft_attention import rotary_embedding
from tgc.frontend_onnx.lowerings.microsoft_quantised import MICROSOFT
from tgc.frontend_onnx.registry import lowers
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import I32, I64
from tgc.ir.expr import Coordinate, Expr
from tgc.ir.graph import Node


@dataclass(frozen=True, slots=True)
class _Sight:
    """Which keys a query sees. before: [batch] i32, how many keys there were. window: how many it looks back, or -1 for all."""

    before: Node
    causal: bool
    window: int
    softcap: float
    sink: Node | None


@lowers("GroupQueryAttention", since=1, domain=MICROSOFT)
def group_query_attention(
    b: LoweringBuilder, query: Node, key: Node | None, value: Node | None, past_key: Node | None, past_value: Node | None,
    seqlens_k: Node, total_sequence_length: Node, cos_cache: Node | None = None, sin_cache: Node | None = None,
    position_ids: Node | None = None, attention_bias: Node | None = None, head_sink: Node | None = None,
    k_scale: Node | None = None, v_scale: Node | None = None, q_norm_weight: Node | None = None, k_norm_weight: Node | None = None,
    *, num_heads: int, kv_num_heads: int, causal: int = 1, do_rotary: int = 0, k_quant_type: str = "NONE", kv_cache_bit_width: int = 0,
    local_window_size: int = -1, qk_norm_epsilon: float = 1e-6, qk_output: int = 0, rotary_interleaved: int = 0, scale: float = 0.0,
    sliding_window_cache: int = 0, smooth_softmax: int = -1, softcap: float = 0.0, v_quant_type: str = "NONE",
) -> tuple[Node, Node, Node]:  # fmt: skip
    """query [batch, length, heads * size], or with keys and values behind it; the keys and values so far [batch, kv_heads, total, size].

    seqlens_k [batch]: how many keys each entry has after this call, less one. total_sequence_length, the largest of them plus one,
    is the length of what is kept, where the buffers of the past are not longer.
    """
    if any(extra is not None for extra in (k_scale, v_scale, q_norm_weight, k_norm_weight)) or kv_cache_bit_width:
        raise b.unsupported("keys and values that are quantised or normalised in GroupQueryAttention")
    if qk_output or sliding_window_cache or smooth_softmax > 0:
        raise b.unsupported("qk_output, sliding_window_cache or smooth_softmax in GroupQueryAttention")
    parts = _three(b, query, key, value, num_heads, kv_num_heads)
    total = b.known_ints(total_sequence_length, "total_sequence_length")[0]
    ends, before = _counts(b, seqlens_k, query.shape[1], total)
    if do_rotary and cos_cache is not None and sin_cache is not None:
        places = _places(b, before, query.shape[1]) if position_ids is None else position_ids
        turned = (rotary_embedding(b, p, places, cos_cache, sin_cache, interleaved=rotary_interleaved) for p in parts[:2])
        parts = [*turned, parts[2]]
    kept = [_kept(b, past, new, before, total) for past, new in ((past_key, parts[1]), (past_value, parts[2]))]
    sight = _Sight(before, bool(causal), local_window_size, softcap, head_sink)
    out = _attended(b, parts[0], kept[0], kept[1], scale, sight, ends, attention_bias)
    return out, kept[0], kept[1]


def _counts(b: LoweringBuilder, seqlens_k: Node, length: int, total: int) -> tuple[Node, Node]:
    """The place of the last key of each entry, and how many keys there were before the `length` new ones: [batch], i32."""
    ends = b.reshape(b.cast(seqlens_k, I32), (prod(seqlens_k.shape),))
    if total == length:
        return ends, b.full(ends.shape, 0, I32)
    return ends, b.elementwise(lambda n: scalar.sub(scalar.add(n, 1), length), ends)


def _three(b: LoweringBuilder, query: Node, key: Node | None, value: Node | None, heads: int, kv_heads: int) -> list[Node]:
    """Queries, keys and values as [batch, heads, length, size]."""
    batch, _, width = query.shape
    if key is not None and value is not None:
        parts, counts = [query, key, value], (heads, kv_heads, kv_heads)
    else:
        size = width // (heads + 2 * kv_heads)
        counts = (heads, kv_heads, kv_heads)
        starts = (0, heads * size, (heads + kv_heads) * size)
        parts = [b.narrow(query, 2, at, n * size) for at, n in zip(starts, counts, strict=True)]
    return [b.permute(b.reshape(p, (batch, p.shape[1], n, p.shape[2] // n)), [0, 2, 1, 3]) for p, n in zip(parts, counts, strict=True)]


def _places(b: LoweringBuilder, before: Node, length: int) -> Node:
    """Where each token stands, [batch, length], i64."""
    shape = (before.shape[0], length)
    return b.add(b.coordinate(shape, 1, I64), b.cast(b.unsqueeze(before, (1,)), I64))


def _kept(b: LoweringBuilder, past: Node | None, new: Node, before: Node, total: int) -> Node:
    """The keys or values of the past [batch, heads, any, size] with the new ones from place `before` on, `total` or more of them."""
    batch, heads, length, size = new.shape
    if past is None or past.shape[2] == 0:
        return new
    whole = max(total, past.shape[2])
    shape = (batch, heads, whole, size)
    start = b.expand(b.reshape(before, (batch, 1, 1, 1)), shape)
    place = ex.cast(Coordinate(2), I32)
    rest = [b.coordinate(shape, d, I32) for d in range(4)]
    old = b.gather(past, [rest[0], rest[1], b.elementwise(lambda _: scalar.minimum(place, past.shape[2] - 1), start), rest[3]], shape)
    at = b.elementwise(lambda s: scalar.clip(scalar.sub(place, s), 0, length - 1), start)
    fresh = b.gather(new, [rest[0], rest[1], at, rest[3]], shape)

    def chosen(s: Expr, o: Expr, n: Expr) -> Expr:
        inside = scalar.logical_and(scalar.ge(place, s), scalar.lt(place, scalar.add(s, length)))
        return scalar.where(inside, n, o)

    return b.elementwise(chosen, start, old, fresh)


def _attended(b: LoweringBuilder, query: Node, key: Node, value: Node, scale: float, sight: _Sight, ends: Node, bias: Node | None) -> Node:
    """[batch, length, heads * size]. The heads of a group are rows of one product with their key."""
    batch, heads, length, size = query.shape
    groups, keys = key.shape[1], key.shape[2]
    rows = b.reshape(query, (batch, groups, heads // groups * length, size))
    scores = b.reshape(b.matmul(rows, b.swap(key, 2, 3)), (batch, heads, length, keys))
    scores = b.elementwise(lambda s: scalar.mul(s, scale or 1 / sqrt(size)), scores)
    if sight.softcap > 0:
        scores = b.elementwise(lambda s: scalar.mul(scalar.tanh(scalar.mul(s, 1 / sight.softcap)), sight.softcap), scores)
    if bias is not None:
        scores = b.add(scores, bias if bias.shape[3] == keys else b.narrow(bias, 3, 0, keys))
    shown = _shown(b, scores, sight, ends)
    weights = _softmax(b, shown, sight.sink)
    out = b.matmul(b.reshape(weights, (batch, groups, heads // groups * length, keys)), value)
    apart = b.reshape(out, (batch, heads, length, value.shape[3]))
    return b.reshape(b.permute(apart, [0, 2, 1, 3]), (batch, length, heads * value.shape[3]))


def _shown(b: LoweringBuilder, scores: Node, sight: _Sight, ends: Node) -> Node:
    """The scores, -inf for keys that a query does not see."""
    row, column = (ex.cast(Coordinate(axis), I32) for axis in (2, 3))
    start, last = (b.expand(b.reshape(n, (n.shape[0], 1, 1, 1)), scores.shape) for n in (sight.before, ends))

    def seen(s: Expr, before: Expr, end: Expr) -> Expr:
        place = scalar.add(before, row)
        hidden = scalar.gt(column, scalar.maximum(place, 0) if sight.causal else end)
        if sight.window >= 0:
            hidden = scalar.logical_or(hidden, scalar.le(column, scalar.sub(place, sight.window)))
        return scalar.where(hidden, float("-inf"), s)

    return b.elementwise(seen, scores, start, last)


def _softmax(b: LoweringBuilder, scores: Node, sink: Node | None) -> Node:
    """Softmax along the last axis; `sink` [heads] is one more score in each row, whose share is dropped."""
    top = b.reduce(ops.MAX, scores, (3,))
    extra = None if sink is None else b.reshape(b.cast(sink, scores.dtype), (1, scores.shape[1], 1, 1))
    if extra is not None:
        top = b.maximum(top, extra)
    powers = b.elementwise(lambda s, t: scalar.exp(scalar.sub(s, t)), scores, top)
    total = b.reduce(ops.ADD, powers, (3,))
    if extra is not None:
        total = b.add(total, b.elementwise(lambda e, t: scalar.exp(scalar.sub(e, t)), extra, top))
    return b.div(powers, total)
