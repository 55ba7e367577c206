"""Schedules are data: a tuple of steps, each a change of a loop nest that keeps its meaning.

Each step's docstring shows the nest before and after. `tgc.passes.schedule.apply` carries them out; the heuristic, the search
and a person write the same thing. Steps name loops by their variables.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tgc.ir.kernel import LoopKind


@dataclass(frozen=True, slots=True)
class Split:
    """One loop into two: `var`_o over blocks and `var`_i inside a block of `factor`.

        for i in 40: S(i)    ->    for i_o in 3: for i_i in 16: S(min(16*i_o, 24) + i_i)

    Where the factor does not divide the extent, `overlap` lets the last block start early and do some work twice (stores
    write the same values again, so the loop must not add up), `guard` lets it run over and skips what is outside.
    """

    var: str
    factor: int
    tail: Literal["overlap", "guard"] = "overlap"


@dataclass(frozen=True, slots=True)
class Fuse:
    """Two loops, one directly in the other, into one called `outer`.

    for i in I: for j in J: S(i, j)    ->    for i in I*J: S(i / J, i % J)
    """

    outer: str
    inner: str


@dataclass(frozen=True, slots=True)
class Reorder:
    """Loops that are directly nested in each other, in another order, outermost first.

    for i: for j: S    ->    for j: for i: S
    """

    order: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Distribute:
    """A loop moves inside the loops in its body; what its body keeps in registers becomes an array.

    for i in I:                        alloc acc[I]
      alloc acc                        for i in I: acc[i] = 0
      acc = 0                    ->    for k in K: for i in I: acc[i] += S(i, k)
      for k in K: acc += S(i, k)       for i in I: out[i] = acc[i]
      out[i] = acc

    What a register holds in every iteration alike stays one, and is computed once.
    """

    var: str


@dataclass(frozen=True, slots=True)
class Vectorize:
    """A loop becomes one vector operation a statement; its extent is the number of lanes, a power of two.

    for i in 8: out[i] = a[i] + b    ->    out[0..8] = a[0..8] + broadcast(b)
    """

    var: str


@dataclass(frozen=True, slots=True)
class Unroll:
    """A loop written out.

    for i in 2: S(i)    ->    S(0); S(1)
    """

    var: str


@dataclass(frozen=True, slots=True)
class VectorizeReduction:
    """A loop that accumulates into one register does so in `lanes` lanes, which are combined at the end.

        for k in K: acc = acc + S(k)    ->    alloc part[lanes] = 0
                                              for k_o in K / lanes: part[..] += S(k_o * lanes + ..)
                                              for l in lanes: acc = acc + part[l]

    What is left over when `lanes` does not divide K is one more vector, its lanes that were already counted masked out.
    """

    var: str
    lanes: int


@dataclass(frozen=True, slots=True)
class Keep:
    """What a loop computes and the loop `again`, after it and of the same extent, computes once more is kept in local memory.

                                             alloc kept[K]
                                             for k in K: kept[k] = S(k)
    for k in K: acc = acc + S(k)       ->    for k in K: acc = acc + kept[k]
    for i in K: out[i] = S(i) * acc          for i in K: out[i] = kept[i] * acc
    """

    var: str
    again: str


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a loop sums up anew in each of its iterations is summed up in a loop before it, `var`_ahead, and kept in registers.

                                                 alloc acc_ahead[I]
    for i in I:                                  for i in I:
      part = 0                                     part = 0
      for k in K: part = part + S(i, k)    ->      for k in K: part = part + S(i, k)
      acc = acc + f(part) * T(i)                   acc_ahead[i] = f(part)
                                                 for i in I: acc = acc + acc_ahead[i] * T(i)
    """

    var: str


@dataclass(frozen=True, slots=True)
class Share:
    """A loop that adds up, the only one in its kernel, is divided among `lanes` work-items of a group; the last step of a schedule.

                                                  for part in lanes:                  (work-items)
                                                    alloc acc_shared[lanes * I]
    for i in I: acc[i] = 0                          for i in I: acc[i] = 0
    for k in K: for i in I: acc[i] += S(i, k)  ->   for k in K / lanes: for i in I: acc[i] += S(i, k * lanes + part)
    for i in I: out[i] = f(acc[i])                  for i in I: acc_shared[part * I + i] = acc[i]
                                                    barrier
                                                    for j in I / lanes: i = part * I / lanes + j
                                                      out[i] = f(acc_shared[i] + acc_shared[I + i] + ...)

    Of several loops around the results the first that `lanes` divides is exchanged at once. If it divides none, the first work-item stores.
    """

    var: str
    lanes: int


@dataclass(frozen=True, slots=True)
class Pack:
    """The data of a constant parameter in the order in which the loops read it, so that it is read front to back.

    w[k * 64 + j_o * 16 + j_i] in loops j_o, k, j_i    ->    w'[(j_o * K + k) * 16 + j_i]
    """

    buffer: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A loop that sums products of bytes, u8 next to each other in memory and i8 of a constant parameter, takes four at a time.

    Or products of bf16, two at a time (dot2, f32 acc). constant: the parameter that is constant; "": the types tell, or the strides.

    for k in 10: acc += i32(a[k]) * i32(w[k * 64])    ->    for k_o in 3: acc = dot4(acc, u32(a[min(4*k_o, 6) .. + 4]), w'[k_o])

    w' has the bytes in that order; those that the last, overlapping four have already counted are 0 in it.
    """

    var: str
    constant: str = ""


@dataclass(frozen=True, slots=True)
class Bind:
    """A loop whose iterations are independent is run as `kind` says: parallel, tailed, grid0..2 or lane0..2."""

    var: str
    kind: LoopKind


Step = Split | Fuse | Reorder | Distribute | Vectorize | Unroll | VectorizeReduction | Keep | Ahead | Share | Pack | Dot | Bind
Schedule = tuple[Step, ...]

STEPS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (Split, Fuse, Reorder, Distribute, Vectorize, Unroll, VectorizeReduction, Keep, Ahead, Share, Pack, Dot, Bind)
}


def to_json(schedule: Schedule) -> str:
    """`schedule` as JSON, one step a line."""
    rows = [json.dumps(step_fields(step)) for step in schedule]
    return "[\n" + ",\n".join(f"  {row}" for row in rows) + "\n]\n"


def from_json(text: str) -> Schedule:
    """The schedule that `to_json` wrote. Raises ValueError where it is not one."""
    return tuple(step_from(row) for row in json.loads(text))


def step_fields(step: Step) -> dict[str, Any]:
    """The step as JSON has it."""
    return {"step": type(step).__name__, **asdict(step)}


def step_from(row: Any) -> Step:
    """The step that has these fields. Raises ValueError where there is none."""
    try:
        kind = STEPS[row["step"]]
        made: Step = kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items() if key != "step"})
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"not a schedule step: {row}") from None
    return made
