"""Fits the polynomials of `tgc/ir/scalar_coefficients.py` and prints that file: python benchmarks/fit_polynomials.py > ...

Every fit is a weighted least-squares fit at Chebyshev nodes in 60 decimal digits, reweighted (C. L. Lawson, 1961; for rational
functions with the denominator of the round before, Sanathanan and Koerner, 1963) until the weighted error is nearly level.
A row says what is fitted: f on [low, high], the numerator's and denominator's degree, and the weight, which makes the error that
counts relative to the whole function: f is always the factor that is left when the leading power of x is split off.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp

mp.mp.dps = 60
Number = mp.mpf
Function = Callable[[Number], Number]


@dataclass(frozen=True)
class Fit:
    """P(t) / Q(t) ~ f(t) on [low, high]; Q's constant term is 1; the error times weight(t) is made small."""

    name: str
    meaning: str
    f: Function
    low: float
    high: float
    degree: int
    denominator: int = 0
    weight: Function = lambda t: mp.mpf(1) + 0 * t


def nodes(low: Number, high: Number, count: int) -> list[Number]:
    middle, half = (low + high) / 2, (high - low) / 2
    return [middle + half * mp.cos(mp.pi * (2 * k + 1) / (2 * count)) for k in range(count - 1, -1, -1)]


def evaluate(p: list[Number], q: list[Number], t: Number) -> Number:
    return mp.polyval(p[::-1], t) / mp.polyval(q[::-1], t)


def weighted_least_squares(fit: Fit, grid: list[Number], f: list[Number], weights: list[Number]) -> tuple[list[Number], list[Number]]:
    """P and Q with the least sum of (weight * (P - f * Q))^2, by the normal equations; 60 digits carry their condition."""
    size = fit.degree + 1 + fit.denominator
    matrix, right = mp.matrix(size, size), mp.matrix(size, 1)
    for t, value, weight in zip(grid, f, weights, strict=True):
        row = [t**k for k in range(fit.degree + 1)] + [-value * t**k for k in range(1, fit.denominator + 1)]
        square = weight**2
        for i, left in enumerate(row):
            right[i] += square * left * value
            for j in range(i, size):
                matrix[i, j] += square * left * row[j]
    for i in range(size):
        for j in range(i):
            matrix[i, j] = matrix[j, i]
    x = mp.lu_solve(matrix, right)
    return [x[k] for k in range(fit.degree + 1)], [mp.mpf(1)] + [x[fit.degree + k] for k in range(1, fit.denominator + 1)]


def minimax(fit: Fit, rounds: int = 40) -> tuple[list[Number], list[Number], Number]:
    """Numerator, denominator, worst weighted error, by Lawson's iteration: weights grow where the error is large."""
    grid = nodes(mp.mpf(fit.low), mp.mpf(fit.high), 10 * (fit.degree + fit.denominator + 2))
    f = [fit.f(t) for t in grid]
    relative = [fit.weight(t) for t in grid]
    emphasis = [mp.mpf(1)] * len(grid)
    previous = [mp.mpf(1)] * len(grid)
    best: tuple[list[Number], list[Number], Number] | None = None
    for _ in range(rounds):
        weights = [mp.sqrt(e) * r / q for e, r, q in zip(emphasis, relative, previous, strict=True)]
        p, q = weighted_least_squares(fit, grid, f, weights)
        previous = [mp.polyval(q[::-1], t) for t in grid]
        errors = [abs((evaluate(p, q, t) - v) * r) for t, v, r in zip(grid, f, relative, strict=True)]
        worst = max(errors)
        if best is None or worst < best[2]:
            best = p, q, worst
        emphasis = [e * (error / worst) for e, error in zip(emphasis, errors, strict=True)]
        total = sum(emphasis) / len(emphasis)
        emphasis = [e / total + mp.mpf("1e-12") for e in emphasis]
    assert best is not None
    return best


def odd(f: Function) -> Function:
    """f(x) / x as a function of t = x^2."""
    return lambda t: f(mp.sqrt(t)) / mp.sqrt(t) if t > 1e-30 else mp.diff(f, 0)


def cubic(f: Function) -> Function:
    """(f(x) - x) / x^3 as a function of t = x^2, for f(x) = x + ..."""
    return lambda t: (f(mp.sqrt(t)) - mp.sqrt(t)) / mp.sqrt(t) ** 3


def relative_to(f: Function, power: int) -> Function:
    """The weight that makes an error of the factor of x^power relative to f(x), x^2 = t."""
    return lambda t: mp.sqrt(t) ** power / f(mp.sqrt(t))


def log2_tail(t: Number) -> Number:
    """(log2(m) / s - 2 / ln 2) / s^2 with s = (m - 1) / (m + 1), t = s^2."""
    s = mp.sqrt(t)
    return (mp.log((1 + s) / (1 - s), 2) / s - 2 / mp.log(2)) / t


TINY = 1e-9
S = float(((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2)
PI2 = float((mp.pi / 2) ** 2)


def fits(bits: int) -> list[Fit]:
    """What the type of `bits` bits needs."""
    single = bits == 32

    def pick(a: int, b: int) -> int:
        return a if single else b

    rows = [
        Fit("EXP2", "(2^x - 1) / x, |x| <= 1/2", lambda x: (mp.mpf(2) ** x - 1) / x if x else mp.log(2), -0.5, 0.5, pick(5, 10),
            weight=lambda x: x / mp.mpf(2) ** x),
        Fit("LOG2", "(log2(m) / s - 2 / ln 2) / s^2, s = (m - 1) / (m + 1), t = s^2", log2_tail, TINY, S, pick(2, 7), weight=lambda t: t),
        Fit("SIN", "(sin(x) - x) / x^3, t = x^2, |x| <= pi/2", cubic(mp.sin), TINY, PI2, pick(3, 7), weight=relative_to(mp.sin, 3)),
        Fit("EXPM1", "(exp(x) - 1 - x) / x^2, |x| <= 1/2", lambda x: (mp.expm1(x) - x) / x**2 if abs(x) > 1e-20 else mp.mpf("0.5"),
            -0.5, 0.5, pick(5, 11), weight=lambda x: x**2 / mp.expm1(x) if abs(x) > 1e-20 else x),
        Fit("SINH", "(sinh(x) - x) / x^3, t = x^2, |x| <= 1", cubic(mp.sinh), TINY, 1.0, pick(3, 6), weight=relative_to(mp.sinh, 3)),
        Fit("ASIN", "(asin(x) - x) / x^3, t = x^2, |x| <= 1/2", cubic(mp.asin), TINY, 0.25, pick(4, 12), weight=relative_to(mp.asin, 3)),
        Fit("ATAN", "(atan(x) - x) / x^3, t = x^2, |x| <= 1", cubic(mp.atan), TINY, 1.0, pick(7, 18), weight=relative_to(mp.atan, 3)),
    ]  # fmt: skip
    if single:
        rows += [
            Fit("TANH", "(tanh(x) - x) / x^3, t = x^2, |x| <= 0.625", cubic(mp.tanh), TINY, 0.390625, 4, weight=relative_to(mp.tanh, 3)),
            Fit("ERF", "erf(x) / x, t = x^2, |x| <= 3.92", odd(mp.erf), TINY, 15.4, 5, 5, weight=relative_to(mp.erf, 1)),
        ]
    else:
        rows += [
            Fit("TANH", "(tanh(x) - x) / x^3, t = x^2, |x| <= 0.625", cubic(mp.tanh), TINY, 0.390625, 3, 3, weight=relative_to(mp.tanh, 3)),
            Fit("ERF", "erf(x) / x, t = x^2, |x| <= 1", odd(mp.erf), TINY, 1.0, 11, weight=relative_to(mp.erf, 1)),
            Fit(
                "ERFC",
                "log2(erfc(x)) / (x + 1), 1 <= x <= 6",
                lambda x: mp.log(mp.erfc(x), 2) / (x + 1),
                1.0,
                6.0,
                7,
                6,
                weight=lambda x: mp.erfc(x) * (x + 1),
            ),
        ]
    return rows


def emit(fit: Fit, bits: int) -> None:
    p, q, worst = minimax(fit)
    print(f"{fit.name}{bits} {fit.degree}/{fit.denominator}: {mp.nstr(worst, 3)}", file=sys.stderr)
    exact = "" if bits == 64 else ", in double precision"
    print(f"\n# {fit.meaning}; worst error {mp.nstr(worst, 2)} of the function{exact}")
    for name, values in ((fit.name, p), (f"{fit.name}_DENOMINATOR", q)):
        if len(values) > 1:
            print(f"{name}_F{bits} = (\n    " + ",\n    ".join(mp.nstr(v, 20) for v in values) + ",\n)")


def parts(value: Number, bits: tuple[int, ...]) -> list[Number]:
    """`value` as a sum of numbers with so many bits each, and a last one with the rest, in double precision."""
    result = []
    for count in bits:
        exponent = int(mp.floor(mp.log(abs(value), 2)))
        scale = mp.mpf(2) ** (count - 1 - exponent)
        result.append(mp.nint(value * scale) / scale)
        value -= result[-1]
    return [*result, value]


def emit_constants() -> None:
    """pi in parts whose products with a quotient are exact, the last part aside."""
    rows = (
        ("PI_F32", "for f32, odd halves below 2^13", (10, 10, 10)),
        ("PI_F64", "for f64, odd halves below 2^22", (30, 30, 30)),
        ("PI_FOR_F32", "for f32 reduced in f64, quotients below 2^26", (27,)),
    )
    for name, meaning, bits in rows:
        print(f"\n# pi as a sum, {meaning}\n{name} = (" + ", ".join(repr(float(part)) for part in parts(mp.pi, bits)) + ")")
    print(f'\n# ln 2 to 40 digits\nLN_2 = "{mp.nstr(mp.log(2), 40)}"')
    print("\n# where the rational function reaches 1\nERF_LIMIT_F32 = 3.92")


def main() -> None:
    print('"""Minimax coefficients, lowest power first. Made by benchmarks/fit_polynomials.py."""')
    for bits in (32, 64):
        for fit in fits(bits):
            emit(fit, bits)
    emit_constants()


if __name__ == "__main__":
    main()
