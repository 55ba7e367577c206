/* tgc_opencl.c - loads a compiled model into an OpenCL context: messages, init, release. See tgc_opencl.h. */
#include <stdio.h>
#include <string.h>

#include "tgc_opencl_internal.h"

#define NO_PLATFORM (-1001) /* CL_PLATFORM_NOT_FOUND_KHR, which cl.h lacks */

static const char *error_name(cl_int error) {
  switch (error) {
#define N(code) case code: return #code;
    N(CL_DEVICE_NOT_FOUND) N(CL_DEVICE_NOT_AVAILABLE) N(CL_COMPILER_NOT_AVAILABLE) N(CL_MEM_OBJECT_ALLOCATION_FAILURE)
    N(CL_OUT_OF_RESOURCES) N(CL_OUT_OF_HOST_MEMORY) N(CL_IMAGE_FORMAT_NOT_SUPPORTED) N(CL_BUILD_PROGRAM_FAILURE)
    N(CL_MAP_FAILURE) N(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST) N(CL_INVALID_VALUE) N(CL_INVALID_PLATFORM) N(CL_INVALID_DEVICE)
    N(CL_INVALID_CONTEXT) N(CL_INVALID_QUEUE_PROPERTIES) N(CL_INVALID_COMMAND_QUEUE) N(CL_INVALID_HOST_PTR) N(CL_INVALID_MEM_OBJECT)
    N(CL_INVALID_IMAGE_FORMAT_DESCRIPTOR) N(CL_INVALID_IMAGE_SIZE) N(CL_INVALID_BINARY) N(CL_INVALID_BUILD_OPTIONS)
    N(CL_INVALID_PROGRAM_EXECUTABLE) N(CL_INVALID_KERNEL_NAME) N(CL_INVALID_KERNEL_ARGS) N(CL_INVALID_ARG_INDEX) N(CL_INVALID_ARG_VALUE)
    N(CL_INVALID_ARG_SIZE) N(CL_INVALID_WORK_GROUP_SIZE) N(CL_INVALID_WORK_ITEM_SIZE) N(CL_INVALID_EVENT_WAIT_LIST)
    N(CL_INVALID_EVENT) N(CL_INVALID_BUFFER_SIZE) N(CL_INVALID_GLOBAL_WORK_SIZE) N(CL_INVALID_IMAGE_DESCRIPTOR)
#undef N
    case NO_PLATFORM: return "CL_PLATFORM_NOT_FOUND_KHR";
    default: return "OpenCL error";
  }
}

tgc_status tgc_cl_fail(tgc_cl_context *self, tgc_status status, const char *what, const char *name) {
  (void)snprintf(self->message, sizeof self->message, "%s%s%s", what, *name ? ": " : "", name);
  return status;
}

tgc_status tgc_cl_check(tgc_cl_context *self, cl_int error, const char *call, const char *name) {
  if (error == CL_SUCCESS) return TGC_OK;
  (void)snprintf(self->message, sizeof self->message, "%s%s%s: %s (%d)", call, *name ? " of " : "", name, error_name(error),
                 (int)error);
  return error == CL_MEM_OBJECT_ALLOCATION_FAILURE || error == CL_OUT_OF_HOST_MEMORY ? TGC_NO_MEMORY : TGC_DEVICE;
}

static tgc_status load(tgc_cl_context *self, const tgc_cl_options *options, const void *weights) {
  tgc_status status = tgc_cl_open(self, options);
  if (status == TGC_OK) status = tgc_cl_check_device(self);
  if (status == TGC_OK) status = tgc_cl_make_program(self, options);
  if (status == TGC_OK) status = tgc_cl_make_memory(self, weights);
  if (status == TGC_OK) status = tgc_cl_make_kernels(self);
  if (status == TGC_OK) status = tgc_cl_reset(self);
  if (status == TGC_OK && !options->no_recording && !self->out_of_order) status = tgc_cl_find_recorder(self);
  return status;
}

static void clear(const tgc_cl_model *data, const tgc_cl_arrays *arrays) {
  const uint32_t tensors = data->model.input_count + data->model.output_count;
  memset(arrays->kernels, 0, data->launch_count * sizeof *arrays->kernels);
  memset(arrays->images, 0, data->image_count * sizeof *arrays->images);
  memset(arrays->bindings, 0, (arrays->slot_count + 1) * tensors * sizeof *arrays->bindings);
  memset(arrays->recordings, 0, arrays->slot_count * data->model.entry_count * sizeof *arrays->recordings);
}

tgc_status tgc_cl_init(tgc_cl_context *self, const tgc_cl_model *data, const tgc_cl_arrays *arrays, const tgc_cl_options *options,
                       const void *weights, uint64_t weights_bytes) {
  const tgc_cl_options defaults = {0};
  tgc_status status;
  if (!self) return TGC_BAD_ARGUMENT;
  memset(self, 0, sizeof *self);
  if (!data || !arrays || !arrays->kernels || !arrays->images || !arrays->bindings || !arrays->recordings || !arrays->slot_count) {
    return tgc_cl_fail(self, TGC_BAD_ARGUMENT, "init was given a null pointer", "");
  }
  if (data->model.abi_version != TGC_ABI_VERSION) {
    return tgc_cl_fail(self, TGC_BAD_ARGUMENT, "compiled for another tgc runtime", data->model.name);
  }
  if (!weights && data->model.weights) {
    weights = data->model.weights;
    weights_bytes = data->model.weights_bytes;
  }
  if (weights_bytes != data->model.weights_bytes || (!weights && weights_bytes)) {
    return tgc_cl_fail(self, TGC_BAD_WEIGHTS, "the weights are missing or not of the model's size", data->model.name);
  }
  clear(data, arrays);
  self->program_data = data;
  self->model = &data->model;
  self->arrays = *arrays;
  status = load(self, options ? options : &defaults, weights);
  if (status != TGC_OK) tgc_cl_release(self);
  return status;
}

const char *tgc_cl_message(const tgc_cl_context *self) { return self ? self->message : ""; }

static void release_objects(tgc_cl_context *self) {
  uint32_t i;
  tgc_cl_forget_recordings(self);
  tgc_cl_unbind_all(self);
  for (i = 0; i < self->program_data->launch_count; ++i) {
    if (self->arrays.kernels[i]) (void)clReleaseKernel(self->arrays.kernels[i]);
    self->arrays.kernels[i] = NULL;
  }
  for (i = 0; i < self->program_data->image_count; ++i) {
    if (self->arrays.images[i]) (void)clReleaseMemObject(self->arrays.images[i]);
    self->arrays.images[i] = NULL;
  }
}

void tgc_cl_release(tgc_cl_context *self) {
  if (!self) return;
  if (self->queue) (void)clFinish(self->queue);
  if (self->model) release_objects(self);
  if (self->program) (void)clReleaseProgram(self->program);
  if (self->arena) (void)clReleaseMemObject(self->arena);
  if (self->weights) (void)clReleaseMemObject(self->weights);
  if (self->recorder.queue) (void)clReleaseCommandQueue(self->recorder.queue);
  if (self->queue) (void)clReleaseCommandQueue(self->queue);
  if (self->context) (void)clReleaseContext(self->context);
  self->recorder.queue = NULL;
  self->model = NULL;
  self->context = NULL;
  self->device = NULL;
  self->queue = NULL;
  self->program = NULL;
  self->weights = NULL;
  self->arena = NULL;
}
