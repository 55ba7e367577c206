/* tgc_opencl_memory.c - what lives as long as the model: arena, weights, images, kernels and those arguments that never change. */
#include <stdio.h>
#include <string.h>

#include "tgc_opencl_internal.h"

static tgc_status make_buffers(tgc_cl_context *self, const void *weights) {
  const tgc_model *model = self->model;
  cl_int error = CL_SUCCESS;
  tgc_status status;
  /* OpenCL has no empty buffers; a kernel that uses none is not handed one. */
  if (model->arena_bytes) {
    self->arena = clCreateBuffer(self->context, CL_MEM_READ_WRITE, (size_t)model->arena_bytes, NULL, &error);
    status = tgc_cl_check(self, error, "clCreateBuffer", "the arena");
    if (status != TGC_OK) return status;
  }
  if (model->weights_bytes) {
    /* The parameter is not const for the sake of CL_MEM_USE_HOST_PTR; here it is only copied from. */
    self->weights = clCreateBuffer(self->context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, (size_t)model->weights_bytes,
                                   (void *)(uintptr_t)weights, &error);
    return tgc_cl_check(self, error, "clCreateBuffer", "the weights");
  }
  return TGC_OK;
}

/* Images ----------------------------------------------------------------------------------------------------------- */

/* An image over part of the arena or the weights, which needs cl_khr_image2d_from_buffer, as Adreno has it. */
static cl_mem image_over_buffer(tgc_cl_context *self, const tgc_cl_image *image, const cl_image_format *format, cl_int *error) {
  const cl_buffer_region region = {(size_t)image->offset, (size_t)image->row_bytes * image->height};
  const cl_mem_flags access = image->memory == TGC_CL_WEIGHTS ? CL_MEM_READ_ONLY : CL_MEM_READ_WRITE;
  cl_mem whole = image->memory == TGC_CL_WEIGHTS ? self->weights : self->arena, made;
  cl_image_desc shape;
  cl_mem part = clCreateSubBuffer(whole, access, CL_BUFFER_CREATE_TYPE_REGION, &region, error);
  if (*error != CL_SUCCESS) return NULL;
  memset(&shape, 0, sizeof shape);
  shape.image_type = CL_MEM_OBJECT_IMAGE2D;
  shape.image_width = image->width;
  shape.image_height = image->height;
  shape.image_row_pitch = image->row_bytes;
  shape.buffer = part;
  made = clCreateImage(self->context, access, format, &shape, NULL, error);
  (void)clReleaseMemObject(part); /* the image holds it */
  return made;
}

/* An image with memory of its own. Arena images then share nothing, which costs memory and no more. */
static cl_mem image_alone(tgc_cl_context *self, const tgc_cl_image *image, const cl_image_format *format, const void *weights,
                          cl_int *error) {
  const int constant = image->memory == TGC_CL_WEIGHTS;
  const uintptr_t data = constant ? (uintptr_t)weights + (uintptr_t)image->offset : 0;
  cl_image_desc shape;
  memset(&shape, 0, sizeof shape);
  shape.image_type = CL_MEM_OBJECT_IMAGE2D;
  shape.image_width = image->width;
  shape.image_height = image->height;
  shape.image_row_pitch = constant ? image->row_bytes : 0;
  return clCreateImage(self->context, constant ? CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR : CL_MEM_READ_WRITE, format, &shape,
                       (void *)data, error);
}

/* A row of texels over part of the arena or the weights. Every device with images can do that. */
static cl_mem image_of_row(tgc_cl_context *self, const tgc_cl_image *image, const cl_image_format *format, cl_int *error) {
  cl_image_desc shape;
  memset(&shape, 0, sizeof shape);
  shape.image_type = CL_MEM_OBJECT_IMAGE1D_BUFFER;
  shape.image_width = image->width;
  shape.buffer = image->memory == TGC_CL_WEIGHTS ? self->weights : self->arena;
  return clCreateImage(self->context, image->memory == TGC_CL_WEIGHTS ? CL_MEM_READ_ONLY : CL_MEM_READ_WRITE, format, &shape, NULL, error);
}

static tgc_status make_images(tgc_cl_context *self, const void *weights) {
  const int shared = self->program_data->image_count && tgc_cl_has_extension(self, "cl_khr_image2d_from_buffer");
  uint32_t i;
  for (i = 0; i < self->program_data->image_count; ++i) {
    const tgc_cl_image *image = &self->program_data->images[i];
    const cl_image_format format = {CL_RGBA, image->dtype == TGC_F16 ? CL_HALF_FLOAT : CL_FLOAT};
    cl_int error = CL_SUCCESS;
    tgc_status status;
    cl_mem made = NULL;
    if (image->width == 0) continue; /* no kernel reads it */
    if (image->height == 0) made = image_of_row(self, image, &format, &error);
    else made = shared ? image_over_buffer(self, image, &format, &error) : image_alone(self, image, &format, weights, &error);
    status = tgc_cl_check(self, error, "clCreateImage", self->model->name);
    if (status != TGC_OK) return status;
    self->arrays.images[i] = made;
  }
  return TGC_OK;
}

tgc_status tgc_cl_make_memory(tgc_cl_context *self, const void *weights) {
  const tgc_status status = make_buffers(self, weights);
  return status == TGC_OK ? make_images(self, weights) : status;
}

/* Kernels ---------------------------------------------------------------------------------------------------------- */

tgc_status tgc_cl_set_argument(tgc_cl_context *self, uint32_t launch, uint32_t position, cl_mem memory, cl_int start) {
  const char *name = self->program_data->launches[launch].kernel;
  cl_kernel kernel = self->arrays.kernels[launch];
  const tgc_status status = tgc_cl_check(self, clSetKernelArg(kernel, 2 * position, sizeof memory, &memory), "clSetKernelArg", name);
  if (status != TGC_OK) return status;
  return tgc_cl_check(self, clSetKernelArg(kernel, 2 * position + 1, sizeof start, &start), "clSetKernelArg", name);
}

/* Whether the kernel, as this driver compiled it, can run in groups of the size that it was compiled for. */
static tgc_status check_group(tgc_cl_context *self, uint32_t launch) {
  const tgc_cl_launch *row = &self->program_data->launches[launch];
  const size_t wanted = row->local[0] * row->local[1] * row->local[2];
  size_t most = 0, built[3] = {0, 0, 0};
  if (!clGetKernelWorkGroupInfo(self->arrays.kernels[launch], self->device, CL_KERNEL_COMPILE_WORK_GROUP_SIZE, sizeof built, built, NULL) &&
      built[0] * built[1] * built[2] == wanted) {
    return TGC_OK; /* compiled for just that; some drivers name another size all the same */
  }
  if (clGetKernelWorkGroupInfo(self->arrays.kernels[launch], self->device, CL_KERNEL_WORK_GROUP_SIZE, sizeof most, &most, NULL)) {
    return TGC_OK; /* the launch will tell */
  }
  if (wanted <= most) return TGC_OK;
  (void)snprintf(self->message, sizeof self->message, "kernel %s runs in groups of %lu work-items; the device can do %lu", row->kernel,
                 (unsigned long)wanted, (unsigned long)most);
  return TGC_DEVICE;
}

static tgc_status make_kernel(tgc_cl_context *self, uint32_t launch) {
  const tgc_cl_launch *row = &self->program_data->launches[launch];
  cl_int error = CL_SUCCESS;
  uint32_t position;
  tgc_status status;
  self->arrays.kernels[launch] = clCreateKernel(self->program, row->kernel, &error);
  status = tgc_cl_check(self, error, "clCreateKernel", row->kernel);
  if (status == TGC_OK) status = check_group(self, launch);
  for (position = 0; status == TGC_OK && position < row->argument_count; ++position) {
    const tgc_cl_argument *argument = &self->program_data->arguments[row->first_argument + position];
    cl_mem memory = NULL;
    if (argument->memory == TGC_CL_ARENA) memory = self->arena;
    if (argument->memory == TGC_CL_WEIGHTS) memory = self->weights;
    if (argument->memory == TGC_CL_IMAGE) memory = self->arrays.images[argument->tensor];
    if (memory) status = tgc_cl_set_argument(self, launch, position, memory, argument->start);
  }
  return status;
}

tgc_status tgc_cl_make_kernels(tgc_cl_context *self) {
  tgc_status status = TGC_OK;
  uint32_t launch;
  for (launch = 0; status == TGC_OK && launch < self->program_data->launch_count; ++launch) status = make_kernel(self, launch);
  return status;
}
