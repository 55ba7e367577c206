"""What the text of a qcom kernel says of places in images: what loops share is computed once, and nothing is read twice."""

from __future__ import annotations

import re

from small_networks import Net
from test_qcom import target_of

from tgc.backends.cfamily.places import in_order, terms
from tgc.backends.options import EmitOptions
from tgc.driver import emit
from tgc.ir import expr as ex
from tgc.ir import ops
from tgc.ir import scalar as s
from tgc.ir.dtypes import F32
from tgc.ir.expr import Apply, Arg, Expr, Lit, Var
from tgc.ir.graph import Graph
from tgc.passes import compile_graph

OUTER, INNER, START = Var("i"), Var("j"), Var("start")


def plus(*parts: Expr) -> Expr:
    total = parts[0]
    for part in parts[1:]:
        total = ex.apply(ops.ADD, total, part)
    return total


def times(part: Expr, factor: int) -> Expr:
    return ex.apply(ops.MUL, part, ex.index(factor))


def value(expr: Expr, places: dict[Expr, int]) -> int:
    match expr:
        case Lit(number):
            return int(number)
        case Apply(op, (a, b)):
            return value(a, places) + value(b, places) if op is ops.ADD else value(a, places) * value(b, places)
        case _:
            return places[expr]


def test_terms_of_outer_loops_come_first_and_constants_last():
    place = plus(times(plus(times(INNER, 3), ex.index(2)), 5), ex.index(1), times(OUTER, 7))
    ordered = in_order(place, START, {"i": 0, "j": 1, "start": 0}, {})
    assert ordered == plus(START, times(OUTER, 7), times(INNER, 15), ex.index(11))
    somewhere = {OUTER: 3, INNER: 5, START: 100}
    assert value(ordered, somewhere) == 100 + value(place, somewhere)
    assert [factor for _, factor in terms(place, 1)] == [15, 5, 1, 7]


def block() -> Graph:
    """3x3 and 1x1 convolutions with x (x + 1) after the sum of both, at sizes that no tile divides."""
    net = Net()
    x = net.image(1, 12, 64, 128)
    both = net.add(net.conv(x, 64), net.conv(x, 64, 1, pad=0))
    return net.graph(net.conv(net.map(s.mul(Arg(0, F32), s.add(Arg(0, F32), 1.0)), both), 60, 1, pad=0))


def texts(graph: Graph) -> list[str]:
    target = target_of("mixed")
    files = emit(compile_graph(graph, target), target, EmitOptions())
    source = next(content for name, content in files.items() if name.endswith(".cl")).decode()
    return source.split("__kernel ")[1:]


def test_a_value_after_a_loop_has_one_name():
    net = Net()
    product = net.matmul(net.image(2048, 256), net.weight(256, 64))
    text = texts(net.graph(net.map(s.mul(s.add(Arg(0, F32), 1.0), s.add(Arg(0, F32), 1.0)), product)))[-1]
    sums = re.findall(r"acc\w*", text[text.rindex("\n  }") :])
    assert sums
    assert len(sums) == len(set(sums))


def test_loops_limit_no_index():
    """Where the last tile overlaps the one before, its start is found outside of the reduction."""
    inside = [loop for text in texts(block()) for loop in re.findall(r"for \(.*?\n  }", text, re.S)]
    assert any("mad(" in loop for loop in inside)
    assert not any("?" in loop for loop in inside)
