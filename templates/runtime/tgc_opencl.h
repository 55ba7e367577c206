/* tgc_opencl.h - the ABI of a model compiled to OpenCL 1.2. C99, usable from C++.
 *
 * Everything that lives as long as the model is made once by init: program, kernels with their arguments, one cl_mem for the
 * weights and one for the arena. A frame is one list of enqueues. Nothing here allocates host memory, prints or exits; the
 * state is the caller's struct, which must stay where it is from init to release. A context is used by one thread at a time;
 * several contexts may live side by side. */
#ifndef TGC_OPENCL_H
#define TGC_OPENCL_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#ifdef __APPLE__
#include <OpenCL/cl.h>
#else
#include <CL/cl.h>
#endif

#include "tgc_runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Room for one message; a build log that does not fit is cut off. Define it alike for every file that includes this one. */
#ifndef TGC_CL_MESSAGE_BYTES
#define TGC_CL_MESSAGE_BYTES 8192
#endif

/* Which memory a kernel argument points into. */
enum { TGC_CL_ARENA = 0, TGC_CL_WEIGHTS = 1, TGC_CL_INPUT = 2, TGC_CL_OUTPUT = 3 };

/* What a device must have; a bit set in `needs`. */
enum { TGC_CL_NEEDS_FP64 = 1 };

/* One buffer of a kernel: a cl_mem argument and, after it, an int argument, the element at which the buffer starts. */
typedef struct tgc_cl_argument {
  int32_t start;         /* in elements of the buffer's type */
  uint16_t element_bytes;
  uint8_t memory;        /* TGC_CL_ARENA, ... */
  uint8_t unused;
  uint32_t tensor;       /* which input or output */
} tgc_cl_argument;

/* One launch: `argument_count` entries of the argument table from `first_argument` on. */
typedef struct tgc_cl_launch {
  const char *kernel;
  uint32_t first_argument;
  uint32_t argument_count;
  size_t global[3];
  size_t local[3];
} tgc_cl_launch;

/* A compiled model: constant data. `model` is what other runtimes know too (tgc_weights_open, tgc_find_tensor); its `run` is null. */
typedef struct tgc_cl_model {
  tgc_model model;
  const char *const *source; /* OpenCL C, `source_lines` strings */
  const char *build_options;
  const tgc_cl_launch *launches;
  const tgc_cl_argument *arguments;
  uint32_t needs; /* TGC_CL_NEEDS_FP64 */
  uint32_t source_lines;
  uint32_t launch_count;
} tgc_cl_model;

/* Where to run. All zero: the first device of the first platform. A queue brings its context and device along; a context
 * without a queue gets a queue of its own on `device`, or on its first device. What the caller passes is retained until
 * release. A queue may be out of order: barriers then keep the kernels in theirs. */
typedef struct tgc_cl_options {
  cl_context context;
  cl_device_id device;
  cl_command_queue queue;
  uint32_t platform_index; /* used when none of the three above is given */
  uint32_t device_index;
  cl_command_queue_properties queue_properties; /* for the queue that init makes */
  const char *build_options;                    /* instead of the model's own; null: the model's own */
} tgc_cl_options;

/* What one input or output is bound to: a cl_mem, and a host pointer that a frame copies from or to where there is one. */
typedef struct tgc_cl_binding {
  cl_mem memory;
  const void *source;
  void *destination;
  int32_t own; /* whether `memory` is the device copy behind a host pointer */
} tgc_cl_binding;

/* The state of one loaded model. Read `message`; leave the rest alone. */
typedef struct tgc_cl_context {
  const tgc_cl_model *program_data;
  const tgc_model *model;
  cl_context context;
  cl_device_id device;
  cl_command_queue queue;
  cl_program program;
  cl_mem weights;
  cl_mem arena;
  cl_kernel *kernels;       /* one a launch, so that arguments are set once */
  tgc_cl_binding *bindings; /* inputs, then outputs */
  int32_t out_of_order;
  char message[TGC_CL_MESSAGE_BYTES]; /* about the last call that did not return TGC_OK */
} tgc_cl_context;

/* The functions that a model's header offers under the model's name.
 *
 * init: kernels holds `launch_count` and bindings `input_count + output_count` entries, the caller's. weights: `weights_bytes`
 * bytes, or null for embedded ones; not used after init. On failure everything is released and only `message` is left. */
tgc_status tgc_cl_init(tgc_cl_context *self, const tgc_cl_model *data, cl_kernel *kernels, tgc_cl_binding *bindings,
                       const tgc_cl_options *options, const void *weights, uint64_t weights_bytes);

/* Binds a host pointer, from or to which each frame copies; it must stay valid until a frame's event is complete. The first
 * host binding of a tensor makes its device copy. tensor: 0.. in the order of the model's inputs or outputs. */
tgc_status tgc_cl_bind_input(tgc_cl_context *self, uint32_t tensor, const void *host);
tgc_status tgc_cl_bind_output(tgc_cl_context *self, uint32_t tensor, void *host);

/* Binds device memory from `offset` bytes on, a multiple of the element's size: nothing is copied. Memory is retained until
 * it is replaced or released. Frames already enqueued keep what they were enqueued with. */
tgc_status tgc_cl_bind_input_memory(tgc_cl_context *self, uint32_t tensor, cl_mem memory, size_t offset);
tgc_status tgc_cl_bind_output_memory(tgc_cl_context *self, uint32_t tensor, cl_mem memory, size_t offset);

/* Enqueues a frame after the events of the wait list and returns. event: where not null, complete when the frame is, the
 * caller's to release. When an enqueue fails, the queue is drained before this returns. */
tgc_status tgc_cl_enqueue(tgc_cl_context *self, cl_uint wait_count, const cl_event *wait_list, cl_event *event);

/* Enqueues a frame and waits for it. */
tgc_status tgc_cl_run(tgc_cl_context *self);

/* What the last call that did not return TGC_OK had to say, the compiler's log included; never null. */
const char *tgc_cl_message(const tgc_cl_context *self);

/* Releases everything that init and the bindings made or retained. A context that is all zero, or released, is left as it is. */
void tgc_cl_release(tgc_cl_context *self);

#ifdef __cplusplus
}
#endif
#endif
