/* Cases for tests/test_opencl_faults.py: the program `two`, y = (x + 1) * 2 on 16 floats, on a driver that counts and fails at will.
 * Usage: opencl_faults CASE FOLDER */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_opencl.h"
#include "two.h"

#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "%d: %s\n%s\n", __LINE__, #condition, tgc_cl_message(&context.cl)); \
      return 1; \
    } \
  } while (0)
#define SAYS(text) CHECK(strstr(tgc_cl_message(&context.cl), text) != NULL)

static two_context context;
static tgc_cl_options options;
static float x[16], y[16], z[16];
static const char *folder;

static void fill(float *to, float from) {
  for (int i = 0; i < 16; ++i) to[i] = from + (float)i;
}

static int right(const float *result, const float *input) {
  for (int i = 0; i < 16; ++i) {
    if (result[i] != (input[i] + 1) * 2) return 0;
  }
  return 1;
}

/* What an application does: init, bind in every way, a few frames. Stops at the runtime's first failure. */
static tgc_status whole_life(void) {
  tgc_status status = two_init(&context, &options, NULL, 0);
  cl_event event = NULL;
  cl_mem memory = NULL;
  cl_int error = CL_SUCCESS;
  if (status != TGC_OK) return status;
  status = two_bind_in_put(&context, x);
  if (status == TGC_OK) status = two_bind_in_put_2(&context, y);
  if (status == TGC_OK) status = two_run(&context);
  if (status == TGC_OK) status = two_map_input(&context, 0, x);
  if (status == TGC_OK) status = two_map_output(&context, 0, y);
  if (status == TGC_OK) status = two_run(&context);
  if (status == TGC_OK) status = two_select(&context, 1);
  if (status == TGC_OK) memory = clCreateBuffer(context.cl.context, CL_MEM_READ_WRITE, 64, NULL, &error);
  if (status == TGC_OK && memory) status = two_bind_output_memory(&context, 0, memory, 0);
  if (status == TGC_OK && memory) status = two_enqueue(&context, 0, NULL, &event);
  if (event) (void)clReleaseEvent(event);
  if (memory) (void)clReleaseMemObject(memory);
  two_release(&context);
  return status;
}

/* Lets each call of a whole life fail in turn. What the runtime only asks out of caution may go on; nothing may leak. */
static int every_call(cl_int with, tgc_status expected) {
  int calls, stopped = 0;
  fake_reset();
  fake.extensions = "cl_qcom_recordable_queues cl_qcom_perf_hint";
  options.cache_folder = folder;
  options.performance_hint = TGC_CL_HINT_HIGH;
  CHECK(whole_life() == TGC_OK && fake_live() == 0);
  calls = fake_calls(NULL);
  CHECK(calls > 60);
  for (int at = 1; at <= calls; ++at) {
    tgc_status status;
    fake_reset();
    fake.extensions = "cl_qcom_recordable_queues cl_qcom_perf_hint";
    fake.fail_at = at;
    fake.fail_with = with;
    status = whole_life();
    CHECK(status == TGC_OK || status == expected);
    if (status != TGC_OK) CHECK(tgc_cl_message(&context.cl)[0] != '\0');
    stopped += status != TGC_OK;
    CHECK(fake_live() == 0);
  }
  CHECK(stopped > 40);
  return 0;
}

static int every_call_fails(void) { return every_call(CL_OUT_OF_RESOURCES, TGC_DEVICE); }
static int memory_runs_out(void) { return every_call(CL_MEM_OBJECT_ALLOCATION_FAILURE, TGC_NO_MEMORY); }

static tgc_status init_with(const tgc_cl_model *model) {
  const tgc_cl_arrays arrays = {context.kernels, context.images, context.bindings, context.recordings, TGC_CL_SLOTS};
  return tgc_cl_init(&context.cl, model, &arrays, &options, NULL, 0);
}

static int lacking_device(void) {
  static const tgc_cl_image wide = {0, 20000, 1, 160000, TGC_CL_ARENA, TGC_F16, 0}, row = {0, 20000, 0, 160000, TGC_CL_ARENA, TGC_F16, 0};
  tgc_cl_model model = two_model;
  model.needs = TGC_CL_NEEDS_FP16;
  CHECK(init_with(&model) == TGC_OK);
  tgc_cl_release(&context.cl);
  fake.extensions = "cl_khr_fp16_more not_cl_khr_fp16";
  CHECK(init_with(&model) == TGC_DEVICE);
  SAYS("no cl_khr_fp16: two");
  model.needs = TGC_CL_NEEDS_IMAGES;
  fake.images = CL_FALSE;
  CHECK(init_with(&model) == TGC_DEVICE);
  SAYS("works on images");
  fake.images = CL_TRUE;
  model.images = &wide;
  model.image_count = 1;
  CHECK(init_with(&model) == TGC_DEVICE);
  SAYS("an image of 20000 x 1 texels is larger than the device's 16384 x 16384: two");
  model.images = &row;
  CHECK(init_with(&model) == TGC_DEVICE);
  SAYS("a row of 20000 texels is longer than the device's 16384: two");
  fake.compiler = CL_FALSE;
  CHECK(init_with(&two_model) == TGC_DEVICE);
  SAYS("no compiler");
  fake.compiler = CL_TRUE;
  fake.group_limit = 0;
  CHECK(init_with(&two_model) == TGC_DEVICE);
  SAYS("runs in groups of 1 work-items; the device can do 0");
  fake.group_limit = 1;
  fake.largest = 100;
  CHECK(init_with(&two_model) == TGC_NO_MEMORY);
  SAYS("larger than one allocation");
  CHECK(fake_live() == 0);
  return 0;
}

/* Pictures over the arena where the device can, alone where it cannot; rows over it always. Nothing is left, whichever call fails. */
static int images(void) {
  static const tgc_cl_image both[] = {{0, 4, 2, 64, TGC_CL_ARENA, TGC_F16, 0}, {0, 4, 0, 64, TGC_CL_ARENA, TGC_F16, 0}};
  tgc_cl_model model = two_model;
  model.images = both;
  model.image_count = 2;
  for (int shared = 0; shared < 2; ++shared) {
    int calls;
    fake_reset();
    fake.extensions = shared ? "cl_khr_image2d_from_buffer" : "";
    CHECK(init_with(&model) == TGC_OK && fake_calls("clCreateImage") == 2 && fake_calls("clCreateSubBuffer") == shared);
    tgc_cl_release(&context.cl);
    CHECK(fake_live() == 0);
    calls = fake_calls(NULL);
    for (int at = 1; at <= calls; ++at) {
      fake_reset();
      fake.extensions = shared ? "cl_khr_image2d_from_buffer" : "";
      fake.fail_at = at;
      fake.fail_with = CL_MEM_OBJECT_ALLOCATION_FAILURE;
      if (init_with(&model) == TGC_OK) tgc_cl_release(&context.cl);
      else CHECK(tgc_cl_message(&context.cl)[0] != '\0');
      CHECK(fake_live() == 0);
    }
  }
  return 0;
}

static int strangers(void) {
  cl_int error;
  cl_device_id first = fake_device(0);
  cl_context mine = clCreateContext(NULL, 1, &first, NULL, NULL, &error), other = clCreateContext(NULL, 1, &first, NULL, NULL, &error);
  cl_command_queue queue = clCreateCommandQueue(mine, first, 0, &error);
  options.context = mine;
  options.device = fake_device(1);
  CHECK(two_init(&context, &options, NULL, 0) == TGC_BAD_ARGUMENT);
  SAYS("none of the context's devices");
  options.queue = queue;
  CHECK(two_init(&context, &options, NULL, 0) == TGC_BAD_ARGUMENT);
  SAYS("belongs to another device");
  options.device = first;
  options.context = other;
  CHECK(two_init(&context, &options, NULL, 0) == TGC_BAD_ARGUMENT);
  SAYS("belongs to another context");
  options.context = mine;
  CHECK(two_init(&context, &options, NULL, 0) == TGC_OK && context.cl.queue == queue);
  two_release(&context);
  clReleaseCommandQueue(queue);
  clReleaseContext(mine);
  clReleaseContext(other);
  CHECK(fake_live() == 0);
  return 0;
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

/* A ring of device buffers, each bound once: a frame sets the two arguments that differ, and none where the slot stays. */
static int ring(void) {
  cl_mem buffers[3];
  cl_int error;
  int before;
  CHECK(two_init(&context, &options, NULL, 0) == TGC_OK && two_bind_in_put_2(&context, y) == TGC_OK);
  for (uint32_t k = 0; k < 3; ++k) {
    fill(x, (float)(100 * k));
    buffers[k] = clCreateBuffer(context.cl.context, CL_MEM_COPY_HOST_PTR, 64, x, &error);
    CHECK(two_select(&context, k) == TGC_OK && two_bind_input_memory(&context, 0, buffers[k], 0) == TGC_OK);
    clReleaseMemObject(buffers[k]);
  }
  for (int frame = 0; frame < 7; ++frame) {
    CHECK(two_select(&context, (uint32_t)frame % 3) == TGC_OK);
    before = fake_calls("clSetKernelArg");
    CHECK(two_run(&context) == TGC_OK);
    fill(x, (float)(frame % 3 * 100));
    CHECK(right(y, x));
    if (frame) CHECK(fake_calls("clSetKernelArg") == before + 2);
    before = fake_calls("clSetKernelArg");
    CHECK(two_run(&context) == TGC_OK && fake_calls("clSetKernelArg") == before);
  }
  CHECK(two_select(&context, TGC_CL_SLOTS) == TGC_BAD_ARGUMENT);
  SAYS("TGC_CL_SLOTS");
  two_release(&context);
  CHECK(fake_live() == 0);
  return 0;
}

/* The fake driver lets the device see mapped memory only between unmap and map, and refuses kernels while the host has it. */
static int mapped(void) {
  CHECK(two_init(&context, &options, NULL, 0) == TGC_OK);
  CHECK(two_map_input(&context, 0, x) == TGC_OK && two_map_output(&context, 0, y) == TGC_OK);
  for (int frame = 0; frame < 3; ++frame) {
    fill(x, (float)frame);
    CHECK(two_run(&context) == TGC_OK && right(y, x));
  }
  CHECK(fake_calls("clEnqueueWriteBuffer") == 0 && fake_calls("clEnqueueReadBuffer") == 0);
  CHECK(two_map_input(&context, 0, (char *)x + 1) == TGC_BAD_ARGUMENT);
  SAYS("misaligned");
  CHECK(two_bind_in_put_2(&context, z) == TGC_OK && two_run(&context) == TGC_OK && right(z, x));
  two_release(&context);
  CHECK(fake_live() == 0);
  return 0;
}

/* A frame is one replay; a slot is recorded once, and again after it was bound anew. */
static int recorded(void) {
  fake.extensions = "cl_qcom_recordable_queues";
  fill(x, 3);
  CHECK(two_init(&context, &options, NULL, 0) == TGC_OK);
  CHECK(two_bind_in_put(&context, x) == TGC_OK && two_bind_in_put_2(&context, y) == TGC_OK);
  for (int frame = 0; frame < 5; ++frame) CHECK(two_run(&context) == TGC_OK && right(y, x));
  CHECK(fake_calls("new_recording") == 1 && fake_calls("enqueue_recording") == 5 && fake_calls("clEnqueueNDRangeKernel") == 3);
  CHECK(two_select(&context, 1) == TGC_OK && two_bind_in_put_2(&context, z) == TGC_OK);
  CHECK(two_run(&context) == TGC_OK && right(z, x) && fake_calls("new_recording") == 2);
  fill(x, 9);
  CHECK(two_select(&context, 0) == TGC_OK && two_run(&context) == TGC_OK && right(y, x) && !right(z, x));
  two_release(&context);
  CHECK(fake_live() == 0);
  options.no_recording = 1;
  fake_reset();
  fake.extensions = "cl_qcom_recordable_queues";
  CHECK(whole_life() == TGC_OK && fake_calls("new_recording") == 0 && fake_live() == 0);
  return 0;
}

static int hinted(void) {
  options.performance_hint = TGC_CL_HINT_LOW;
  options.priority_hint = TGC_CL_HINT_HIGH;
  CHECK(whole_life() == TGC_OK && fake_hint(0) == 0);
  fake.extensions = "cl_qcom_priority_hint cl_qcom_perf_hint";
  CHECK(whole_life() == TGC_OK && fake_hint(0) == 0x40C2 && fake_hint(1) == 0x40C5 && fake_hint(2) == 0x40C9 && fake_hint(3) == 0x40CA);
  CHECK(fake_hint(4) == 0);
  return 0;
}

/* ---- the binary cache -------------------------------------------------------------------------------------------- */

static int life_with_cache(int cache) { return whole_life() == TGC_OK && context.cl.cache == cache && fake_live() == 0; }

static int cached(void) {
  options.cache_folder = folder;
  CHECK(life_with_cache(TGC_CL_CACHE_WRITTEN));
  CHECK(life_with_cache(TGC_CL_CACHE_READ) && fake_calls("clCreateProgramWithSource") == 1);
  fake.driver_version = "1.1"; /* another driver, another file */
  CHECK(life_with_cache(TGC_CL_CACHE_WRITTEN) && life_with_cache(TGC_CL_CACHE_READ));
  options.build_options = "-DOTHER";
  CHECK(life_with_cache(TGC_CL_CACHE_WRITTEN) && life_with_cache(TGC_CL_CACHE_READ));
  fake.refuse_binaries = 1;
  CHECK(life_with_cache(TGC_CL_CACHE_WRITTEN));
  fake.refuse_binaries = 2;
  CHECK(life_with_cache(TGC_CL_CACHE_WRITTEN));
  fake.refuse_binaries = 0;
  CHECK(life_with_cache(TGC_CL_CACHE_READ));
  options.cache_folder = "/nowhere/at/all";
  CHECK(life_with_cache(TGC_CL_CACHE_FAILED));
  options.cache_folder = NULL;
  CHECK(life_with_cache(TGC_CL_CACHE_OFF));
  return 0;
}

/* One start with the cache: prints what became of it. */
static int start(void) {
  options.cache_folder = folder;
  CHECK(whole_life() == TGC_OK && fake_live() == 0);
  printf("%d\n", (int)context.cl.cache);
  return 0;
}

static int build_failure(void) {
  options.build_options = "-Dbroken";
  options.cache_folder = folder;
  CHECK(two_init(&context, &options, NULL, 0) == TGC_DEVICE);
  SAYS("clBuildProgram of two: CL_BUILD_PROGRAM_FAILURE (-11)\nline 1: it is broken");
  CHECK(fake_live() == 0);
  return 0;
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    int (*run)(void);
  } cases[] = {
    {"every_call_fails", every_call_fails}, {"memory_runs_out", memory_runs_out}, {"lacking_device", lacking_device}, {"images", images},
    {"strangers", strangers}, {"ring", ring}, {"mapped", mapped}, {"recorded", recorded}, {"hinted", hinted}, {"cached", cached},
    {"start", start}, {"build_failure", build_failure},
  };
  fake_reset();
  folder = argc > 2 ? argv[2] : NULL;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    if (argc > 1 && strcmp(argv[1], cases[i].name) == 0) return cases[i].run();
  }
  fprintf(stderr, "no such case\n");
  return 2;
}
