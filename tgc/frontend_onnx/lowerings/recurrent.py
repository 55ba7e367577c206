"""RNN, GRU and LSTM: one scan a direction.

The product of the whole sequence with the input weights is one contraction outside of the loop; an iteration multiplies the state
with the recurrence weights and applies the gates. Inside, everything has the axes [step, direction, batch, feature], the
first two of extent 1, so that what the loop puts together is the operator's Y. A sequence that ends early keeps its state
from there on, and its Y is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.folding import fold
from tgc.frontend_onnx.lowerings.activations import (
    elu,
    hard_sigmoid,
    leaky_relu,
    relu,
    sigmoid,
    softplus,
    softsign,
    tanh,
    thresholded_relu,
)
from tgc.frontend_onnx.lowerings.integer_products import dynamic_quantize_mat_mul
from tgc.frontend_onnx.quantisation import Steps
from tgc.frontend_onnx.registry import lowers
from tgc.ir import scalar
from tgc.ir.dtypes import BOOL, I64
from tgc.ir.graph import Bound, Node, Scan
from tgc.ir.scan import scan_results

Activation = Callable[[Node], Node]
Step = Callable[[Node, Sequence[Node]], tuple[Node, ...]]
"""One iteration: the projected input and the states into the next states, of which the first is put out."""

_ALPHA = {"affine": 1.0, "leakyrelu": 0.01, "thresholdedrelu": 1.0, "scaledtanh": 1.0, "hardsigmoid": 0.2, "elu": 1.0}
_BETA = {"affine": 0.0, "scaledtanh": 1.0, "hardsigmoid": 0.5}


@dataclass(frozen=True, slots=True)
class Options:
    """The attributes that the operators share, as the model gives them."""

    activation_alpha: tuple[float, ...] | None = None
    activation_beta: tuple[float, ...] | None = None
    activations: tuple[str, ...] | None = None
    clip: float | None = None
    direction: str = "forward"
    hidden_size: int | None = None
    layout: int = 0


OPTIONS = Options()
RNN_OPTIONS = Options(activations=("Tanh", "Tanh"))


@dataclass(frozen=True, slots=True)
class Network:
    """The operands of one operator, `gates` weight matrices stacked in each; X is [steps, 1, batch, input] whatever the layout.

    w_steps, r_steps: what the weights' integers stand for, [directions] or [directions, gates * hidden]; then X and the states are
    quantised by their own range before they are multiplied.
    """

    b: LoweringBuilder
    options: Options
    gates: int
    x: Node
    w: Node
    r: Node
    bias: Node | None
    lengths: Node | None
    w_steps: Steps | None = None
    r_steps: Steps | None = None

    @property
    def hidden(self) -> int:
        return self.r.shape[2]

    @property
    def batch(self) -> int:
        return self.x.shape[2]

    def of(self, weights: Node, direction: int) -> Node:
        """The part of `weights` for one direction."""
        return self.b.reshape(self.b.narrow(weights, 0, direction, 1), weights.shape[1:])

    def rows(self, matrix: Node, first: int, count: int = 1) -> Node:
        """The rows of gates `first` to `first + count` of a direction's weights or bias."""
        return self.b.narrow(matrix, 0, first * self.hidden, count * self.hidden)

    def biases(self, direction: int) -> tuple[Node, Node]:
        """Those of the input weights and of the recurrence weights, each [gates * hidden]."""
        size = self.gates * self.hidden
        if self.bias is None:
            none = self.b.full((size,), 0, self.x.dtype)
            return none, none
        both = self.of(self.bias, direction)
        return self.b.narrow(both, 0, 0, size), self.b.narrow(both, 0, size, size)

    def projected(self, direction: int, bias: Node) -> Node:
        """X W + bias for every step: [steps, 1, batch, gates * hidden]."""
        return self.b.add(self._product(self.x, self.of(self.w, direction), direction, self.w_steps), bias)

    def times(self, state: Node, rows: Node, direction: int) -> Node:
        """A state times the transpose of rows of the recurrence weights."""
        return self._product(state, rows, direction, self.r_steps)

    def _product(self, x: Node, rows: Node, direction: int, steps: Steps | None) -> Node:
        columns = self.b.swap(rows, 0, 1)
        if steps is None:
            return self.b.matmul(x, columns)
        zero = None if steps.zero is None else self.of(steps.zero, direction)
        return dynamic_quantize_mat_mul(self.b, x, columns, self.of(steps.scale, direction), zero)

    def gate(self, sums: Node, number: int) -> Node:
        """One gate's part of the last axis."""
        return self.b.narrow(sums, -1, number * self.hidden, self.hidden)

    def limited(self, sums: Node) -> Node:
        """What an activation is applied to: limited to -clip .. clip where the model asks for that."""
        limit = self.options.clip
        return sums if not limit else self.b.elementwise(lambda a: scalar.clip(a, -limit, limit), sums)


def network(
    b: LoweringBuilder, options: Options, gates: int, x: Node, w: Node, r: Node, bias: Node | None, lengths: Node | None
) -> Network:
    if len(x.shape) != 3 or len(w.shape) != 3 or len(r.shape) != 3:
        raise b.invalid(f"X, W and R of shapes {list(x.shape)}, {list(w.shape)} and {list(r.shape)}")
    if options.direction not in ("forward", "reverse", "bidirectional"):
        raise b.invalid(f"direction is {options.direction!r}")
    directions = 2 if options.direction == "bidirectional" else 1
    if r.shape != (directions, gates * r.shape[2], r.shape[2]) or options.hidden_size not in (None, r.shape[2]):
        raise b.invalid(f"R of shape {list(r.shape)}, {directions} directions and a hidden_size of {options.hidden_size}")
    steps = b.swap(x, 0, 1) if options.layout else x
    return Network(b, options, gates, b.unsqueeze(steps, (1,)), w, r, bias, lengths)


def _recurrent(net: Network, initial: Sequence[Node | None], cell: Callable[[int], tuple[Node, Step]]) -> tuple[Node, ...]:
    """Y and the last states; `cell` gives a direction's projected input and its step."""
    b = net.b
    runs: list[tuple[Node, ...]] = []
    for direction in range(net.r.shape[0]):
        projected, step = cell(direction)
        reverse = net.options.direction == "reverse" or direction == 1
        runs.append(_run(net, projected, [_first(net, state, direction) for state in initial], step, reverse))
    y, *last = (b.concat(parts, 1) for parts in zip(*runs, strict=True))
    last = [b.squeeze(state, (0,)) for state in last]
    if net.options.layout:
        return (b.permute(y, (2, 0, 1, 3)), *(b.swap(state, 0, 1) for state in last))
    return (y, *last)


def _first(net: Network, state: Node | None, direction: int) -> Node:
    """The state that a direction begins with, [1, 1, batch, hidden]."""
    shape = (1, 1, net.batch, net.hidden)
    if state is None:
        return net.b.constant(np.zeros(shape, net.x.dtype.numpy))
    return net.b.reshape(net.b.narrow(state, 1 if net.options.layout else 0, direction, 1), shape)


def _run(net: Network, projected: Node, initial: Sequence[Node], step: Step, reverse: bool) -> tuple[Node, ...]:
    """What one direction puts out, [steps, 1, batch, hidden], and its last states."""
    b = net.b
    states = tuple(b.graph.bound(state.dtype, state.shape) for state in initial)
    element = b.graph.bound(projected.dtype, (1, *projected.shape[1:]))
    following = step(element, states)
    out = following[0]
    elements: tuple[Bound, ...] = (element,)
    scanned: tuple[Node, ...] = (projected,)
    running = _running(net)
    if running is not None:
        here = b.graph.bound(BOOL, (1, *running.shape[1:]))
        out = b.where_(here, out, b.scalar(0, out.dtype))
        following = tuple(b.where_(here, new, old) for new, old in zip(following, states, strict=True))
        elements, scanned = (element, here), (projected, running)
    scan = Scan(states, elements, tuple(initial), scanned, following, (out,), projected.shape[0], reverse)
    *last, y = scan_results(b.graph, scan)
    return (y, *last)


def _running(net: Network) -> Node | None:
    """Whether each sequence goes on at each step, [steps, 1, batch, 1]; None where all have the full length."""
    if net.lengths is None:
        return None
    steps = net.x.shape[0]
    known = fold(net.lengths)
    if known is not None and (known.astype(np.int64) >= steps).all():
        return None
    shape = (steps, 1, net.batch, 1)
    ends = net.b.cast(net.b.reshape(net.lengths, (1, 1, net.batch, 1)), I64)
    return net.b.elementwise(scalar.lt, net.b.coordinate(shape, 0, I64), ends)


def _activations(b: LoweringBuilder, options: Options, defaults: tuple[str, ...], directions: int) -> list[tuple[Activation, ...]]:
    """For each direction its functions; alpha and beta go, in order, to those that take them."""
    names = tuple(name.lower() for name in options.activations or defaults * directions)
    if len(names) == len(defaults) * 2 and directions == 1 and names[: len(defaults)] == names[len(defaults) :]:
        names = names[: len(defaults)]  # the defaults of RNN are written out for two directions
    if len(names) != len(defaults) * directions:
        raise b.invalid(f"{len(names)} activations for {directions} directions of {len(defaults)}")
    alphas, betas = iter(options.activation_alpha or ()), iter(options.activation_beta or ())
    made = []
    for name in names:
        alpha = next(alphas, _ALPHA[name]) if name in _ALPHA else 0.0
        beta = next(betas, _BETA[name]) if name in _BETA else 0.0
        made.append(_activation(b, name, alpha, beta))
    count = len(defaults)
    return [tuple(made[direction * count : (direction + 1) * count]) for direction in range(directions)]


def _activation(b: LoweringBuilder, name: str, alpha: float, beta: float) -> Activation:
    functions: dict[str, Activation] = {
        "relu": lambda x: relu(b, x),
        "tanh": lambda x: tanh(b, x),
        "sigmoid": lambda x: sigmoid(b, x),
        "softsign": lambda x: softsign(b, x),
        "softplus": lambda x: softplus(b, x),
        "affine": lambda x: b.elementwise(lambda a: scalar.add(scalar.mul(a, alpha), beta), x),
        "leakyrelu": lambda x: leaky_relu(b, x, alpha=alpha),
        "thresholdedrelu": lambda x: thresholded_relu(b, x, alpha=alpha),
        "scaledtanh": lambda x: b.elementwise(lambda a: scalar.mul(scalar.tanh(scalar.mul(a, beta)), alpha), x),
        "hardsigmoid": lambda x: hard_sigmoid(b, x, alpha=alpha, beta=beta),
        "elu": lambda x: elu(b, x, alpha=alpha),
    }
    if name not in functions:
        raise b.invalid(f"there is no activation {name!r}")
    return functions[name]


@lowers("RNN", since=(7, 14, 22))
def rnn(
    b: LoweringBuilder, x: Node, w: Node, r: Node, bias: Node | None = None, sequence_lens: Node | None = None,
    initial_h: Node | None = None, *, options: Options = RNN_OPTIONS,
) -> tuple[Node, ...]:  # fmt: skip
    """H = f(X W + H R + biases)."""
    net = network(b, options, 1, x, w, r, bias, sequence_lens)
    functions = _activations(b, options, ("Tanh",), r.shape[0])

    def cell(number: int) -> tuple[Node, Step]:
        recurrence = net.of(r, number)

        def step(projected: Node, states: Sequence[Node]) -> tuple[Node, ...]:
            return (functions[number][0](net.limited(b.add(projected, net.times(states[0], recurrence, number)))),)

        return net.projected(number, b.add(*net.biases(number))), step

    return _recurrent(net, (initial_h,), cell)


@lowers("GRU", since=(7, 14, 22))
def gru(
    b: LoweringBuilder, x: Node, w: Node, r: Node, bias: Node | None = None, sequence_lens: Node | None = None,
    initial_h: Node | None = None, *, linear_before_reset: int = 0, options: Options = OPTIONS,
) -> tuple[Node, ...]:  # fmt: skip
    """Gates z (update) and r (reset) and the candidate n: H = (1 - z) n + z H, where n sees H through r.

    n = g(X Wn + (r H) Rn + biases), or g(X Wn + r (H Rn + bias) + bias) where linear_before_reset.
    """
    net = network(b, options, 3, x, w, r, bias, sequence_lens)
    functions = _activations(b, options, ("Sigmoid", "Tanh"), r.shape[0])

    def cell(number: int) -> tuple[Node, Step]:
        recurrence, (of_input, of_state) = net.of(r, number), net.biases(number)
        f, g = functions[number]

        def before(projected: Node, states: Sequence[Node]) -> tuple[Node, ...]:
            (state,) = states
            sums = b.add(net.times(state, recurrence, number), of_state)
            update, reset = (f(net.limited(b.add(net.gate(projected, at), net.gate(sums, at)))) for at in (0, 1))
            candidate = g(net.limited(b.add(net.gate(projected, 2), b.mul(reset, net.gate(sums, 2)))))
            return (_mixed(b, update, candidate, state),)

        def after(projected: Node, states: Sequence[Node]) -> tuple[Node, ...]:
            (state,) = states
            sums = b.add(b.narrow(projected, -1, 0, 2 * net.hidden), net.times(state, net.rows(recurrence, 0, 2), number))
            update, reset = (f(net.limited(net.gate(sums, at))) for at in (0, 1))
            seen = net.times(b.mul(reset, state), net.rows(recurrence, 2), number)
            return (_mixed(b, update, g(net.limited(b.add(net.gate(projected, 2), seen))), state),)

        if linear_before_reset:
            return net.projected(number, of_input), before
        return net.projected(number, b.add(of_input, of_state)), after

    return _recurrent(net, (initial_h,), cell)


def _mixed(b: LoweringBuilder, update: Node, candidate: Node, state: Node) -> Node:
    """(1 - update) candidate + update state."""
    return b.elementwise(lambda z, n, h: scalar.add(scalar.mul(scalar.sub(1.0, z), n), scalar.mul(z, h)), update, candidate, state)


@lowers("LSTM", since=(7, 14, 22))
def lstm(
    b: LoweringBuilder, x: Node, w: Node, r: Node, bias: Node | None = None, sequence_lens: Node | None = None,
    initial_h: Node | None = None, initial_c: Node | None = None, p: Node | None = None, *, input_forget: int = 0,
    options: Options = OPTIONS,
) -> tuple[Node, ...]:  # fmt: skip
    """Gates i, o, f and the candidate g: C = f C + i g, H = o h(C); peepholes let the gates see C. input_forget: f = 1 - i."""
    return long_short_term(network(b, options, 4, x, w, r, bias, sequence_lens), (initial_h, initial_c), p, bool(input_forget))


def long_short_term(net: Network, initial: Sequence[Node | None], p: Node | None, input_forget: bool) -> tuple[Node, ...]:
    """LSTM of a network with four gates: Y and the last H and C."""
    b = net.b
    functions = _activations(b, net.options, ("Sigmoid", "Tanh", "Tanh"), net.r.shape[0])

    def cell(number: int) -> tuple[Node, Step]:
        recurrence, peep = net.of(net.r, number), None if p is None else net.of(p, number)
        f, g, h = functions[number]

        def gate(sums: Node, at: int, memory: Node, peephole: int) -> Node:
            own = net.gate(sums, at)
            return f(net.limited(own if peep is None else b.add(own, b.mul(memory, net.rows(peep, peephole)))))

        def step(projected: Node, states: Sequence[Node]) -> tuple[Node, ...]:
            state, memory = states
            sums = b.add(projected, net.times(state, recurrence, number))
            enter = gate(sums, 0, memory, 0)
            forget = b.elementwise(lambda a: scalar.sub(1.0, a), enter) if input_forget else gate(sums, 2, memory, 2)
            new = b.add(b.mul(forget, memory), b.mul(enter, g(net.limited(net.gate(sums, 3)))))
            return b.mul(gate(sums, 1, new, 1), h(new)), new

        return net.projected(number, b.add(*net.biases(number))), step

    return _recurrent(net, initial, cell)
