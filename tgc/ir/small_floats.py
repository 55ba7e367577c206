"""Floats of 8 and 4 bits, as ONNX defines them: which numbers they hold and how others are rounded to them.

Open Compute Project, "OCP 8-bit Floating Point Specification (OFP8)" 1.0 (E4M3FN, E5M2) and "OCP Microscaling Formats (MX)" 1.0
(E2M1, E8M0); Noune et al., "8-bit Numerical Formats for Deep Neural Networks", 2022 (FNUZ).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from tgc.ir.dtypes import F4E2M1, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, DType

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SmallFloat:
    """A sign, an exponent and a mantissa. A code with exponent field 0 is subnormal.

    mantissa: its bits. bias: of the exponent. largest: the code of the largest number. above: what a number beyond it is rounded
    to, the sign aside. nan: the code of a NaN; where it is the sign alone, there is no negative zero.
    """

    dtype: DType
    mantissa: int
    bias: int
    largest: int
    above: int
    nan: int

    @property
    def sign(self) -> int:
        """The sign's bit."""
        return 1 << (self.dtype.bits - 1)

    @property
    def unsigned_zero(self) -> bool:
        """Whether the code that would be -0 is NaN."""
        return self.nan == self.sign and self.dtype.bits == 8

    @property
    def maximum(self) -> float:
        """The largest number."""
        return float(magnitudes(self)[self.largest])


SMALL_FLOATS: dict[DType, SmallFloat] = {
    form.dtype: form
    for form in (
        SmallFloat(F8E4M3FN, 3, 7, 0x7E, 0x7F, 0x7F),
        SmallFloat(F8E4M3FNUZ, 3, 8, 0x7F, 0x80, 0x80),
        SmallFloat(F8E5M2, 2, 15, 0x7B, 0x7C, 0x7E),
        SmallFloat(F8E5M2FNUZ, 2, 16, 0x7F, 0x80, 0x80),
        SmallFloat(F4E2M1, 1, 1, 0x07, 0x07, 0x08),
    )
}
"""All but F8E8M0, which is an exponent alone. F4E2M1 has no NaN: -0 takes its place."""


@cache
def magnitudes(form: SmallFloat) -> Floats:
    """The number of each code from 0 to one beyond `largest`, as if that were a number too: the sums of the formula."""
    codes = np.arange(form.largest + 2)
    exponent, fraction = codes >> form.mantissa, codes & ((1 << form.mantissa) - 1)
    whole = np.where(exponent > 0, (1 << form.mantissa) + fraction, fraction)
    numbers: Floats = np.ldexp(whole.astype(np.float64), np.maximum(exponent, 1) - form.bias - form.mantissa)
    return numbers


def encode(values: Floats, form: SmallFloat) -> Codes:
    """The codes of the numbers nearest to `values`, even codes at ties; beyond the largest, `above`."""
    table = magnitudes(form)
    middles = (table[:-1] + table[1:]) / 2
    size = np.abs(values)
    low, high = np.searchsorted(middles, size, "left"), np.searchsorted(middles, size, "right")
    code = np.where(low % 2 == 0, low, high)
    code = np.where(code > form.largest, form.above, code)
    signed = np.where(np.signbit(values), code | form.sign, code)
    if form.unsigned_zero:
        signed = np.where(code == 0, 0, signed)
    nan = form.nan if form.unsigned_zero or form.dtype.bits < 8 else np.where(np.signbit(values), form.nan | form.sign, form.nan)
    return np.where(np.isnan(values), nan, signed).astype(np.uint8)


def encode_exponent(values: npt.NDArray[np.float32]) -> Codes:
    """The codes of F8E8M0 nearest to `values`, the larger at ties; 255, which is NaN, for what is not positive or too large."""
    bits = values.view(np.uint32)
    normal = (bits + np.uint32(1 << 22)) >> np.uint32(23)
    code = np.where(bits < (1 << 23), bits >= 0x600000, normal)
    return np.where((bits == 0) | (bits >= 0x7F800000), 255, np.minimum(code, 255)).astype(np.uint8)
