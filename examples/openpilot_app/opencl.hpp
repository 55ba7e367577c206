// OpenCL objects that release themselves, and statuses that become exceptions.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

#include "tgc_opencl.h"

template <typename Handle, cl_int(CL_API_CALL *release)(Handle)>
struct Releaser {
  void operator()(Handle handle) const { (void)release(handle); }
};
template <typename Handle, cl_int(CL_API_CALL *release)(Handle)>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Releaser<Handle, release>>;

using Context = Owned<cl_context, clReleaseContext>;
using Queue = Owned<cl_command_queue, clReleaseCommandQueue>;
using Memory = Owned<cl_mem, clReleaseMemObject>;
using Event = Owned<cl_event, clReleaseEvent>;

inline void require(cl_int error, const char *what) {
  if (error != CL_SUCCESS) throw std::runtime_error(std::string(what) + ": OpenCL error " + std::to_string(error));
}

inline Memory buffer(cl_context context, cl_mem_flags flags, size_t bytes) {
  cl_int error = CL_SUCCESS;
  Memory made(clCreateBuffer(context, flags, bytes, nullptr, &error));
  require(error, "clCreateBuffer");
  return made;
}
