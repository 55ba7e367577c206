"""The OpenCL backend: kernels in OpenCL C 1.2 and a host program in C99."""

from tgc.backends.opencl.emit import emit

__all__ = ["emit"]
