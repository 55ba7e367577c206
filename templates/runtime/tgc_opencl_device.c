/* tgc_opencl_device.c - where a model runs: context, device, queue, and whether that device will do. */
#include <stdio.h>
#include <string.h>

#include "tgc_opencl_internal.h"

#define DEVICE_LIMIT 16
#define PLATFORM_LIMIT 16
#define NO_PLATFORM (-1001) /* CL_PLATFORM_NOT_FOUND_KHR, which cl.h lacks */

static tgc_status find_device(tgc_cl_context *self, const tgc_cl_options *options) {
  cl_platform_id platforms[PLATFORM_LIMIT];
  cl_device_id devices[DEVICE_LIMIT];
  cl_uint count = 0;
  cl_int error = clGetPlatformIDs(PLATFORM_LIMIT, platforms, &count);
  if (error == NO_PLATFORM || (error == CL_SUCCESS && count == 0)) {
    return tgc_cl_fail(self, TGC_DEVICE, "no OpenCL platform; install the driver of the device", "");
  }
  if (error != CL_SUCCESS) return tgc_cl_check(self, error, "clGetPlatformIDs", "");
  if (options->platform_index >= count || options->platform_index >= PLATFORM_LIMIT) {
    return tgc_cl_fail(self, TGC_BAD_ARGUMENT, "platform_index is beyond the last OpenCL platform", "");
  }
  count = 0;
  error = clGetDeviceIDs(platforms[options->platform_index], CL_DEVICE_TYPE_ALL, DEVICE_LIMIT, devices, &count);
  if (error != CL_SUCCESS && error != CL_DEVICE_NOT_FOUND) return tgc_cl_check(self, error, "clGetDeviceIDs", "");
  if (options->device_index >= count || options->device_index >= DEVICE_LIMIT) {
    return tgc_cl_fail(self, TGC_BAD_ARGUMENT, "device_index is beyond the platform's last OpenCL device", "");
  }
  self->device = devices[options->device_index];
  return TGC_OK;
}

/* The device of a context: `wanted`, which has to be one of its devices, or its first. */
static tgc_status device_of_context(tgc_cl_context *self, cl_device_id wanted) {
  cl_device_id devices[DEVICE_LIMIT];
  size_t bytes = 0, i;
  tgc_status status = tgc_cl_check(self, clGetContextInfo(self->context, CL_CONTEXT_DEVICES, sizeof devices, devices, &bytes),
                                   "clGetContextInfo", "");
  if (status != TGC_OK) return status;
  for (i = 0; i < bytes / sizeof *devices; ++i) {
    if (!wanted || devices[i] == wanted) {
      self->device = devices[i];
      return TGC_OK;
    }
  }
  return tgc_cl_fail(self, TGC_BAD_ARGUMENT, "the device that was passed is none of the context's devices", "");
}

/* The caller's queue with its context and device. Whatever else was passed has to be the same. */
static tgc_status adopt_queue(tgc_cl_context *self, const tgc_cl_options *options) {
  tgc_status status = tgc_cl_check(self, clRetainCommandQueue(options->queue), "clRetainCommandQueue", "");
  cl_context context = NULL;
  if (status != TGC_OK) return status;
  self->queue = options->queue;
  status = tgc_cl_check(self, clGetCommandQueueInfo(self->queue, CL_QUEUE_CONTEXT, sizeof context, &context, NULL),
                        "clGetCommandQueueInfo", "");
  if (status == TGC_OK) status = tgc_cl_check(self, clRetainContext(context), "clRetainContext", "");
  if (status != TGC_OK) return status;
  self->context = context;
  status = tgc_cl_check(self, clGetCommandQueueInfo(self->queue, CL_QUEUE_DEVICE, sizeof self->device, &self->device, NULL),
                        "clGetCommandQueueInfo", "");
  if (status != TGC_OK) return status;
  if (options->context && options->context != context) {
    return tgc_cl_fail(self, TGC_BAD_ARGUMENT, "the queue that was passed belongs to another context", "");
  }
  if (options->device && options->device != self->device) {
    return tgc_cl_fail(self, TGC_BAD_ARGUMENT, "the queue that was passed belongs to another device", "");
  }
  return TGC_OK;
}

static tgc_status open_context(tgc_cl_context *self, const tgc_cl_options *options) {
  cl_context_properties hints[5] = {0};
  cl_int error = CL_SUCCESS;
  tgc_status status;
  if (options->context) {
    status = tgc_cl_check(self, clRetainContext(options->context), "clRetainContext", "");
    if (status != TGC_OK) return status;
    self->context = options->context;
    return device_of_context(self, options->device);
  }
  self->device = options->device;
  if (!self->device) {
    status = find_device(self, options);
    if (status != TGC_OK) return status;
  }
  tgc_cl_hints(self, options, hints);
  self->context = clCreateContext(hints[0] ? hints : NULL, 1, &self->device, NULL, NULL, &error);
  return tgc_cl_check(self, error, "clCreateContext", "");
}

tgc_status tgc_cl_open(tgc_cl_context *self, const tgc_cl_options *options) {
  cl_command_queue_properties properties = 0;
  cl_int error = CL_SUCCESS;
  tgc_status status;
  if (options->queue) {
    status = adopt_queue(self, options);
  } else {
    status = open_context(self, options);
    if (status != TGC_OK) return status;
    self->queue = clCreateCommandQueue(self->context, self->device, options->queue_properties, &error);
    status = tgc_cl_check(self, error, "clCreateCommandQueue", "");
  }
  if (status != TGC_OK) return status;
  status = tgc_cl_check(self, clGetCommandQueueInfo(self->queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL),
                        "clGetCommandQueueInfo", "");
  self->out_of_order = (properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE) != 0;
  return status;
}

/* ---- whether the device will do ---------------------------------------------------------------------------------- */

int tgc_cl_has_extension(tgc_cl_context *self, const char *name) {
  const size_t length = strlen(name);
  const char *at = self->message;
  int found = 0;
  /* The message is the only room there is for a list of this length. */
  if (clGetDeviceInfo(self->device, CL_DEVICE_EXTENSIONS, sizeof self->message, self->message, NULL) == CL_SUCCESS) {
    while (!found && (at = strstr(at, name)) != NULL) {
      found = (at == self->message || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0');
      at += length;
    }
  }
  self->message[0] = '\0';
  return found;
}

static size_t size_of_device(const tgc_cl_context *self, cl_device_info what) {
  size_t value = 0;
  (void)clGetDeviceInfo(self->device, what, sizeof value, &value, NULL);
  return value;
}

static tgc_status check_images(tgc_cl_context *self) {
  cl_bool has = CL_FALSE;
  size_t width, height, row;
  uint32_t i;
  (void)clGetDeviceInfo(self->device, CL_DEVICE_IMAGE_SUPPORT, sizeof has, &has, NULL);
  if (!has) return tgc_cl_fail(self, TGC_DEVICE, "the model works on images and the device has none", self->model->name);
  width = size_of_device(self, CL_DEVICE_IMAGE2D_MAX_WIDTH);
  height = size_of_device(self, CL_DEVICE_IMAGE2D_MAX_HEIGHT);
  row = size_of_device(self, CL_DEVICE_IMAGE_MAX_BUFFER_SIZE);
  for (i = 0; i < self->program_data->image_count; ++i) {
    const tgc_cl_image *image = &self->program_data->images[i];
    if (image->width <= (image->height ? width : row) && image->height <= height) continue;
    if (!image->height) {
      (void)snprintf(self->message, sizeof self->message, "a row of %lu texels is longer than the device's %lu: %s",
                     (unsigned long)image->width, (unsigned long)row, self->model->name);
      return TGC_DEVICE;
    }
    (void)snprintf(self->message, sizeof self->message, "an image of %lu x %lu texels is larger than the device's %lu x %lu: %s",
                   (unsigned long)image->width, (unsigned long)image->height, (unsigned long)width, (unsigned long)height,
                   self->model->name);
    return TGC_DEVICE;
  }
  return TGC_OK;
}

tgc_status tgc_cl_check_device(tgc_cl_context *self) {
  const tgc_model *model = self->model;
  const uint32_t needs = self->program_data->needs;
  const uint64_t needed = model->weights_bytes > model->arena_bytes ? model->weights_bytes : model->arena_bytes;
  cl_device_fp_config doubles = 0;
  cl_ulong largest = 0;
  cl_bool compiler = CL_TRUE;
  if (needs & TGC_CL_NEEDS_FP64) {
    (void)clGetDeviceInfo(self->device, CL_DEVICE_DOUBLE_FP_CONFIG, sizeof doubles, &doubles, NULL);
    if (!doubles) return tgc_cl_fail(self, TGC_DEVICE, "the model computes in double and the device has no cl_khr_fp64", model->name);
  }
  if ((needs & TGC_CL_NEEDS_FP16) && !tgc_cl_has_extension(self, "cl_khr_fp16")) {
    return tgc_cl_fail(self, TGC_DEVICE, "the model computes in half precision and the device has no cl_khr_fp16", model->name);
  }
  if (clGetDeviceInfo(self->device, CL_DEVICE_COMPILER_AVAILABLE, sizeof compiler, &compiler, NULL) == CL_SUCCESS && !compiler) {
    return tgc_cl_fail(self, TGC_DEVICE, "the device's driver has no compiler", model->name);
  }
  if (clGetDeviceInfo(self->device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof largest, &largest, NULL) == CL_SUCCESS && needed > largest) {
    return tgc_cl_fail(self, TGC_NO_MEMORY, "the weights or the arena are larger than one allocation of the device may be", model->name);
  }
  return (needs & TGC_CL_NEEDS_IMAGES) || self->program_data->image_count ? check_images(self) : TGC_OK;
}
