"""The words that OpenCL C keeps for itself."""

from __future__ import annotations

_KEYWORDS = (
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool half uchar "
    "ushort uint ulong size_t ptrdiff_t intptr_t uintptr_t true false event_t sampler_t image1d_t image2d_t image3d_t kernel "
    "global local constant private read_only write_only read_write pipe complex imaginary quad unroll"
)  # fmt: skip
_FUNCTIONS = (
    "abs abs_diff acos acosh acospi add_sat all any asin asinh asinpi async_work_group_copy atan atan2 atan2pi atanh atanpi "
    "barrier bitselect cbrt ceil clamp clz copysign cos cosh cospi cross degrees distance dot erf erfc exp exp10 exp2 expm1 "
    "fabs fdim floor fma fmax fmin fmod fract frexp get_global_id get_global_offset get_global_size get_group_id get_local_id "
    "get_local_size get_num_groups get_work_dim hadd hypot ilogb isequal isfinite isgreater isinf isless isnan isnormal "
    "isnotequal isordered ldexp length lgamma log log10 log1p log2 logb mad mad24 mad_hi mad_sat max maxmag mem_fence min "
    "minmag mix modf mul24 mul_hi nan nextafter normalize popcount pow pown powr prefetch printf radians read_mem_fence "
    "remainder remquo rhadd rint rootn rotate round rsqrt select shuffle shuffle2 sign signbit sin sincos sinh sinpi "
    "smoothstep sqrt step sub_sat tan tanh tanpi tgamma trunc upsample vload_half vstore_half wait_group_events "
    "write_mem_fence"
)  # fmt: skip
_MACROS = (
    "CHAR_BIT CHAR_MAX CHAR_MIN HUGE_VAL HUGE_VALF INFINITY INT_MAX INT_MIN MAXFLOAT NAN NULL M_E M_E_F M_PI M_PI_F"
)  # fmt: skip

PARAMETERS = 256
"""Parameters of a kernel at most."""

RESERVED = frozenset((*_KEYWORDS.split(), *_FUNCTIONS.split(), *_MACROS.split(), *(f"start{i}" for i in range(PARAMETERS))))
"""Identifiers that kernels and their variables leave alone."""
