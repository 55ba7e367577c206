/* tgc_opencl.h - the ABI of a model compiled to OpenCL 1.2. C99, usable from C++.
 *
 * Everything that lives as long as the model is made once by init: program, kernels with their arguments, one cl_mem for the
 * weights and one for the arena. A frame is one list of enqueues, or one replayed recording where the driver has them. Nothing here
 * allocates host memory, prints or exits; the state is the caller's struct, which must stay where it is from init to release. A
 * context is used by one thread at a time; several contexts may live side by side. */
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

/* Sets of bindings that a model's context has room for, for rings of buffers. Define it alike for every file, too. */
#ifndef TGC_CL_SLOTS
#define TGC_CL_SLOTS 4
#endif

/* ---- the model: constant data that the compiler writes ----------------------------------------------------------- */

/* Which memory a kernel argument points into. */
enum { TGC_CL_ARENA = 0, TGC_CL_WEIGHTS = 1, TGC_CL_INPUT = 2, TGC_CL_OUTPUT = 3, TGC_CL_IMAGE = 4 };

/* What a device must have; bits of `needs`. */
enum { TGC_CL_NEEDS_FP64 = 1, TGC_CL_NEEDS_FP16 = 2, TGC_CL_NEEDS_IMAGES = 4 };

/* One buffer of a kernel: a cl_mem argument and, after it, an int argument, the element at which the buffer starts. */
typedef struct tgc_cl_argument {
  int32_t start;         /* in elements of the buffer's type, of an image in texels */
  uint16_t element_bytes;
  uint8_t memory;        /* TGC_CL_ARENA, ... */
  uint8_t step_count;    /* loops around the launch, outermost first, in whose iterations `start` moves on */
  uint32_t tensor;       /* which input, output or image */
  uint32_t first_step;   /* in the table of steps: by how many elements */
} tgc_cl_argument;

/* Launches that run `count` times in a row, as `first` to `end` - 1 in order. An outer loop comes before those in it. */
typedef struct tgc_cl_repeat {
  uint32_t first;
  uint32_t end;
  int32_t count;
} tgc_cl_repeat;
#define TGC_CL_DEPTH 8 /* loops in each other at most */

/* Part of the arena or the weights as an image of RGBA texels: two-dimensional, or, where height is 0, the memory from its beginning on
 * as one row (image1d_buffer_t). */
typedef struct tgc_cl_image {
  uint64_t offset;    /* bytes into the memory */
  uint32_t width;     /* texels of a row */
  uint32_t height;
  uint32_t row_bytes; /* from one row to the next */
  uint8_t memory;     /* TGC_CL_ARENA or TGC_CL_WEIGHTS */
  uint8_t dtype;      /* of a channel: TGC_F16 or TGC_F32 */
  uint16_t unused;
} tgc_cl_image;

/* One launch: `argument_count` entries of the argument table from `first_argument` on. */
typedef struct tgc_cl_launch {
  const char *kernel;
  uint32_t first_argument;
  uint32_t argument_count;
  size_t global[3];
  size_t local[3];
} tgc_cl_launch;

/* A compiled model. `model` is what other runtimes know too (tgc_weights_open, tgc_find_tensor); its `run` is null. */
typedef struct tgc_cl_model {
  tgc_model model;
  const char *const *source; /* OpenCL C, `source_lines` strings */
  const char *build_options;
  const tgc_cl_launch *launches;
  const tgc_cl_argument *arguments;
  const int32_t *steps;
  const tgc_cl_repeat *repeats;
  const tgc_cl_image *images;
  const uint32_t *entry_launches; /* where each entry point's launches begin, and where the last one's end */
  uint32_t needs; /* TGC_CL_NEEDS_FP64, ... */
  uint32_t source_lines;
  uint32_t launch_count;
  uint32_t repeat_count;
  uint32_t image_count;
  uint8_t program_sha256[32]; /* of the source and the build options: what binaries are known by */
} tgc_cl_model;

/* ---- where and how to run ---------------------------------------------------------------------------------------- */

/* Levels for cl_qcom_perf_hint and cl_qcom_priority_hint; on a context that init makes, on a device that lists them. */
enum { TGC_CL_HINT_NONE = 0, TGC_CL_HINT_HIGH = 1, TGC_CL_HINT_NORMAL = 2, TGC_CL_HINT_LOW = 3 };

/* All zero: the first device of the first platform. A queue brings its context and device along; a context without a queue gets
 * a queue of its own on `device`, or on its first device. What the caller passes is retained until release, and has to fit
 * together. A queue may be out of order: barriers then keep the kernels in theirs. */
typedef struct tgc_cl_options {
  cl_context context;
  cl_device_id device;
  cl_command_queue queue;
  uint32_t platform_index; /* used when none of the three above is given */
  uint32_t device_index;
  cl_command_queue_properties queue_properties; /* for the queue that init makes */
  const char *build_options;                    /* instead of the model's own; null: the model's own */
  /* An existing folder for the program's binary, so that the next start need not compile; null: none. Files are known by device,
   * driver, options and program, and checked: whatever is wrong with one, the program is built from source and the file replaced.
   * Binaries run on the device as they are, so let nobody else write there. POSIX only; ignored elsewhere. */
  const char *cache_folder;
  int32_t performance_hint; /* TGC_CL_HINT_... */
  int32_t priority_hint;
  int32_t no_recording; /* enqueue every kernel even where the device has cl_qcom_recordable_queues */
} tgc_cl_options;

/* What became of the binary cache. */
enum {
  TGC_CL_CACHE_OFF = 0,  /* no folder was given */
  TGC_CL_CACHE_READ = 1, /* the program came from a file */
  TGC_CL_CACHE_WRITTEN = 2,
  TGC_CL_CACHE_FAILED = 3 /* built from source, and no file could be written */
};

/* How an input or output is bound. */
enum { TGC_CL_UNBOUND = 0, TGC_CL_DEVICE = 1, TGC_CL_COPIED = 2, TGC_CL_MAPPED = 3 };

typedef struct tgc_cl_binding {
  cl_mem memory;
  void *host;    /* what a frame copies or maps */
  int32_t first; /* element of `memory` */
  int16_t way;   /* TGC_CL_UNBOUND, ... */
  int16_t held;  /* where it is mapped: whether the host has it now */
} tgc_cl_binding;

/* The arrays of one loaded model, which its own context struct holds. */
typedef struct tgc_cl_arrays {
  cl_kernel *kernels;       /* one a launch, so that arguments are set once */
  cl_mem *images;           /* one an image */
  tgc_cl_binding *bindings; /* inputs, then outputs; a row for each slot, and one for what the kernels' arguments are now */
  void **recordings;        /* one a slot and entry point */
  uint32_t slot_count;
} tgc_cl_arrays;

/* Recordings of cl_qcom_recordable_queues: the queue that is recorded on, and the driver's functions. */
typedef struct tgc_cl_recorder {
  cl_command_queue queue;
  void (*begin)(void);
  void (*end)(void);
  void (*enqueue)(void);
  void (*release)(void);
} tgc_cl_recorder;

/* The state of one loaded model. Read `message`, `cache`, `slot`, context, device and queue; leave the rest alone. */
typedef struct tgc_cl_context {
  const tgc_cl_model *program_data;
  const tgc_model *model;
  cl_context context;
  cl_device_id device;
  cl_command_queue queue;
  cl_program program;
  cl_mem weights;
  cl_mem arena;
  tgc_cl_arrays arrays;
  tgc_cl_recorder recorder;
  uint32_t slot;
  int32_t out_of_order;
  int32_t cache;                      /* TGC_CL_CACHE_... */
  char message[TGC_CL_MESSAGE_BYTES]; /* about the last call that did not return TGC_OK */
} tgc_cl_context;

/* ---- the functions that a model's header offers under the model's name ------------------------------------------- */

/* arrays: the caller's, `launch_count` kernels, `image_count` images, slot_count * entry_count recordings and (slot_count + 1) * (input_count +
 * output_count) bindings. weights: `weights_bytes` bytes, or null for embedded ones; not used after init. On failure everything is
 * released and only `message` is left. */
tgc_status tgc_cl_init(tgc_cl_context *self, const tgc_cl_model *data, const tgc_cl_arrays *arrays, const tgc_cl_options *options,
                       const void *weights, uint64_t weights_bytes);

/* Chooses the set of bindings that the functions below bind and run with; 0 after init. For a ring of camera buffers, bind each in
 * a slot of its own once, then select and run: nothing else is set anew. What a slot does not bind it has in common with slot 0. */
tgc_status tgc_cl_select(tgc_cl_context *self, uint32_t slot);

/* Binds a host pointer, from or to which each frame copies; it must stay valid until a frame's event is complete. The first
 * such binding of a tensor makes its device copy. tensor: 0.. in the order of the model's inputs or outputs. */
tgc_status tgc_cl_bind_input(tgc_cl_context *self, uint32_t tensor, const void *host);
tgc_status tgc_cl_bind_output(tgc_cl_context *self, uint32_t tensor, void *host);

/* Binds a host pointer that the device uses in place (CL_MEM_USE_HOST_PTR) where it shares memory with the host; elsewhere the driver
 * copies. The memory is the host's between frames and the device's from enqueue until the frame's event is complete. Align it, and
 * round its size up, to what the device asks for (a page, or CL_DEVICE_MEM_BASE_ADDR_ALIGN), or drivers may copy after all. */
tgc_status tgc_cl_map_input(tgc_cl_context *self, uint32_t tensor, void *host);
tgc_status tgc_cl_map_output(tgc_cl_context *self, uint32_t tensor, void *host);

/* Binds device memory from `offset` bytes on, a multiple of the element's size: nothing is copied. Memory is retained until
 * it is replaced or released. Frames already enqueued keep what they were enqueued with. */
tgc_status tgc_cl_bind_input_memory(tgc_cl_context *self, uint32_t tensor, cl_mem memory, size_t offset);
tgc_status tgc_cl_bind_output_memory(tgc_cl_context *self, uint32_t tensor, cl_mem memory, size_t offset);

/* Enqueues a frame of an entry point, 0 being the main one, after the events of the wait list, and returns. event: where not null,
 * complete when the frame is, the caller's to release. When an enqueue fails, the queue is drained before this returns. */
tgc_status tgc_cl_enqueue(tgc_cl_context *self, uint32_t entry, cl_uint wait_count, const cl_event *wait_list, cl_event *event);

/* Enqueues a frame and waits for it. */
tgc_status tgc_cl_run(tgc_cl_context *self, uint32_t entry);

/* Enqueues what sets the model's states, and all of its arena, to zero, as they are after init. */
tgc_status tgc_cl_reset(tgc_cl_context *self);

/* What the last call that did not return TGC_OK had to say, the compiler's log included; never null. */
const char *tgc_cl_message(const tgc_cl_context *self);

/* Releases everything that init and the bindings made or retained. A context that is all zero, or released, is left as it is. */
void tgc_cl_release(tgc_cl_context *self);

#ifdef __cplusplus
}
#endif
#endif
