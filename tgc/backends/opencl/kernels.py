"""A program's kernels as one OpenCL C source."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tgc.backends.cfamily.dialect import Dialect
from tgc.backends.cfamily.expressions import Use
from tgc.backends.cfamily.statements import print_kernel
from tgc.backends.opencl.dialect import LANES
from tgc.backends.opencl.launch import Launch, launch
from tgc.backends.opencl.words import PARAMETERS, RESERVED
from tgc.errors import InvalidIrError, UnsupportedError
from tgc.ir.kernel import Alloc, Kernel, block
from tgc.ir.rewrite import expressions, walk

_LARGEST = 2**31 - 1
"""Buffers are addressed by int."""

# Conversions of 16-bit floats. A half in private memory needs no extension, but some compilers then keep it there; bfloat is the
# upper half of a float, rounded to even.
_PRELUDE = {
    "from_f16": """\
#ifdef cl_khr_fp16
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#define tgc_from_f16{_n}(bits) convert_float{n}(as_half{n}((ushort{n})(bits)))
#else
float{n} tgc_from_f16{_n}(ushort{n} bits) {{ return vload_half{n}(0, (const __private half *)&bits); }}
#endif""",
    "to_f16": """\
#ifdef cl_khr_fp16
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#define tgc_to_f16{_n}(x) as_ushort{n}(convert_half{n}_rte((float{n})(x)))
#else
ushort{n} tgc_to_f16{_n}(float{n} x) {{
  ushort{n} bits;
  vstore_half{n}_rte(x, 0, (__private half *)&bits);
  return bits;
}}
#endif""",
    "from_bf16": "float{n} tgc_from_bf16{_n}(ushort{n} bits) {{ return as_float{n}(convert_uint{n}(bits) << 16); }}",
    "to_bf16": """\
ushort{n} tgc_to_bf16{_n}(float{n} x) {{
  const uint{n} bits = as_uint{n}(x);
  const uint{n} rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return convert_ushort{n}(select(rounded, (bits >> 16) | 0x40, {isnan}));
}}""",
}

_HALVES = (2, 4, 8)
_ARITHMETIC = (
    """\
/* tgc_half: half where the device computes in it, else float, rounded after each operation. */
#ifdef cl_khr_fp16
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#define tgc_half_of(bits) as_half((ushort)(bits))
"""
    + "".join(
        f"""\
typedef half{n} tgc_half{n};
#define tgc_to_half{n}(x) convert_half{n}_rte(x)
#define tgc_mad_half{n}(a, b, c) mad(a, b, c)
#define tgc_add_half{n}(a, b) ((a) + (b))
#define tgc_mul_half{n}(a, b) ((a) * (b))
"""
        for n in ("", *_HALVES)
    )
    + """\
#else
#define read_imageh read_imagef
#define tgc_half_of(bits) tgc_half_of_bits((ushort)(bits))
float tgc_half_of_bits(ushort bits) { return vload_half(0, (const __private half *)&bits); }
"""
    + "".join(
        f"""\
typedef float{n} tgc_half{n};
float{n} tgc_to_half{n}(float{n} x) {{
  ushort{n} bits;
  vstore_half{n}_rte(x, 0, (__private half *)&bits);
  return vload_half{n}(0, (const __private half *)&bits);
}}
#define tgc_mad_half{n}(a, b, c) tgc_to_half{n}(mad(a, b, c))
#define tgc_add_half{n}(a, b) tgc_to_half{n}((a) + (b))
#define tgc_mul_half{n}(a, b) tgc_to_half{n}((a) * (b))
"""
        for n in ("", *_HALVES)
    )
    + "#endif"
)


@dataclass(frozen=True, slots=True)
class KernelText:
    """A kernel as OpenCL C and how it is launched. symbol: its name there, which OpenCL's own words are kept from."""

    symbol: str
    text: str
    launch: Launch
    uses: tuple[Use, ...]


def kernel_text(kernel: Kernel, dialect: Dialect) -> KernelText:
    """`kernel` printed in `dialect`. Raises UnsupportedError where it goes beyond what OpenCL can address."""
    _check(kernel)
    parts = launch(kernel)
    symbol = kernel.name + "_" if kernel.name in RESERVED else kernel.name
    body = block(*(Alloc(buffer) for buffer in parts.local), parts.body)
    size = "__attribute__((reqd_work_group_size({}, {}, {})))".format(*parts.lane)
    sized = replace(dialect, kernel=dialect.kernel.replace("void", f"{size}\nvoid", 1))
    printed = print_kernel(replace(kernel, name=symbol, body=body), sized, parts.loops)
    return KernelText(symbol, printed.text, parts, printed.uses)


def prelude(kernels: tuple[KernelText, ...]) -> str:
    """What the kernels' texts need before them: extensions, conversions, arithmetic in half."""
    uses = [use for kernel in kernels for use in kernel.uses]
    parts = ["#pragma OPENCL EXTENSION cl_khr_fp64 : enable"] if needs_fp64(kernels) else []
    for dtype in ("f16", "bf16"):
        for direction, side in (("from", "source"), ("to", "result")):
            lanes = {use.lanes for use in uses if use.key == "CAST" and getattr(use, side) == dtype}
            parts += [_conversion(f"{direction}_{dtype}", n) for n in sorted(lanes)]
    parts += [_ARITHMETIC] if any("tgc_half" in kernel.text for kernel in kernels) else []
    return "".join(part + "\n\n" for part in parts)


def needs_fp64(kernels: tuple[KernelText, ...]) -> bool:
    """Whether any of the kernels names the type double."""
    return any("double" in kernel.text for kernel in kernels)


def _conversion(name: str, lanes: int) -> str:
    isnan = "isnan(x)" if lanes > 1 else "(uint)isnan(x)"
    return _PRELUDE[name].format(n=lanes if lanes > 1 else "", _n=f"_{lanes}" if lanes > 1 else "", isnan=isnan)


def _check(kernel: Kernel) -> None:
    if len(kernel.parameters) > PARAMETERS:
        raise InvalidIrError(f"kernel {kernel.name} has more than {PARAMETERS} parameters")
    for buffer in (parameter.buffer for parameter in kernel.parameters):
        if buffer.size > _LARGEST:
            raise UnsupportedError(
                f"buffer {buffer.name} has {buffer.size} elements; OpenCL kernels address at most {_LARGEST}", where=f"kernel {kernel.name}"
            )
    for expr in walk(*expressions(kernel.body)):
        if expr.lanes > 1 and expr.lanes not in LANES:
            raise InvalidIrError(f"kernel {kernel.name}: OpenCL has no vectors of {expr.lanes}")
