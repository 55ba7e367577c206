/* Cases for tests/test_backend_opencl.py: the C API of the program `two`, y = (x + 1) * 2 on 16 floats. Usage: opencl_host CASE */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "two.h"

#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "%d: %s\n%s\n", __LINE__, #condition, tgc_cl_message(&context.cl)); \
      return 1; \
    } \
  } while (0)
#define SAYS(text) CHECK(strstr(tgc_cl_message(&context.cl), text) != NULL)

static two_context context, second;
static float x[16], y[16], z[16];

static int right(const float *result, const float *input) {
  for (int i = 0; i < 16; ++i) {
    if (result[i] != (input[i] + 1) * 2) return 0;
  }
  return 1;
}

static void fill(float *to, float from) {
  for (int i = 0; i < 16; ++i) to[i] = from + (float)i;
}

/* The caller's own context, device and queue. */
static cl_device_id device;
static cl_context mine;
static cl_command_queue queue;

static void own_queue(cl_command_queue_properties properties) {
  cl_platform_id platform;
  clGetPlatformIDs(1, &platform, NULL);
  clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL);
  mine = clCreateContext(NULL, 1, &device, NULL, NULL, NULL);
  queue = clCreateCommandQueue(mine, device, properties, NULL);
}

static cl_uint references(void) {
  cl_uint of_queue = 0, of_context = 0;
  clGetCommandQueueInfo(queue, CL_QUEUE_REFERENCE_COUNT, sizeof of_queue, &of_queue, NULL);
  clGetContextInfo(mine, CL_CONTEXT_REFERENCE_COUNT, sizeof of_context, &of_context, NULL);
  return of_queue * 100 + of_context;
}

/* Whether the counts come back to `before`: a driver's own thread may let go of finished commands a moment after they end. */
static int settles(cl_uint before) {
  clFinish(queue);
  for (int tries = 0; tries < 2000 && references() != before; ++tries) nanosleep(&(struct timespec){0, 1000000}, NULL);
  return references() == before;
}

static int host_pointers(void) {
  CHECK(two_init(&context, NULL, NULL, 0) == TGC_OK);
  CHECK(two_bind_in_put(&context, x) == TGC_OK && two_bind_in_put_2(&context, y) == TGC_OK);
  for (int frame = 0; frame < 3; ++frame) {
    fill(x, (float)frame);
    CHECK(two_run(&context) == TGC_OK && right(y, x));
  }
  fill(x, 50);
  CHECK(two_bind_in_put_2(&context, z) == TGC_OK); /* another host pointer */
  CHECK(two_run(&context) == TGC_OK && right(z, x) && !right(y, x));
  two_release(&context);
  two_release(&context);
  return 0;
}

static int two_contexts(void) {
  fill(x, 1);
  fill(z, 7);
  CHECK(two_init(&context, NULL, NULL, 0) == TGC_OK && two_init(&second, NULL, NULL, 0) == TGC_OK);
  CHECK(two_bind_in_put(&context, x) == TGC_OK && two_bind_in_put_2(&context, y) == TGC_OK);
  CHECK(two_bind_in_put(&second, z) == TGC_OK && two_bind_in_put_2(&second, z) == TGC_OK);
  CHECK(two_run(&context) == TGC_OK && two_run(&second) == TGC_OK);
  CHECK(right(y, x) && z[0] == 16);
  two_release(&second);
  CHECK(two_run(&context) == TGC_OK);
  two_release(&context);
  return 0;
}

/* Device memory at an offset, an event to wait for, an event to be waited for, rebinding; on either kind of queue. */
static int device_memory(cl_command_queue_properties properties) {
  tgc_cl_options options = {0};
  cl_mem in, out, other;
  cl_event start, end;
  own_queue(properties);
  const cl_uint before = references();
  options.queue = queue;
  CHECK(two_init(&context, &options, NULL, 0) == TGC_OK);
  in = clCreateBuffer(mine, CL_MEM_READ_WRITE, 256, NULL, NULL);
  out = clCreateBuffer(mine, CL_MEM_READ_WRITE, 256, NULL, NULL);
  other = clCreateBuffer(mine, CL_MEM_READ_WRITE, 64, NULL, NULL);
  CHECK(two_bind_input_memory(&context, 0, in, 20) == TGC_OK && two_bind_output_memory(&context, 0, out, 100) == TGC_OK);
  for (int frame = 0; frame < 3; ++frame) {
    fill(x, (float)(3 * frame));
    start = clCreateUserEvent(mine, NULL);
    CHECK(clEnqueueWriteBuffer(queue, in, CL_TRUE, 20, 64, x, 0, NULL, NULL) == CL_SUCCESS);
    CHECK(two_enqueue(&context, 1, &start, &end) == TGC_OK);
    CHECK(clSetUserEventStatus(start, CL_COMPLETE) == CL_SUCCESS);
    CHECK(clEnqueueReadBuffer(queue, out, CL_TRUE, 100, 64, y, 1, &end, NULL) == CL_SUCCESS);
    CHECK(right(y, x));
    clReleaseEvent(start);
    clReleaseEvent(end);
  }
  CHECK(two_bind_output_memory(&context, 0, other, 0) == TGC_OK);
  clReleaseMemObject(other); /* the binding holds it */
  fill(x, 9);
  CHECK(two_bind_in_put(&context, x) == TGC_OK && two_bind_in_put_2(&context, y) == TGC_OK);
  CHECK(two_bind_output_memory(&context, 0, out, 0) == TGC_OK && two_run(&context) == TGC_OK);
  CHECK(clEnqueueReadBuffer(queue, out, CL_TRUE, 0, 64, y, 0, NULL, NULL) == CL_SUCCESS && right(y, x));
  two_release(&context);
  clReleaseMemObject(in);
  clReleaseMemObject(out);
  CHECK(settles(before));
  return 0;
}

static int in_order(void) { return device_memory(0); }
static int out_of_order(void) { return device_memory(CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE); }

/* A ring of device buffers, and memory of the host's that is used in place. */
static int ring_and_mapped(void) {
  cl_mem buffers[3];
  CHECK(two_init(&context, NULL, NULL, 0) == TGC_OK && two_map_output(&context, 0, y) == TGC_OK);
  for (uint32_t k = 0; k < 3; ++k) {
    fill(x, (float)(100 * k));
    buffers[k] = clCreateBuffer(context.cl.context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, 64, x, NULL);
    CHECK(two_select(&context, k) == TGC_OK && two_bind_input_memory(&context, 0, buffers[k], 0) == TGC_OK);
    clReleaseMemObject(buffers[k]);
  }
  for (uint32_t frame = 0; frame < 6; ++frame) {
    CHECK(two_select(&context, frame % 3) == TGC_OK && two_run(&context) == TGC_OK);
    fill(x, (float)(frame % 3 * 100));
    CHECK(right(y, x));
  }
  CHECK(two_select(&context, 0) == TGC_OK && two_map_input(&context, 0, z) == TGC_OK);
  for (int frame = 0; frame < 3; ++frame) {
    fill(z, (float)frame);
    CHECK(two_run(&context) == TGC_OK && right(y, z));
  }
  two_release(&context);
  return 0;
}

/* The second start takes the binary of the first, and gives the same numbers. */
static int binary_cache(void) {
  tgc_cl_options options = {0};
  options.cache_folder = "cache";
  for (int again = 0; again < 2; ++again) {
    fill(x, (float)again);
    CHECK(two_init(&context, &options, NULL, 0) == TGC_OK);
    CHECK(context.cl.cache == (again ? TGC_CL_CACHE_READ : TGC_CL_CACHE_WRITTEN));
    CHECK(two_bind_in_put(&context, x) == TGC_OK && two_bind_in_put_2(&context, y) == TGC_OK);
    CHECK(two_run(&context) == TGC_OK && right(y, x));
    two_release(&context);
  }
  return 0;
}

static int given_context(void) {
  tgc_cl_options options = {0};
  own_queue(0);
  fill(x, 2);
  options.context = mine;
  for (int with_device = 0; with_device < 2; ++with_device) {
    options.device = with_device ? device : NULL;
    const cl_uint before = references();
    CHECK(two_init(&context, &options, NULL, 0) == TGC_OK && context.cl.device == device && context.cl.context == mine);
    CHECK(two_bind_in_put(&context, x) == TGC_OK && two_bind_in_put_2(&context, y) == TGC_OK);
    CHECK(two_run(&context) == TGC_OK && right(y, x));
    two_release(&context);
    CHECK(settles(before));
  }
  return 0;
}

static int bad_arguments(void) {
  tgc_cl_options options = {0};
  cl_mem small;
  cl_event event;
  CHECK(two_init(NULL, NULL, NULL, 0) == TGC_BAD_ARGUMENT && two_run(NULL) == TGC_BAD_ARGUMENT);
  CHECK(two_run(&context) == TGC_BAD_ARGUMENT && two_bind_in_put(&context, x) == TGC_BAD_ARGUMENT); /* before init */
  two_release(&context);
  two_release(NULL);
  options.platform_index = 99;
  CHECK(two_init(&context, &options, NULL, 0) == TGC_BAD_ARGUMENT);
  SAYS("platform_index");
  options.platform_index = 0;
  options.device_index = 99;
  CHECK(two_init(&context, &options, NULL, 0) == TGC_BAD_ARGUMENT);
  SAYS("device_index");
  CHECK(two_init(&context, NULL, x, 4) == TGC_BAD_WEIGHTS);
  SAYS("weights");
  CHECK(two_init(&context, NULL, NULL, 0) == TGC_OK);
  CHECK(two_run(&context) == TGC_BAD_ARGUMENT);
  SAYS("this input is not bound: in put");
  CHECK(two_bind_input(&context, 0, NULL) == TGC_BAD_ARGUMENT && two_bind_input(&context, 1, x) == TGC_BAD_ARGUMENT);
  SAYS("no such input");
  CHECK(two_bind_in_put(&context, x) == TGC_OK && two_run(&context) == TGC_BAD_ARGUMENT);
  SAYS("this output is not bound: in.put");
  small = clCreateBuffer(context.cl.context, CL_MEM_READ_WRITE, 60, NULL, NULL);
  CHECK(two_bind_output_memory(&context, 0, small, 0) == TGC_BAD_ARGUMENT);
  SAYS("too small");
  CHECK(two_bind_output_memory(&context, 0, small, 2) == TGC_BAD_ARGUMENT);
  SAYS("offset");
  CHECK(two_bind_output_memory(&context, 0, NULL, 0) == TGC_BAD_ARGUMENT);
  CHECK(two_bind_in_put_2(&context, y) == TGC_OK);
  CHECK(two_enqueue(&context, 1, NULL, &event) == TGC_BAD_ARGUMENT && event == NULL);
  CHECK(two_run(&context) == TGC_OK);
  clReleaseMemObject(small);
  two_release(&context);
  return 0;
}

/* Whatever fails, nothing of the caller's stays retained. */
static int build_failure(void) {
  tgc_cl_options options = {0};
  own_queue(0);
  const cl_uint before = references();
  options.queue = queue;
  options.build_options = "-Dplus_one=17";
  CHECK(two_init(&context, &options, NULL, 0) == TGC_DEVICE);
  SAYS("clBuildProgram of two: CL_BUILD_PROGRAM_FAILURE");
  SAYS("error:");
  CHECK(settles(before) && context.cl.model == NULL && two_run(&context) == TGC_BAD_ARGUMENT);
  options.build_options = "-Dtwice=thrice";
  CHECK(two_init(&context, &options, NULL, 0) == TGC_DEVICE);
  SAYS("clCreateKernel of twice: CL_INVALID_KERNEL_NAME");
  CHECK(settles(before));
  return 0;
}

static int again_and_again(void) {
  tgc_cl_options options = {0};
  own_queue(0);
  const cl_uint before = references();
  options.queue = queue;
  for (int round = 0; round < 20; ++round) {
    CHECK(two_init(&context, &options, NULL, 0) == TGC_OK);
    CHECK(two_bind_in_put(&context, x) == TGC_OK && two_bind_in_put_2(&context, y) == TGC_OK && two_run(&context) == TGC_OK);
    two_release(&context);
  }
  CHECK(settles(before));
  return 0;
}

/* A device without doubles: linked with --wrap, this answers for the driver. */
static int without_doubles;
cl_int __real_clGetDeviceInfo(cl_device_id which, cl_device_info name, size_t room, void *value, size_t *bytes);
cl_int __wrap_clGetDeviceInfo(cl_device_id which, cl_device_info name, size_t room, void *value, size_t *bytes);
cl_int __wrap_clGetDeviceInfo(cl_device_id which, cl_device_info name, size_t room, void *value, size_t *bytes) {
  if (without_doubles && name == CL_DEVICE_DOUBLE_FP_CONFIG) return memset(value, 0, room), CL_SUCCESS;
  return __real_clGetDeviceInfo(which, name, room, value, bytes);
}

static int doubles(void) {
  const tgc_cl_arrays arrays = {context.kernels, context.images, context.bindings, context.recordings, TGC_CL_SLOTS};
  tgc_cl_model model = two_model;
  model.needs = TGC_CL_NEEDS_FP64;
  without_doubles = 1;
  CHECK(tgc_cl_init(&context.cl, &model, &arrays, NULL, NULL, 0) == TGC_DEVICE);
  SAYS("no cl_khr_fp64: two");
  model.needs = 0;
  model.model.arena_bytes = UINT64_C(1) << 60;
  CHECK(tgc_cl_init(&context.cl, &model, &arrays, NULL, NULL, 0) == TGC_NO_MEMORY);
  SAYS("larger than one allocation");
  return 0;
}

static int no_platform(void) {
  CHECK(two_init(&context, NULL, NULL, 0) == TGC_DEVICE);
  SAYS("no OpenCL platform");
  return 0;
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    int (*run)(void);
  } cases[] = {
    {"host_pointers", host_pointers}, {"two_contexts", two_contexts}, {"in_order", in_order}, {"out_of_order", out_of_order},
    {"ring_and_mapped", ring_and_mapped}, {"binary_cache", binary_cache}, {"given_context", given_context}, {"bad_arguments", bad_arguments}, {"build_failure", build_failure},
    {"again_and_again", again_and_again}, {"doubles", doubles}, {"no_platform", no_platform},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    if (argc > 1 && strcmp(argv[1], cases[i].name) == 0) return cases[i].run();
  }
  fprintf(stderr, "no such case\n");
  return 2;
}
