"""Random valid graphs: `random_graph(seed)` makes one, with inputs and the tolerance of each output.

Nodes are drawn into a pool, each made from earlier ones: maps, reductions, views in any composition, gathers, concats,
contractions as convolutions and matrix products have them, rows as softmax has them, scatters, and scans of all of these.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

import numpy as np
import numpy.typing as npt
import random_loops
from random_expressions import DTYPES, EXACT, ExpressionMaker, Facts, clamped, rounded

from tgc.ir import ops
from tgc.ir.dtypes import BOOL, F32, I8, I32, I64, U8, DType
from tgc.ir.expr import Arg, Coordinate, Expr, Lit, apply, cast
from tgc.ir.graph import Graph, Input, Node, Shape
from tgc.ir.graph_builder import GraphBuilder

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Case:
    """A graph, values for its inputs, and for each output how far it may be from the interpreter's answer."""

    graph: Graph
    inputs: dict[str, Array]
    tolerances: dict[str, float]


def random_graph(seed: int, *, size: int = 5, nodes: int = 8) -> Case:
    """The graph of `seed`; extents are mostly up to `size`, and about `nodes` things are computed."""
    return GraphMaker(random.Random(seed), size, nodes).run(seed)


@dataclass(slots=True)
class GraphMaker:
    random: random.Random
    size: int
    count: int
    builder: GraphBuilder = field(default_factory=GraphBuilder)
    pool: list[Node] = field(default_factory=list)
    facts: dict[Node, Facts] = field(default_factory=dict)
    inputs: list[Input] = field(default_factory=list)
    depth: int = 0  # of loops around what is being made

    def run(self, seed: int) -> Case:
        for _ in range(self.random.randint(1, 3)):
            self.add_input()
        while len(self.pool) < self.count:
            self.grow()
        return self.case(seed)

    def grow(self) -> None:
        """Adds something to the pool, or nothing."""
        rules: tuple[Callable[[], Node | None], ...] = (
            self.map, self.map, self.map, self.reduce, self.reduce, self.view, self.view, self.view, self.gather, self.concat, self.concat,
            self.pad, self.pad, self.matmul, self.convolution, self.convolution, self.row, self.constant,
            lambda: random_loops.scatter(self), lambda: random_loops.scan(self),
        )  # fmt: skip
        self.builder.origin = f"n{len(self.pool)}" if self.random.random() < 0.8 else ""
        made = self.random.choice(rules)()
        if made is not None:
            self.keep(made)

    def case(self, seed: int) -> Case:
        candidates = self.pool[-4:] + self.pool
        chosen = [self.pool[-1], *(self.random.choice(candidates) for _ in range(self.random.randint(0, 3)))]
        outputs = tuple((f"out {number}", node) for number, node in enumerate(chosen))
        graph = Graph(f"random_{seed}", tuple(self.inputs), outputs)
        values = {node.name: self.input_values(node) for node in self.inputs}
        return Case(graph, values, {name: 2 * self.facts[node].error for name, node in outputs})

    # -- leaves ---------------------------------------------------------------------------------------------------------

    def keep(self, node: Node) -> None:
        if node not in self.facts:
            raise AssertionError(f"nothing is known of {node}")
        self.pool.append(node)

    def known(self, node: Node, facts: Facts) -> Node:
        """`node`, whose values have `facts`; of a node made before the better facts stay."""
        old = self.facts.get(node)
        self.facts[node] = facts if old is None or facts.error < old.error else old
        return node

    def extent(self) -> int:
        roll = self.random.random()
        return 1 if roll < 0.15 else 0 if roll < 0.16 else self.random.randint(2, self.size)

    def shape(self, low: int = 0, high: int = 4) -> Shape:
        shape = tuple(self.extent() for _ in range(self.random.randint(low, high)))
        return shape if prod(shape) <= self.limit else shape[:2]

    @property
    def limit(self) -> int:
        """The most elements that one tensor should have."""
        return 60 * self.size**2

    def values(self, dtype: DType, shape: Shape) -> Array:
        rng = np.random.default_rng(self.random.getrandbits(32))
        low = 0 if dtype.kind in ("uint", "bool") else -3
        return np.asarray(rng.integers(low, 2 if dtype == BOOL else 4, shape)).astype(dtype.numpy)

    def input_values(self, node: Input) -> Array:
        """Whole numbers, and where the maker knows of it NaN and infinities among them."""
        values = self.values(node.dtype, node.shape)
        if not self.facts[node].finite:
            strange = self.values(U8, node.shape)
            values = np.select([strange == 0, strange == 1], [np.nan, np.inf], values).astype(node.dtype.numpy)
        return np.asarray(values)

    def add_input(self) -> None:
        dtype = self.random.choice(DTYPES)
        made = self.builder.input(f"in {len(self.inputs)}", dtype, self.shape())
        self.inputs.append(made)
        self.keep(self.known(made, Facts(3.0, finite=self.random.random() < 0.9) if dtype.is_float else EXACT))

    def constant(self, shape: Shape | None = None, dtype: DType | None = None) -> Node:
        dtype = dtype or self.random.choice(DTYPES)
        data = self.values(dtype, self.shape() if shape is None else shape)
        return self.known(self.builder.constant(data, "weight"), Facts(3.0) if dtype.is_float else EXACT)

    def pick(self) -> Node:
        recent = self.pool[-3:] if self.random.random() < 0.5 else self.pool
        return self.random.choice(recent)

    # -- computations ---------------------------------------------------------------------------------------------------

    def map(self) -> Node:
        first = self.pick()
        more = [self.fit(self.pick(), first.shape) for _ in range(self.random.randint(0, 2))]
        sources = (first, *more) if self.random.random() < 0.97 else ()
        leaves = [(Arg(position, node.dtype), self.facts[node]) for position, node in enumerate(sources)]
        expr, facts = ExpressionMaker(self.random, leaves, first.shape).make(self.random.choice(DTYPES), self.random.randint(1, 3))
        return self.known(self.builder.map(expr, *sources, shape=first.shape), facts)

    def tamed(self, node: Node, limit: int = 3) -> Node:
        """A float of small, finite values."""
        facts = self.facts[node]
        if not node.dtype.is_float or (facts.tame and facts.bound <= limit):
            return node
        expr, after = clamped((Arg(0, node.dtype), facts), limit)
        return self.known(self.builder.map(expr, node), after)

    def as_type(self, node: Node, dtype: DType) -> Node:
        leaf = (Arg(0, node.dtype), self.facts[node])
        expr, facts = ExpressionMaker(self.random, [leaf], ()).converted(leaf, dtype)
        return self.known(self.builder.map(expr, node), facts)

    def reduce(self, node: Node | None = None, axes: tuple[int, ...] | None = None) -> Node | None:
        source = self.pick() if node is None else node
        if not source.shape:
            return None
        if axes is None:
            axes = tuple(sorted(self.random.sample(range(len(source.shape)), self.random.randint(1, min(2, len(source.shape))))))
        terms = prod(source.shape[axis] for axis in axes)
        op = self.random.choice((ops.ADD, ops.MAX, ops.MAX, ops.MUL) if terms < 5 else (ops.ADD, ops.MAX))
        if source.dtype == BOOL and op is ops.ADD:
            op = ops.MAX
        if op is not ops.MAX:
            source = self.tamed(source)
        return self.known(self.builder.reduce(op, source, axes), self.reduced(op, source, terms))

    def reduced(self, op: ops.Op, source: Node, terms: int) -> Facts:
        facts = self.facts[source]
        if not source.dtype.is_float:
            return EXACT
        match op.name:
            case "ADD":
                return rounded(source.dtype, facts.bound * terms, facts.error * terms)
            case "MUL":
                bound = max(1.0, facts.bound) ** terms
                return rounded(source.dtype, bound, facts.error * terms * bound)
            case _:
                return Facts(facts.bound, facts.error, facts.finite and terms > 0)

    def row(self) -> Node | None:
        """Something like a softmax or a normalisation: reductions along a row, read by the row again."""
        x = self.tamed(self.pick())
        if not x.shape or x.dtype == BOOL:
            return None
        axes = (self.random.randrange(len(x.shape)),)
        for _ in range(self.random.randint(1, 3)):
            total = self.reduce(x, axes)
            assert total is not None
            again = self.fit(total, x.shape)
            leaves = [(Arg(0, x.dtype), self.facts[x]), (Arg(1, x.dtype), self.facts[again])]
            expr, facts = ExpressionMaker(self.random, leaves, ()).make(x.dtype, 2)
            x = self.tamed(self.known(self.builder.map(expr, x, again), facts))
        return x

    def matmul(self) -> Node | None:
        dtype = self.random.choice((F32, F32, F32, *(dtype for dtype in DTYPES if dtype != BOOL)))
        rows, depth, columns = (max(1, self.extent()) for _ in range(3))
        batch = tuple(max(1, self.extent()) for _ in range(self.random.randint(0, 2)))
        if prod(batch) * rows * depth * columns > 4 * self.limit:
            return None
        a = self.operand(dtype, (*batch, rows, depth))
        b = self.operand(dtype, (*batch, depth, columns) if self.random.random() < 0.5 else (*(1 for _ in batch), depth, columns))
        whole = (*batch, rows, depth, columns)
        left = self.builder.expand(self.builder.reshape(a, (*batch, rows, depth, 1)), whole)
        right = self.builder.expand(self.builder.reshape(b, (*b.shape[:-2], 1, depth, columns)), whole)
        total = self.contraction(left, right, a, b, (len(batch) + 1,))
        made = self.builder.reshape(total, (*batch, rows, columns))
        return self.known(made, self.facts[total])

    def operand(self, dtype: DType, shape: Shape) -> Node:
        if self.random.random() < 0.5:
            return self.constant(shape, dtype)
        source = self.tamed(self.as_type(self.pick(), dtype))
        return self.fit(source, shape)

    def contraction(self, left: Node, right: Node, a: Node, b: Node, axes: tuple[int, ...]) -> Node:
        x, y = self.facts[a], self.facts[b]
        product = self.builder.map(apply(ops.MUL, Arg(0, left.dtype), Arg(1, right.dtype)), left, right)
        error = x.error * y.bound + y.error * x.bound + x.error * y.error
        facts = rounded(left.dtype, x.bound * y.bound, error)
        self.known(product, facts)
        terms = prod(product.shape[axis] for axis in axes)
        return self.known(self.builder.reduce(ops.ADD, product, axes), self.reduced(ops.ADD, product, terms))

    def convolution(self) -> Node | None:
        """A convolution over one or two axes, with groups, stride, dilation, padding, a bias and a maximum with 0."""
        b, draw = self.builder, self.random.randint
        dims, groups, inputs, outputs = draw(1, 2), draw(1, 3), draw(1, 4), draw(1, 6)
        batch, spatial = draw(1, 2), tuple(draw(3, max(4, self.size)) for _ in range(dims))
        if batch * groups * inputs * prod(spatial) > self.limit:
            return None
        kernel = tuple(draw(1, 3) for _ in range(dims))
        x = self.operand(F32, (batch, groups * inputs, *spatial))
        facts = self.facts[x]
        padding = tuple(draw(0, 1) for _ in range(dims))
        windows = b.pad(x, (0, 0, *padding), (0, 0, *padding), Lit(0.0, F32))
        for axis, extent in enumerate(kernel):
            fits = spatial[axis] + 2 * padding[axis] > 2 * (extent - 1)
            windows = b.window(windows, 2 + axis, extent, draw(1, 2), draw(1, 2) if fits else 1)
        places = windows.shape[2 : 2 + dims]
        whole = (batch, groups, outputs, inputs, *places, *kernel)
        left = b.expand(b.reshape(windows, (batch, groups, 1, inputs, *places, *kernel)), whole)
        w = self.constant((groups, outputs, inputs, *kernel), F32)
        right = b.expand(b.reshape(w, (1, groups, outputs, inputs, *(1 for _ in places), *kernel)), whole)
        axes = (3, *range(4 + dims, 4 + 2 * dims))
        self.known(left, facts)
        total = self.contraction(left, right, left, w, axes)
        made = self.known(b.reshape(total, (batch, groups * outputs, *places)), self.facts[total])
        return self.epilogue(made) if self.random.random() < 0.6 else made

    def epilogue(self, x: Node) -> Node:
        bias = self.constant((x.shape[1],), F32)
        wide = self.builder.expand(self.builder.reshape(bias, (1, x.shape[1], *(1 for _ in x.shape[2:]))), x.shape)
        facts = self.facts[x]
        total = apply(ops.MAX, apply(ops.ADD, Arg(0, F32), Arg(1, F32)), Lit(0.0, F32))
        return self.known(self.builder.map(total, x, wide), rounded(F32, facts.bound + 3, facts.error))

    # -- movements ------------------------------------------------------------------------------------------------------

    def view(self, source: Node | None = None) -> Node | None:
        source = self.pick() if source is None else source
        facts = self.facts[source]
        made = self.random.choice((self.reshaped, self.permuted, self.expanded, self.sliced, self.windowed))(source)
        return self.known(made, facts) if prod(made.shape) <= self.limit else None

    def reshaped(self, source: Node) -> Node:
        """Merged, split and squeezed at random."""
        shape = list(source.shape)
        for _ in range(self.random.randint(1, 3)):
            at = self.random.randrange(len(shape) + 1)
            divisors = [d for d in range(2, shape[at]) if shape[at] % d == 0] if at < len(shape) else []
            if divisors and self.random.random() < 0.5:
                shape[at : at + 1] = [divisors[0], shape[at] // divisors[0]]
            elif at + 1 < len(shape):
                shape[at : at + 2] = [shape[at] * shape[at + 1]]
            elif len(shape) < 5:
                shape.insert(at, 1)
        return self.builder.reshape(source, tuple(shape))

    def permuted(self, source: Node) -> Node:
        return self.builder.permute(source, tuple(self.random.sample(range(len(source.shape)), len(source.shape))))

    def expanded(self, source: Node) -> Node:
        source = self.builder.reshape(source, (*source.shape, 1)) if 1 not in source.shape else source
        return self.builder.expand(source, tuple(max(1, self.extent()) if size == 1 else size for size in source.shape))

    def sliced(self, source: Node) -> Node:
        extents = tuple(self.random.randint(min(1, size), size) for size in source.shape)
        return self.cut(source, extents)

    def cut(self, source: Node, extents: Shape) -> Node:
        """Slices to `extents`, which are not larger than the source's, with any step that fits."""
        starts, steps = [], []
        for size, extent in zip(source.shape, extents, strict=True):
            step = self.random.randint(1, max(1, (size - 1) // (extent - 1))) if extent > 1 else 1
            start = self.random.randint(0, max(0, size - 1 - step * (extent - 1))) if extent else 0
            backwards = self.random.random() < 0.3 and extent > 0
            starts.append(start + step * (extent - 1) if backwards else start)
            steps.append(-step if backwards else step)
        return self.builder.slice(source, tuple(starts), tuple(steps), extents)

    def windowed(self, source: Node) -> Node:
        wide = [axis for axis, size in enumerate(source.shape) if size >= 2]
        if not wide or len(source.shape) > 4:
            return source
        axis = self.random.choice(wide)
        size = self.random.randint(1, min(3, source.shape[axis]))
        dilation = self.random.randint(1, max(1, (source.shape[axis] - 1) // max(1, size - 1)))
        return self.builder.window(source, axis, size, self.random.randint(1, 3), min(dilation, 2))

    def pad(self, source: Node | None = None) -> Node:
        source = self.pick() if source is None else source
        low, high = (tuple(self.random.choice((0, 0, 1, 2)) for _ in source.shape) for _ in range(2))
        return self.padded(source, low, high)

    def padded(self, source: Node, low: Shape, high: Shape) -> Node:
        value, facts = ExpressionMaker(self.random, [], ()).literal(source.dtype)
        assert isinstance(value, Lit)
        old = self.facts[source]
        return self.known(
            self.builder.pad(source, low, high, value), Facts(max(old.bound, facts.bound), old.error, old.finite)
        )  # fmt: skip

    def fit(self, source: Node, shape: Shape) -> Node:
        """`source` brought to `shape` by views."""
        facts = self.facts[source]
        if 0 in source.shape and not shape:
            return self.constant(shape, source.dtype)
        if prod(source.shape) == prod(shape) and self.random.random() < 0.7:
            return self.known(self.builder.reshape(source, shape), facts)
        rank = len(shape)
        squeezed = source.shape if len(source.shape) <= rank else (*source.shape[: rank - 1], prod(source.shape[rank - 1 :]))[:rank]
        if len(source.shape) > rank == 0:
            source = self.builder.slice(source, (0,) * len(source.shape), (1,) * len(source.shape), (1,) * len(source.shape))
        current = self.builder.reshape(source, (1,) * (rank - len(squeezed)) + squeezed)
        smaller = [min(a, b) for a, b in zip(current.shape, shape, strict=True)]
        wanted = tuple(a if a == b or self.random.random() < 0.7 else min(a, 1) for a, b in zip(smaller, shape, strict=True))
        current = self.known(self.cut(current, wanted), facts)
        grown = tuple(b if a == 1 else a for a, b in zip(current.shape, shape, strict=True))
        current = self.known(self.builder.expand(current, grown), facts)
        missing = tuple(b - a for a, b in zip(current.shape, shape, strict=True))
        low = tuple(self.random.randint(0, gap) for gap in missing)
        return self.padded(current, low, tuple(gap - a for gap, a in zip(missing, low, strict=True)))

    def concat(self) -> Node | None:
        first = self.pick()
        if not first.shape:
            return None
        axis = self.random.randrange(len(first.shape))
        pieces = [first]
        for _ in range(self.random.randint(1, 3)):
            other = self.as_type(self.pick(), first.dtype)
            extent = self.extent() if self.random.random() < 0.5 else first.shape[axis]
            pieces.append(self.fit(other, (*first.shape[:axis], extent, *first.shape[axis + 1 :])))
        facts = [self.facts[piece] for piece in pieces]
        joined = Facts(max(f.bound for f in facts), max(f.error for f in facts), all(f.finite for f in facts))
        return self.known(self.builder.concat(tuple(pieces), axis), joined)

    def gather(self) -> Node | None:
        source = self.pick()
        if 0 in source.shape:
            return None
        shape = self.shape(0, 3)
        coordinates = tuple(self.coordinate(shape) for _ in source.shape)
        return self.known(self.builder.gather(source, coordinates, shape), self.facts[source])

    def coordinate(self, shape: Shape) -> Node:
        """Integers around the range of an axis."""
        kind = self.random.randrange(3)
        if kind == 0 and shape:
            axis = self.random.randrange(len(shape))
            at: Expr = Coordinate(axis)
            if self.random.random() < 0.5:
                at = apply(ops.ADD, at, Lit(self.random.randint(-2, 2), at.dtype))
            return self.known(self.builder.map(cast(at, self.random.choice((I64, I32, U8, I8))), shape=shape), EXACT)
        if kind == 1:
            return self.constant(shape, self.random.choice((I64, I32, U8, I8)))
        node = self.as_type(self.pick(), self.random.choice((I64, I32, U8, I8)))
        return self.fit(node, shape)
