"""com.microsoft's LSTM with quantised weights, which ONNX Runtime's quantiser writes."""

from __future__ import annotations

from dataclasses import replace

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.microsoft_quantised import MICROSOFT
from tgc.frontend_onnx.lowerings.recurrent import OPTIONS, Options, long_short_term, network
from tgc.frontend_onnx.quantisation import Steps
from tgc.frontend_onnx.registry import lowers
from tgc.ir.graph import Node


@lowers("DynamicQuantizeLSTM", since=1, domain=MICROSOFT)
def dynamic_quantize_lstm(
    b: LoweringBuilder, x: Node, w: Node, r: Node, bias: Node | None, sequence_lens: Node | None, initial_h: Node | None,
    initial_c: Node | None, p: Node | None, w_scale: Node, w_zero_point: Node, r_scale: Node, r_zero_point: Node, *,
    input_forget: int = 0, options: Options = OPTIONS,
) -> tuple[Node, ...]:  # fmt: skip
    """LSTM with W [directions, input, 4 * hidden] and R [directions, hidden, 4 * hidden] in 8 bits, their axes the other way round.

    X as a whole and the state of each step are quantised to u8 by their own range, and multiplied as integers.
    """
    net = network(b, options, 4, x, b.swap(w, 1, 2), b.swap(r, 1, 2), bias, sequence_lens)
    steps = (Steps(scale, zero, matrix.dtype) for scale, zero, matrix in ((w_scale, w_zero_point, w), (r_scale, r_zero_point, r)))
    w_steps, r_steps = steps
    return long_short_term(replace(net, w_steps=w_steps, r_steps=r_steps), (initial_h, initial_c), p, bool(input_forget))
