"""Has an OpenCL implementation compile kernels, and runs nothing: `ir3.py` starts it as a script, with Mesa's libraries around it.

    python ir3_driver.py LIBRARY SOURCE OPTIONS KERNEL ..

Nothing but the standard library is imported: the interpreter may run on another C library than the one it was installed with. Exit status:
0 done, 1 no device, 2 the source does not build, and its log is on standard output.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from pathlib import Path

ALL_DEVICES, BUILD_LOG = 0xFFFFFFFF, 0x1183  # cl.h of OpenCL 1.2
LOG_BYTES = 1 << 16


def main(library: str, source: str, options: str, *kernels: str) -> int:
    """Builds the file `source` and makes `kernels` of it, on the first device."""
    cl = ctypes.CDLL(library)
    for name in ("clCreateContext", "clCreateProgramWithSource", "clCreateKernel"):
        getattr(cl, name).restype = c_void_p
    platform, device, count, status = c_void_p(), c_void_p(), c_uint(), c_int()
    cl.clGetPlatformIDs(1, byref(platform), byref(count))
    if not count.value or cl.clGetDeviceIDs(platform, c_uint64(ALL_DEVICES), 1, byref(device), byref(count)):
        print("there is no OpenCL device")
        return 1
    context = c_void_p(cl.clCreateContext(None, 1, byref(device), None, None, byref(status)))
    text = Path(source).read_bytes()
    program = c_void_p(cl.clCreateProgramWithSource(context, 1, byref(c_char_p(text)), byref(c_size_t(len(text))), byref(status)))
    if cl.clBuildProgram(program, 1, byref(device), options.encode(), None, None):
        log = ctypes.create_string_buffer(LOG_BYTES)
        cl.clGetProgramBuildInfo(program, device, BUILD_LOG, c_size_t(LOG_BYTES), log, None)
        print(log.value.decode(errors="replace"))
        return 2
    for kernel in kernels:
        cl.clCreateKernel(program, kernel.encode(), byref(status))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
