"""Random tensors, by a counter: each element is a hash of its place and the seed, the same on every target and in every run.

The hash is PCG-RXS-M-XS-32 (M. O'Neill, 2014; M. Jarzynski and M. Olano, Hash Functions for GPU Rendering, 2020). Without a `seed`
attribute the seed follows from the node's name and output, so that two nodes differ.
"""

from __future__ import annotations

import zlib
from math import pi, prod

import numpy as np

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.reductions import largest_index
from tgc.frontend_onnx.registry import lowers
from tgc.frontend_onnx.tensors import require_dtype
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import F32, I32, I64, U32, DType
from tgc.ir.expr import Coordinate, Expr
from tgc.ir.graph import Node, Shape


def hashed(state: Expr) -> Expr:
    """32 bits, each as likely 0 as 1, from a u32."""
    mixed = scalar.add(scalar.mul(state, 747796405), 2891336453)
    shift = scalar.add(ex.apply(ops.SHR, mixed, scalar.lit(28, U32)), 4)
    word = scalar.mul(scalar.bit_xor(ex.apply(ops.SHR, mixed, shift), mixed), 277803737)
    return scalar.bit_xor(ex.apply(ops.SHR, word, scalar.lit(22, U32)), word)


def _place(shape: Shape) -> Expr:
    """The element's place in row-major order, u32."""
    flat: Expr = scalar.lit(0, U32)
    for axis, size in enumerate(shape):
        flat = scalar.add(scalar.mul(flat, size), ex.cast(Coordinate(axis), U32))
    return flat


def _seed(b: LoweringBuilder, seed: float | None) -> int:
    """The attribute's bits, or a checksum of where the node is."""
    if seed is not None:
        return int(np.float32(seed).view(np.uint32))
    return zlib.crc32("/".join((b.site.name, *b.site.outputs)).encode())


def _fraction(bits: Expr) -> Expr:
    """The upper 24 bits as a number from 0 to below 1, f32."""
    return scalar.mul(ex.cast(ex.apply(ops.SHR, bits, scalar.lit(8, U32)), F32), 2.0**-24)


def _bits(shape: Shape, seed: int, stream: int) -> Expr:
    """A hash of the element's place, the seed and the number of the stream."""
    return hashed(scalar.bit_xor(hashed(_place(shape)), hashed_number(seed + 0x9E3779B9 * (stream + 1))))


def hashed_number(value: int) -> int:
    """`hashed` of a number."""
    mask = (1 << 32) - 1
    mixed = ((value & mask) * 747796405 + 2891336453) & mask
    word = (((mixed >> ((mixed >> 28) + 4)) ^ mixed) * 277803737) & mask
    return (word >> 22) ^ word


def uniform(b: LoweringBuilder, shape: Shape, seed: float | None) -> Node:
    """Numbers from 0 to below 1, f32."""
    return b.graph.map(_fraction(_bits(shape, _seed(b, seed), 0)), shape=shape)


def _uniform(b: LoweringBuilder, shape: Shape, dtype: DType, low: float, high: float, seed: float | None) -> Node:
    return b.cast(b.elementwise(lambda u: scalar.add(scalar.mul(u, high - low), low), uniform(b, shape, seed)), dtype)


def _normal(b: LoweringBuilder, shape: Shape, dtype: DType, mean: float, scale: float, seed: float | None) -> Node:
    """By Box and Muller: sqrt(-2 log u) cos(2 pi v), with u above 0."""
    number = _seed(b, seed)
    u = scalar.add(_fraction(_bits(shape, number, 0)), 2.0**-25)
    turn = scalar.mul(_fraction(_bits(shape, number, 1)), 2 * pi)
    unit = scalar.mul(scalar.sqrt(scalar.mul(scalar.log(u), -2.0)), scalar.cos(turn))
    return b.cast(b.graph.map(scalar.add(scalar.mul(unit, scale), mean), shape=shape), dtype)


@lowers("RandomUniform", since=(1, 22))
def random_uniform(
    b: LoweringBuilder, *, shape: tuple[int, ...], dtype: int = 1, high: float = 1.0, low: float = 0.0, seed: float | None = None
) -> Node:
    """Numbers from `low` to below `high`."""
    return _uniform(b, shape, require_dtype(dtype, b.where), low, high, seed)


@lowers("RandomUniformLike", since=(1, 22))
def random_uniform_like(
    b: LoweringBuilder, x: Node, *, dtype: int | None = None, high: float = 1.0, low: float = 0.0, seed: float | None = None
) -> Node:
    """Numbers from `low` to below `high` in the shape of x."""
    return _uniform(b, x.shape, _like(b, x, dtype), low, high, seed)


@lowers("RandomNormal", since=(1, 22))
def random_normal(
    b: LoweringBuilder, *, shape: tuple[int, ...], dtype: int = 1, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Node:
    """Normal numbers with a mean and a standard deviation, `scale`."""
    return _normal(b, shape, require_dtype(dtype, b.where), mean, scale, seed)


@lowers("RandomNormalLike", since=(1, 22))
def random_normal_like(
    b: LoweringBuilder, x: Node, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Node:
    """Normal numbers in the shape of x."""
    return _normal(b, x.shape, _like(b, x, dtype), mean, scale, seed)


def _like(b: LoweringBuilder, x: Node, dtype: int | None) -> DType:
    return x.dtype if dtype is None else require_dtype(dtype, b.where)


@lowers("Bernoulli", since=(15, 22))
def bernoulli(b: LoweringBuilder, x: Node, *, dtype: int | None = None, seed: float | None = None) -> Node:
    """1 with the probability that x says, else 0."""
    hit = b.elementwise(lambda u, p: scalar.lt(u, ex.cast(p, F32)), uniform(b, x.shape, seed), x)
    return b.cast(hit, _like(b, x, dtype))


@lowers("Multinomial", since=(7, 22))
def multinomial(b: LoweringBuilder, x: Node, *, dtype: int = 6, sample_size: int = 1, seed: float | None = None) -> Node:
    """Classes drawn from unnormalised log-probabilities x [batch, classes]: [batch, sample_size], i32 or i64.

    The largest of x plus Gumbel noise, -log(-log u), is distributed so.
    """
    if len(x.shape) != 2 or prod(x.shape) == 0:
        raise b.invalid(f"probabilities of shape {list(x.shape)}")
    kind = require_dtype(dtype, b.where)
    if kind not in (I32, I64):
        raise b.invalid(f"classes of type {kind}")
    shape = (x.shape[0], sample_size, x.shape[1])
    u = b.elementwise(lambda v: scalar.add(v, 2.0**-25), uniform(b, shape, seed))
    noise = b.elementwise(lambda v: scalar.neg(scalar.log(scalar.neg(scalar.log(v)))), u)
    found = largest_index(b, b.add(b.unsqueeze(b.cast(x, F32), (1,)), noise), 2)
    return b.cast(b.squeeze(found, (2,)), kind)
