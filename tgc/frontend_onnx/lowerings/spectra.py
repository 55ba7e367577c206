"""Fourier transforms, as products with a matrix of sines and cosines: one contraction each."""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.precision import in_single
from tgc.frontend_onnx.registry import lowers
from tgc.frontend_onnx.tensors import require_dtype
from tgc.ir.graph import Node

Floats = npt.NDArray[np.float64]


def _angles(rows: int, columns: int, length: int) -> Floats:
    """2 pi r c / length, [rows, columns]; the product is reduced before it is scaled, so that large ones stay exact."""
    turns = np.arange(rows, dtype=np.int64)[:, None] * np.arange(columns, dtype=np.int64)[None, :] % length
    return np.asarray(2 * np.pi * turns / length)


def forward(terms: int, length: int, bins: int, parts: int) -> Floats:
    """[terms * parts, bins * 2]: real (and imaginary) parts of `terms` elements to those of `bins` frequencies."""
    angle = _angles(terms, bins, length)
    real = np.stack([np.cos(angle), -np.sin(angle)], axis=-1)
    both = np.stack([real, np.stack([np.sin(angle), np.cos(angle)], axis=-1)][:parts], axis=1)
    return both.reshape(terms * parts, bins * 2)


def backward(terms: int, length: int, parts: int) -> Floats:
    """The inverse of `forward` for all frequencies: [terms * parts, length * 2]."""
    angle = _angles(terms, length, length)
    real = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    both = np.stack([real, np.stack([-np.sin(angle), np.cos(angle)], axis=-1)][:parts], axis=1)
    return both.reshape(terms * parts, length * 2) / length


def backward_onesided(terms: int, length: int, parts: int) -> Floats:
    """The inverse for a real signal, from its frequencies 0 .. length / 2, the others being their conjugates: [terms * parts, length]."""
    angle = _angles(terms, length, length)
    twice = np.array([1.0 if 2 * k in (0, length) else 2.0 for k in range(terms)])[:, None]
    both = np.stack([twice * np.cos(angle), -twice * np.sin(angle)][:parts], axis=1)
    return both.reshape(terms * parts, length) / length


def _transformed(b: LoweringBuilder, x: Node, axis: int, length: int | None, inverse: bool, onesided: bool) -> Node:
    """DFT along `axis` of x [.., n, .., 1 or 2], real or with an imaginary part."""
    along, parts = b.axis(axis, len(x.shape)), x.shape[-1]
    if along == len(x.shape) - 1 or parts not in (1, 2):
        raise b.invalid(f"axis {along} of shape {list(x.shape)}, whose last axis holds real and imaginary parts")
    size = x.shape[along]
    count = length if length is not None else 2 * (size - 1) if inverse and onesided else size
    if count < 1:
        raise b.invalid(f"a transform of {count} elements")
    terms = min(size, count // 2 + 1 if inverse and onesided else count)  # the others are zero, or cut off
    if inverse:
        matrix = backward_onesided(terms, count, parts) if onesided else backward(terms, count, parts)
    else:
        matrix = forward(terms, count, count // 2 + 1 if onesided else count, parts)
    order = [d for d in range(len(x.shape)) if d not in (along, len(x.shape) - 1)] + [along, len(x.shape) - 1]
    last = b.permute(b.narrow(x, along, 0, terms), order)
    return _to_place(b, _product(b, last, matrix, 1 if inverse and onesided else 2), order)


def _product(b: LoweringBuilder, x: Node, matrix: Floats, parts: int) -> Node:
    """x [.., terms, parts] times the matrix: [.., n, parts]."""
    lead = x.shape[:-2]

    def product(wide: Node) -> Node:
        weights = b.constant(matrix.astype(wide.dtype.numpy))
        out = b.matmul(b.reshape(wide, (prod(lead), matrix.shape[0])), weights)
        return b.reshape(out, (*lead, matrix.shape[1] // parts, parts))

    return in_single(b, product, x)


def _to_place(b: LoweringBuilder, x: Node, order: list[int]) -> Node:
    return b.permute(x, [order.index(d) for d in range(len(order))])


@lowers("DFT", since=17)
def dft_17(b: LoweringBuilder, x: Node, dft_length: Node | None = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0) -> Node:
    """The discrete Fourier transform along `axis`."""
    return _transformed(b, x, axis, _length(b, dft_length), bool(inverse), bool(onesided))


@lowers("DFT", since=20)
def dft(
    b: LoweringBuilder, x: Node, dft_length: Node | None = None, axis: Node | None = None, *, inverse: int = 0, onesided: int = 0
) -> Node:
    """The discrete Fourier transform along `axis`, by default the one before the last."""
    along = -2 if axis is None else b.known_ints(axis, "axis")[0]
    return _transformed(b, x, along, _length(b, dft_length), bool(inverse), bool(onesided))


def _length(b: LoweringBuilder, length: Node | None) -> int | None:
    return None if length is None else b.known_ints(length, "dft_length")[0]


@lowers("STFT", since=17)
def stft(
    b: LoweringBuilder,
    signal: Node,
    frame_step: Node,
    window: Node | None = None,
    frame_length: Node | None = None,
    *,
    onesided: int = 1,
) -> Node:
    """Signal [batch, length, 1 or 2] -> [batch, frames, bins, 2]: the transform of each windowed frame."""
    step = b.known_ints(frame_step, "frame_step")[0]
    if frame_length is not None:
        size = b.known_ints(frame_length, "frame_length")[0]
    else:
        size = signal.shape[1] if window is None else window.shape[0]
    if step < 1 or not 1 <= size <= signal.shape[1] or (window is not None and window.shape != (size,)):
        raise b.invalid(f"frames of {size} elements every {step} in a signal of shape {list(signal.shape)}")
    x = signal if len(signal.shape) == 3 else b.unsqueeze(signal, (-1,))
    frames = b.permute(b.window(x, 1, size, step), [0, 1, 3, 2])
    weighted = frames if window is None else b.mul(frames, b.reshape(window, (size, 1)))
    return _transformed(b, weighted, 2, size, False, bool(onesided))


@lowers("MelWeightMatrix", since=17)
def mel_weight_matrix(
    b: LoweringBuilder,
    num_mel_bins: Node,
    dft_length: Node,
    sample_rate: Node,
    lower_edge_hertz: Node,
    upper_edge_hertz: Node,
    *,
    output_datatype: int = 1,
) -> Node:
    """[dft_length / 2 + 1, num_mel_bins]: triangles, equally wide on the mel scale, over the frequencies of a spectrum."""
    bands, length, rate = (
        b.known_ints(v, n)[0] for v, n in ((num_mel_bins, "num_mel_bins"), (dft_length, "dft_length"), (sample_rate, "sample_rate"))
    )
    low, high = (
        2595 * np.log10(1 + float(b.known(v, n).reshape(-1)[0]) / 700)
        for v, n in ((lower_edge_hertz, "lower_edge_hertz"), (upper_edge_hertz, "upper_edge_hertz"))
    )
    mels = np.arange(bands + 2) * ((high - low) / (bands + 2)) + low
    edges = ((length + 1) * (700 * (10 ** (mels / 2595) - 1)) // rate).astype(int)
    out = np.zeros((length // 2 + 1, bands))
    for band, (left, centre, right) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        if centre == left:
            out[centre, band] = 1
        else:
            out[left : centre + 1, band] = np.arange(centre + 1 - left) / (centre - left)
        if right > centre:
            out[centre:right, band] = (right - np.arange(centre, right)) / (right - centre)
    return b.constant(out.astype(require_dtype(output_datatype, b.where).numpy))
