"""What the printer has to know of a kernel before it prints: stores, uses, and which register buffers are plain variables.

A value is an expression at a moment: `stamp` is the last store so far to any buffer that the expression reads, so that two
equal expressions with equal stamps are one value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from tgc.ir.dtypes import BOOL, INDEX
from tgc.ir.expr import Apply, Broadcast, Buffer, Expr, Lit, Load, Ramp, Var, children
from tgc.ir.kernel import Alloc, Barrier, Block, For, If, Statement, Store
from tgc.ir.rewrite import expressions, statements, walk

Value = tuple[Expr, int]
Slot = tuple[int, int]  # first element and number of elements of a register variable


@dataclass(slots=True)
class Clock:
    """Counts stores, and answers which value an expression has now."""

    now: int = 0
    stores: dict[str, int] = field(default_factory=dict)
    reads: dict[Expr, tuple[str, ...]] = field(default_factory=dict)

    def value(self, expr: Expr) -> Value:
        """The value of `expr` at this moment."""
        return expr, max((self.stores.get(name, 0) for name in self.buffers(expr)), default=0)

    def buffers(self, root: Expr) -> tuple[str, ...]:
        """Names of the buffers that `root` reads."""
        if root not in self.reads:
            for expr in walk(root, below=lambda expr: () if expr in self.reads else children(expr)):
                if expr not in self.reads:
                    names = {name: None for child in children(expr) for name in self.reads[child]}
                    if isinstance(expr, Load):
                        names[expr.buffer.name] = None
                    self.reads[expr] = tuple(names)
        return self.reads[root]

    def store(self, *names: str) -> None:
        """Something is written to each of the buffers."""
        self.now += 1
        self.stores.update(dict.fromkeys(names, self.now))

    def enter(self, *names: str) -> int:
        """A nested scope begins that writes each of the buffers; the answer is for `leave`."""
        self.store(*names)
        return self.now

    def leave(self, entered: int, *names: str) -> None:
        """The scope ends: moments inside of it are over, so that those after it do not depend on how many there were."""
        self.now = entered
        self.store(*names)


def written(statement: Statement) -> tuple[str, ...]:
    """Names of the buffers that `statement` stores to; a barrier lets others store to local memory."""
    names: dict[str, None] = {}
    for part in statements(statement):
        if isinstance(part, Store):
            names[part.buffer.name] = None
    return tuple(names)


def local_names(statement: Statement) -> tuple[str, ...]:
    """Names of the buffers in `statement` that other work-items write."""
    buffers = {expr.buffer.name: expr.buffer for expr in walk(*expressions(statement)) if isinstance(expr, Load)}
    return tuple(name for name, buffer in buffers.items() if buffer.space in ("local", "global"))


def body_of(statement: Statement) -> tuple[Statement, ...]:
    """The statements of a block, or the one statement."""
    return statement.body if isinstance(statement, Block) else (statement,)


def count_uses(body: tuple[Statement, ...], clock: Clock, shared: tuple[str, ...]) -> Counter[Value]:
    """How many parents each value has among the expressions that run in this scope, without those of nested loops."""
    trial = Clock(clock.now, dict(clock.stores), clock.reads)
    uses: Counter[Value] = Counter()
    for statement in body:
        match statement:
            case Store(buffer, index, value):
                for root in (index, value):
                    _count(root, trial, uses)
                trial.store(buffer.name)
            case If(condition):
                _count(condition, trial, uses)
                changed = written(statement)
                trial.leave(trial.enter(*changed), *changed)
            case Barrier():
                trial.store(*shared)
            case For() | Block():
                changed = written(statement)
                trial.leave(trial.enter(*changed), *changed)
            case Alloc():
                pass
    return uses


def _count(root: Expr, clock: Clock, uses: Counter[Value]) -> None:
    stack = [root]
    while stack:
        expr = stack.pop()
        value = clock.value(expr)
        uses[value] += 1
        if uses[value] == 1:
            stack.extend(reversed(children(expr)))


def register_slots(body: Statement, *, elements: bool = False) -> dict[str, tuple[Slot, ...]]:
    """The register buffers that are variables, with their slots: every access has a constant index and hits one slot exactly.

    elements: what is loaded may be one element of a slot.
    """
    accesses: dict[str, dict[Slot, None]] = {}
    loaded: dict[str, dict[Slot, None]] = {}
    arrays: dict[str, None] = {}
    for buffer, index, store in _register_accesses(body):
        slot = constant_slot(index)
        single = elements and not store and index.lanes == 1
        if slot is None:
            arrays[buffer.name] = None
        else:
            (loaded if single else accesses).setdefault(buffer.name, {})[slot] = None
    for name, slots in loaded.items():
        known = accesses.setdefault(name, {})
        known |= {slot: None for slot in slots if not any(first <= slot[0] < first + size for first, size in known)}
    return {name: tuple(sorted(slots)) for name, slots in accesses.items() if name not in arrays and _disjoint(sorted(slots))}


def constant_slot(index: Expr) -> Slot | None:
    """The elements that a constant, contiguous index names."""
    match index:
        case Lit(value):
            return int(value), 1
        case Ramp(Lit(value), 1, lanes):
            return int(value), lanes
        case _:
            return None


def _register_accesses(body: Statement) -> list[tuple[Buffer, Expr, bool]]:
    """The buffer and the place of each access to a register, and whether it is a store."""
    loads = [(expr.buffer, expr.index, False) for expr in walk(*expressions(body)) if isinstance(expr, Load)]
    stores = [(part.buffer, part.index, True) for part in statements(body) if isinstance(part, Store)]
    return [access for access in loads + stores if access[0].space == "register"]


def _disjoint(slots: list[Slot]) -> bool:
    return all(first + size <= following for (first, size), (following, _) in pairwise(slots))


def depth_of(root: Expr, depths: Mapping[str, int], memo: dict[Expr, tuple[int, int]]) -> tuple[int, int]:
    """Of an index or condition without loads: the scope in which its last variable lives, and its operations; else (-1, 0)."""
    if root.dtype not in (INDEX, BOOL) or root.lanes > 1:
        return -1, 0
    for expr in walk(root, below=lambda expr: () if expr in memo else children(expr)):
        if expr not in memo:
            memo[expr] = _depth(expr, depths, memo)
    return memo[root]


def _depth(expr: Expr, depths: Mapping[str, int], memo: Mapping[Expr, tuple[int, int]]) -> tuple[int, int]:
    match expr:
        case Var(name):
            return depths[name], 0
        case Lit():
            return 0, 0
        case Apply(op, args, dtype) if dtype in (INDEX, BOOL) and expr.lanes == 1 and all(memo[arg][0] >= 0 for arg in args):
            if op.name == "DIV" and not isinstance(args[1], Lit):
                return -1, 0  # must not be computed where a condition forbids it
            return max(memo[arg][0] for arg in args), 1 + sum(memo[arg][1] for arg in args)
        case Apply() | Broadcast() | Ramp() | Load() | _:
            return -1, 0
