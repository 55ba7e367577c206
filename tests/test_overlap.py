"""Two boxes of one storage, interleaved in memory, that one kernel reads and writes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgc.ir import index as ix
from tgc.ir.expr import Var
from tgc.ir.index import Index
from tgc.ir.overlap import apart, places_apart, reach_apart, reached
from tgc.ir.text import parse_kernel

I, J, K = (ix.axis(Var(name), extent) for name, extent in (("i", 4), ("j", 3), ("k", 6)))  # noqa: E741


def values(index: Index) -> set[int]:
    """Every value of a sum of loop variables and a quotient of one of them."""
    grid = np.indices((4, 3, 6))
    total = np.full((4, 3, 6), index.offset)
    for atom, factor in index.terms:
        match atom:
            case ix.Axis(var):
                total = total + factor * grid["ijk".index(var.name)]
            case ix.Quotient(dividend, divisor):
                ((inner, scale),) = dividend.terms
                assert isinstance(inner, ix.Axis)
                total = total + factor * ((grid["ijk".index(inner.var.name)] * scale + dividend.offset) // divisor)
    return set(total.reshape(-1).tolist())


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (I, I + 4),
        (I * 8 + J, I * 8 + J + 3),  # columns of a matrix
        (I * 8 + J, I * -8 + J * -1 + 29),  # the same, backwards
        (K // 3 * 12 + K, K // 3 * 12 + K + 3),  # two axes in one loop
        (K // 2 * 10 + K * 2, I * 14 + 4),  # k / 2 * 14 + k % 2 * 2
    ],
)
def test_boxes_that_are_apart(a: Index, b: Index) -> None:
    assert not values(a) & values(b)
    assert apart(a, b)


@pytest.mark.parametrize(("a", "b"), [(I, I), (I, I + 3), (I * 8 + J, J * 8 + I), (I * 8 + J, I * 8 + J + 2), (K // 2, J)])
def test_boxes_that_meet(a: Index, b: Index) -> None:
    assert values(a) & values(b)
    assert not apart(a, b)


indices = st.builds(
    lambda i, j, k, q, d, o: I * i + J * j + K * k + (K // d) * q + o,
    *(st.sampled_from([0, 0, 1, -1, 2, 3, 8, -8, 12]) for _ in range(4)), st.integers(2, 4), st.integers(-5, 20),
)  # fmt: skip


@given(indices, indices)
def test_what_is_called_apart_is_apart(a: Index, b: Index) -> None:
    if apart(a, b):
        assert not values(a) & values(b)


def reaches_apart(body: str, first: int, second: int) -> bool:
    kernel = parse_kernel(f"kernel k(write y: f32[99], read a: f32[99]) {{ {body} }}")
    return reach_apart(kernel, ("y", first), ("a", second))


def test_a_kernel_reaches_what_its_vectors_do() -> None:
    rows = "for i < 4 { y[ramp(i * 8, 1, 4)] = a[ramp(i * 8, 1, 4)] }"
    assert reaches_apart(rows, 0, 4)
    assert not reaches_apart(rows, 0, 3)
    assert reaches_apart(rows, 0, 32)


def test_where_bounds_cannot_tell_values_are_compared() -> None:
    shuffled = "for i < 5 { for j < 6 { y[i * 6 + j + 30] = a[(i * 6 + j) / 5 * -29 + i * 36 + j * 6] } }"
    assert reaches_apart(shuffled, 0, 0)
    assert not reaches_apart(shuffled, 0, 1)


def test_accesses_under_a_condition_are_not_looked_at() -> None:
    assert reaches_apart("for i < 4 { if i < 2 { y[i] = a[i] } }", 0, 0)


def test_the_lesser_is_seen_in_other_words() -> None:
    tiles = "for i < 3 { for j < 2 { y[ramp(where(i * 8 + j * 4 < 18, (i * 2 + j) * 4, 18), 1, 4)] = a[ramp(i * 8 + j * 4, 1, 4)] } }"
    kernel = parse_kernel(f"kernel k(write y: f32[22], read a: f32[24]) {{ {tiles} }}")
    (place,) = reached(kernel, ["y"])["y"]
    assert ix.bounds(place) == (0, 21)


def test_where_what_is_reached_has_to_be_known_conditions_count() -> None:
    kernel = parse_kernel("kernel k(write y: f32[9], read a: f32[9]) { for i < 4 { if i < 2 { y[i] = a[i + 4] } } }")
    found = reached(kernel, ["y", "a"])
    assert not places_apart(found["y"], found["y"])
    assert places_apart(found["y"], found["a"])
    many = ix.axis(Var("i"), 1 << 12) * 3 + ix.axis(Var("j"), 1 << 12) * 5
    assert not places_apart([many], [many + 1])  # more than are looked at
