"""NonMaxSuppression: a loop that takes the best box that is left and drops those that overlap it, for all classes at once."""

from __future__ import annotations

import math

import numpy as np

from tgc.frontend_onnx import live
from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.folding import fold
from tgc.frontend_onnx.lowerings.reductions import largest_index
from tgc.frontend_onnx.lowerings.selection import chosen
from tgc.frontend_onnx.registry import lowers
from tgc.ir import ops, scalar
from tgc.ir.dtypes import BOOL, F32, I64
from tgc.ir.expr import Expr
from tgc.ir.graph import Node, Scan
from tgc.ir.scan import scan_results

_DROPPED = -math.inf


@lowers("NonMaxSuppression", since=(10, 11))
def non_max_suppression(
    b: LoweringBuilder,
    boxes: Node,
    scores: Node,
    max_output_boxes_per_class: Node | None = None,
    iou_threshold: Node | None = None,
    score_threshold: Node | None = None,
    *,
    center_point_box: int = 0,
) -> Node:
    """Boxes [B, N, 4], scores [B, C, N] -> (batch, class, box) of those that are kept, best first in each class: [as many, 3] i64."""
    if boxes.shape != (scores.shape[0], scores.shape[2], 4):
        raise b.invalid(f"boxes of shape {list(boxes.shape)} with scores of shape {list(scores.shape)}")
    # A box that is not there counts as one that is dropped.
    scores = live.settled(b, live.masked(b, scores, range(3), scalar.lit(_DROPPED, scores.dtype)))
    boxes = live.settled(b, boxes)
    batch, classes, count = scores.shape
    limit = None if max_output_boxes_per_class is None else fold(max_output_boxes_per_class)
    most = 0 if max_output_boxes_per_class is None else count if limit is None else min(count, max(0, int(limit.reshape(-1)[0])))
    if batch * classes * most == 0:
        return b.constant(np.zeros((0, 3), np.int64))
    left = scores
    if score_threshold is not None:
        left = b.elementwise(lambda s, t: scalar.where(scalar.gt(s, t), s, _DROPPED), scores, b.reshape(score_threshold, ()))
    overlap = b.reshape(iou_threshold, ()) if iou_threshold is not None else b.scalar(0.0, F32)
    best, kept = _best_first(b, _corners(b, boxes, bool(center_point_box)), left, overlap, most)
    if max_output_boxes_per_class is not None and limit is None:
        allowed = b.reshape(b.cast(max_output_boxes_per_class, I64), ())
        kept = b.elementwise(lambda k, n: scalar.logical_and(k, scalar.lt(live.place(0), n)), kept, b.broadcast_to(allowed, kept.shape))
    return _rows(b, best, kept)


def _corners(b: LoweringBuilder, boxes: Node, centred: bool) -> Node:
    """[B, N, 4] as [B, N, 4] of least y, least x, largest y, largest x (or x and y exchanged, which changes no overlap)."""
    first, second, third, fourth = (b.narrow(boxes, 2, d, 1) for d in range(4))
    if centred:
        half = [b.elementwise(lambda v: scalar.mul(v, 0.5), size) for size in (third, fourth)]
        low = [b.sub(middle, h) for middle, h in zip((first, second), half, strict=True)]
        high = [b.add(middle, h) for middle, h in zip((first, second), half, strict=True)]
    else:
        low = [b.minimum(first, third), b.minimum(second, fourth)]
        high = [b.maximum(first, third), b.maximum(second, fourth)]
    return b.concat([*low, *high], 2)


def _best_first(b: LoweringBuilder, corners: Node, scores: Node, overlap: Node, most: int) -> tuple[Node, Node]:
    """The box that each iteration takes, i64 [most, B, C], and whether there was one, bool."""
    batch, classes, _ = scores.shape
    state = b.graph.bound(scores.dtype, scores.shape)
    found = b.cast(largest_index(b, state, 2), I64)  # [B, C, 1]
    some = b.elementwise(lambda s: scalar.gt(s, _DROPPED), b.reduce(ops.MAX, state, (2,)))
    shape = (batch, classes, 1, 4)
    places = [b.coordinate(shape, 0, I64), b.unsqueeze(found, (3,)), b.coordinate(shape, 3, I64)]
    taken = b.gather(corners, places, shape)  # [B, C, 1, 4]
    others = b.unsqueeze(corners, (1,))  # [B, 1, N, 4]
    sides = [b.squeeze(b.narrow(node, 3, d, 1), (3,)) for node in (taken, others) for d in range(4)]
    hit = b.elementwise(_overlaps, *sides, overlap)
    itself = b.elementwise(lambda f: scalar.eq(f, live.place(2)), b.broadcast_to(found, scores.shape))
    gone = b.elementwise(scalar.logical_or, hit, itself)
    following = b.elementwise(lambda g, s: scalar.where(g, scalar.lit(_DROPPED, s), s), gone, state)
    slabs = tuple(b.reshape(node, (1, batch, classes)) for node in (found, some))
    scan = Scan((state,), (), (scores,), (), (following,), slabs, most)
    results = scan_results(b.graph, scan)
    return results[1], results[2]


def _overlaps(y0: Expr, x0: Expr, y1: Expr, x1: Expr, v0: Expr, u0: Expr, v1: Expr, u1: Expr, limit: Expr) -> Expr:
    """Whether the intersection of two boxes is more than `limit` of their union."""
    height = scalar.maximum(scalar.sub(scalar.minimum(y1, v1), scalar.maximum(y0, v0)), 0.0)
    width = scalar.maximum(scalar.sub(scalar.minimum(x1, u1), scalar.maximum(x0, u0)), 0.0)
    common = scalar.mul(height, width)
    mine, theirs = scalar.mul(scalar.sub(y1, y0), scalar.sub(x1, x0)), scalar.mul(scalar.sub(v1, v0), scalar.sub(u1, u0))
    union = scalar.sub(scalar.add(mine, theirs), common)
    return scalar.logical_and(scalar.gt(common, 0.0), scalar.gt(common, scalar.mul(limit, union)))


def _rows(b: LoweringBuilder, best: Node, kept: Node) -> Node:
    """The boxes that are kept, by batch, class and turn."""
    most, batch, classes = best.shape
    turned = [b.reshape(b.permute(node, (1, 2, 0)), (batch * classes * most,)) for node in (best, kept)]
    places = chosen(b, b.cast(turned[1], BOOL))
    where = live.unflattened(b, places, (batch, classes, most))
    boxes = b.graph.gather(turned[0], (places,), places.shape)
    return b.stack([where[0], where[1], boxes], 1)
