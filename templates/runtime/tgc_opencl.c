/* tgc_opencl.c - loads a compiled model into an OpenCL context and runs it. See tgc_opencl.h. */
#include "tgc_opencl.h"

#include <stdio.h>
#include <string.h>

#define DEVICE_LIMIT 16
#define PLATFORM_LIMIT 16
#define NO_PLATFORM (-1001) /* CL_PLATFORM_NOT_FOUND_KHR, which cl.h lacks */

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static const char *error_name(cl_int error) {
  switch (error) {
#define N(code) case code: return #code;
    N(CL_DEVICE_NOT_FOUND) N(CL_DEVICE_NOT_AVAILABLE) N(CL_COMPILER_NOT_AVAILABLE) N(CL_MEM_OBJECT_ALLOCATION_FAILURE)
    N(CL_OUT_OF_RESOURCES) N(CL_OUT_OF_HOST_MEMORY) N(CL_BUILD_PROGRAM_FAILURE)
    N(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST) N(CL_INVALID_VALUE) N(CL_INVALID_PLATFORM) N(CL_INVALID_DEVICE)
    N(CL_INVALID_CONTEXT) N(CL_INVALID_QUEUE_PROPERTIES) N(CL_INVALID_COMMAND_QUEUE) N(CL_INVALID_MEM_OBJECT)
    N(CL_INVALID_BUILD_OPTIONS) N(CL_INVALID_KERNEL_NAME) N(CL_INVALID_KERNEL_ARGS) N(CL_INVALID_ARG_INDEX)
    N(CL_INVALID_ARG_SIZE) N(CL_INVALID_WORK_GROUP_SIZE) N(CL_INVALID_WORK_ITEM_SIZE) N(CL_INVALID_EVENT_WAIT_LIST)
    N(CL_INVALID_EVENT) N(CL_INVALID_BUFFER_SIZE) N(CL_INVALID_GLOBAL_WORK_SIZE)
#undef N
    case NO_PLATFORM: return "CL_PLATFORM_NOT_FOUND_KHR";
    default: return "OpenCL error";
  }
}

static tgc_status fail(tgc_cl_context *self, tgc_status status, const char *what, const char *name) {
  (void)snprintf(self->message, sizeof self->message, "%s%s%s", what, *name ? ": " : "", name);
  return status;
}

/* TGC_OK where `error` is CL_SUCCESS; else the message names the call and what it was called for. */
static tgc_status check(tgc_cl_context *self, cl_int error, const char *call, const char *name) {
  if (error == CL_SUCCESS) return TGC_OK;
  (void)snprintf(self->message, sizeof self->message, "%s%s%s: %s (%d)", call, *name ? " of " : "", name, error_name(error),
                 (int)error);
  return error == CL_MEM_OBJECT_ALLOCATION_FAILURE || error == CL_OUT_OF_HOST_MEMORY ? TGC_NO_MEMORY : TGC_DEVICE;
}

/* ---- where to run ------------------------------------------------------------------------------------------------ */

static tgc_status find_device(tgc_cl_context *self, const tgc_cl_options *options) {
  cl_platform_id platforms[PLATFORM_LIMIT];
  cl_device_id devices[DEVICE_LIMIT];
  cl_uint count = 0;
  cl_int error = clGetPlatformIDs(PLATFORM_LIMIT, platforms, &count);
  if (error == NO_PLATFORM || (error == CL_SUCCESS && count == 0)) {
    return fail(self, TGC_DEVICE, "no OpenCL platform; install the driver of the device", "");
  }
  if (error != CL_SUCCESS) return check(self, error, "clGetPlatformIDs", "");
  if (options->platform_index >= count || options->platform_index >= PLATFORM_LIMIT) {
    return fail(self, TGC_BAD_ARGUMENT, "platform_index is beyond the last OpenCL platform", "");
  }
  count = 0;
  error = clGetDeviceIDs(platforms[options->platform_index], CL_DEVICE_TYPE_ALL, DEVICE_LIMIT, devices, &count);
  if (error != CL_SUCCESS && error != CL_DEVICE_NOT_FOUND) return check(self, error, "clGetDeviceIDs", "");
  if (options->device_index >= count || options->device_index >= DEVICE_LIMIT) {
    return fail(self, TGC_BAD_ARGUMENT, "device_index is beyond the platform's last OpenCL device", "");
  }
  self->device = devices[options->device_index];
  return TGC_OK;
}

static tgc_status first_device_of_context(tgc_cl_context *self) {
  cl_device_id devices[DEVICE_LIMIT];
  tgc_status status = check(self, clGetContextInfo(self->context, CL_CONTEXT_DEVICES, sizeof devices, devices, NULL),
                         "clGetContextInfo", "");
  if (status == TGC_OK) self->device = devices[0];
  return status;
}

static tgc_status adopt_queue(tgc_cl_context *self, cl_command_queue queue) {
  tgc_status status = check(self, clRetainCommandQueue(queue), "clRetainCommandQueue", "");
  if (status != TGC_OK) return status;
  self->queue = queue;
  status = check(self, clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof self->context, &self->context, NULL),
                 "clGetCommandQueueInfo", "");
  if (status != TGC_OK) return status;
  status = check(self, clRetainContext(self->context), "clRetainContext", "");
  if (status != TGC_OK) {
    self->context = NULL; /* not ours to release */
    return status;
  }
  return check(self, clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof self->device, &self->device, NULL),
               "clGetCommandQueueInfo", "");
}

static tgc_status open_context(tgc_cl_context *self, const tgc_cl_options *options) {
  cl_int error = CL_SUCCESS;
  tgc_status status;
  if (options->context) {
    status = check(self, clRetainContext(options->context), "clRetainContext", "");
    if (status != TGC_OK) return status;
    self->context = options->context;
    self->device = options->device;
    return options->device ? TGC_OK : first_device_of_context(self);
  }
  self->device = options->device;
  if (!self->device) {
    status = find_device(self, options);
    if (status != TGC_OK) return status;
  }
  self->context = clCreateContext(NULL, 1, &self->device, NULL, NULL, &error);
  return check(self, error, "clCreateContext", "");
}

static tgc_status open_queue(tgc_cl_context *self, const tgc_cl_options *options) {
  cl_command_queue_properties properties = 0;
  cl_int error = CL_SUCCESS;
  tgc_status status;
  if (options->queue) {
    status = adopt_queue(self, options->queue);
  } else {
    status = open_context(self, options);
    if (status != TGC_OK) return status;
    self->queue = clCreateCommandQueue(self->context, self->device, options->queue_properties, &error);
    status = check(self, error, "clCreateCommandQueue", "");
  }
  if (status != TGC_OK) return status;
  status = check(self, clGetCommandQueueInfo(self->queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL),
                 "clGetCommandQueueInfo", "");
  self->out_of_order = (properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE) != 0;
  return status;
}

static tgc_status check_device(tgc_cl_context *self) {
  cl_device_fp_config doubles = 0;
  cl_ulong largest = 0;
  uint64_t needed = self->model->weights_bytes > self->model->arena_bytes ? self->model->weights_bytes : self->model->arena_bytes;
  if (self->program_data->needs & TGC_CL_NEEDS_FP64) {
    (void)clGetDeviceInfo(self->device, CL_DEVICE_DOUBLE_FP_CONFIG, sizeof doubles, &doubles, NULL);
    if (!doubles) return fail(self, TGC_DEVICE, "the model computes in double and the device has no cl_khr_fp64", self->model->name);
  }
  if (clGetDeviceInfo(self->device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof largest, &largest, NULL) == CL_SUCCESS && needed > largest) {
    return fail(self, TGC_NO_MEMORY, "the weights or the arena are larger than one allocation of the device may be", self->model->name);
  }
  return TGC_OK;
}

/* ---- program, memory, kernels ------------------------------------------------------------------------------------ */

static tgc_status build_failure(tgc_cl_context *self, tgc_status status) {
  size_t used = strlen(self->message), room = sizeof self->message - used, log_bytes = 0;
  if (used + 2 > sizeof self->message) return status;
  self->message[used] = '\n';
  if (clGetProgramBuildInfo(self->program, self->device, CL_PROGRAM_BUILD_LOG, 0, NULL, &log_bytes) != CL_SUCCESS) log_bytes = 0;
  if (log_bytes >= room) {
    (void)snprintf(self->message + used, room, "\nbuild log of %lu bytes; define TGC_CL_MESSAGE_BYTES larger to read it",
                   (unsigned long)log_bytes);
  } else if (log_bytes == 0 || clGetProgramBuildInfo(self->program, self->device, CL_PROGRAM_BUILD_LOG, room - 1,
                                                     self->message + used + 1, NULL) != CL_SUCCESS) {
    self->message[used] = '\0';
  }
  return status;
}

static tgc_status build_program(tgc_cl_context *self, const tgc_cl_options *options) {
  const tgc_cl_model *data = self->program_data;
  const char *name = self->model->name;
  cl_int error = CL_SUCCESS;
  tgc_status status;
  /* The API's parameter lacks a const that the strings have; they are only read. */
  self->program = clCreateProgramWithSource(self->context, data->source_lines, (const char **)(uintptr_t)data->source, NULL, &error);
  status = check(self, error, "clCreateProgramWithSource", name);
  if (status != TGC_OK) return status;
  error = clBuildProgram(self->program, 1, &self->device, options->build_options ? options->build_options : data->build_options,
                         NULL, NULL);
  status = check(self, error, "clBuildProgram", name);
  return status == TGC_OK ? TGC_OK : build_failure(self, status);
}

static tgc_status make_memory(tgc_cl_context *self, const void *weights) {
  const tgc_model *model = self->model;
  cl_int error = CL_SUCCESS;
  tgc_status status;
  /* OpenCL has no empty buffers; a kernel that uses none is not handed one. */
  if (model->arena_bytes) {
    self->arena = clCreateBuffer(self->context, CL_MEM_READ_WRITE, (size_t)model->arena_bytes, NULL, &error);
    status = check(self, error, "clCreateBuffer", "the arena");
    if (status != TGC_OK) return status;
  }
  if (model->weights_bytes) {
    /* The parameter is not const for the sake of CL_MEM_USE_HOST_PTR; here it is only copied from. */
    self->weights = clCreateBuffer(self->context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, (size_t)model->weights_bytes,
                                   (void *)(uintptr_t)weights, &error);
    return check(self, error, "clCreateBuffer", "the weights");
  }
  return TGC_OK;
}

static tgc_status set_argument(tgc_cl_context *self, uint32_t launch, uint32_t position, cl_mem memory, cl_int start) {
  const char *name = self->program_data->launches[launch].kernel;
  tgc_status status = check(self, clSetKernelArg(self->kernels[launch], 2 * position, sizeof memory, &memory), "clSetKernelArg", name);
  if (status != TGC_OK) return status;
  return check(self, clSetKernelArg(self->kernels[launch], 2 * position + 1, sizeof start, &start), "clSetKernelArg", name);
}

static tgc_status make_kernel(tgc_cl_context *self, uint32_t launch) {
  const tgc_cl_launch *row = &self->program_data->launches[launch];
  cl_int error = CL_SUCCESS;
  uint32_t position;
  tgc_status status;
  self->kernels[launch] = clCreateKernel(self->program, row->kernel, &error);
  status = check(self, error, "clCreateKernel", row->kernel);
  for (position = 0; status == TGC_OK && position < row->argument_count; ++position) {
    const tgc_cl_argument *argument = &self->program_data->arguments[row->first_argument + position];
    if (argument->memory == TGC_CL_ARENA) status = set_argument(self, launch, position, self->arena, argument->start);
    if (argument->memory == TGC_CL_WEIGHTS) status = set_argument(self, launch, position, self->weights, argument->start);
  }
  return status;
}

static tgc_status load(tgc_cl_context *self, const tgc_cl_options *options, const void *weights) {
  uint32_t launch;
  tgc_status status = open_queue(self, options);
  if (status == TGC_OK) status = check_device(self);
  if (status == TGC_OK) status = build_program(self, options);
  if (status == TGC_OK) status = make_memory(self, weights);
  for (launch = 0; status == TGC_OK && launch < self->program_data->launch_count; ++launch) status = make_kernel(self, launch);
  return status;
}

tgc_status tgc_cl_init(tgc_cl_context *self, const tgc_cl_model *data, cl_kernel *kernels, tgc_cl_binding *bindings,
                       const tgc_cl_options *options, const void *weights, uint64_t weights_bytes) {
  const tgc_cl_options defaults = {0};
  tgc_status status;
  if (!self) return TGC_BAD_ARGUMENT;
  memset(self, 0, sizeof *self);
  if (!data || !kernels || !bindings) return fail(self, TGC_BAD_ARGUMENT, "init was given a null pointer", "");
  if (data->model.abi_version != TGC_ABI_VERSION) return fail(self, TGC_BAD_ARGUMENT, "compiled for another tgc runtime", data->model.name);
  if (!weights && data->model.weights) {
    weights = data->model.weights;
    weights_bytes = data->model.weights_bytes;
  }
  if (weights_bytes != data->model.weights_bytes || (!weights && weights_bytes)) {
    return fail(self, TGC_BAD_WEIGHTS, "the weights are missing or not of the model's size", data->model.name);
  }
  memset(kernels, 0, data->launch_count * sizeof *kernels);
  memset(bindings, 0, (data->model.input_count + data->model.output_count) * sizeof *bindings);
  self->program_data = data;
  self->model = &data->model;
  self->kernels = kernels;
  self->bindings = bindings;
  status = load(self, options ? options : &defaults, weights);
  if (status != TGC_OK) tgc_cl_release(self);
  return status;
}

/* ---- bindings ---------------------------------------------------------------------------------------------------- */

/* Sets `memory` in every kernel argument that stands for this input or output. */
static tgc_status set_tensor(tgc_cl_context *self, uint8_t kind, uint32_t tensor, cl_mem memory, int32_t first) {
  uint32_t launch, position;
  for (launch = 0; launch < self->program_data->launch_count; ++launch) {
    const tgc_cl_launch *row = &self->program_data->launches[launch];
    for (position = 0; position < row->argument_count; ++position) {
      const tgc_cl_argument *argument = &self->program_data->arguments[row->first_argument + position];
      if (argument->memory == kind && argument->tensor == tensor) {
        tgc_status status = set_argument(self, launch, position, memory, argument->start + first);
        if (status != TGC_OK) return status;
      }
    }
  }
  return TGC_OK;
}

static tgc_cl_binding *binding_of(tgc_cl_context *self, uint8_t kind, uint32_t tensor) {
  uint32_t count = kind == TGC_CL_INPUT ? self->model->input_count : self->model->output_count;
  if (tensor >= count) return NULL;
  return &self->bindings[kind == TGC_CL_INPUT ? tensor : self->model->input_count + tensor];
}

/* Puts `memory`, a reference that now belongs to the binding, in the place of what was bound before. */
static tgc_status replace_memory(tgc_cl_context *self, uint8_t kind, uint32_t tensor, cl_mem memory, int32_t first, int32_t own) {
  tgc_cl_binding *binding = binding_of(self, kind, tensor);
  cl_mem old = binding->memory;
  tgc_status status = set_tensor(self, kind, tensor, memory, first);
  binding->memory = status == TGC_OK ? memory : NULL;
  binding->own = own;
  binding->source = NULL;
  binding->destination = NULL;
  if (old) (void)clReleaseMemObject(old);
  if (status != TGC_OK) (void)clReleaseMemObject(memory);
  return status;
}

static const tgc_tensor *tensor_of(const tgc_cl_context *self, uint8_t kind, uint32_t tensor) {
  return kind == TGC_CL_INPUT ? &self->model->inputs[tensor] : &self->model->outputs[tensor];
}

static tgc_status bind_host(tgc_cl_context *self, uint8_t kind, uint32_t tensor, const void *source, void *destination) {
  tgc_cl_binding *binding;
  if (!self || !self->model) return TGC_BAD_ARGUMENT;
  binding = binding_of(self, kind, tensor);
  if (!binding) return fail(self, TGC_BAD_ARGUMENT, "there is no such input or output", self->model->name);
  if (!source && !destination) return fail(self, TGC_BAD_ARGUMENT, "a null pointer was bound", tensor_of(self, kind, tensor)->name);
  if (!binding->own) {
    const tgc_tensor *row = tensor_of(self, kind, tensor);
    cl_int error = CL_SUCCESS;
    cl_mem memory = clCreateBuffer(self->context, CL_MEM_READ_WRITE, row->bytes ? (size_t)row->bytes : 1, NULL, &error);
    tgc_status status = check(self, error, "clCreateBuffer", row->name);
    if (status == TGC_OK) status = replace_memory(self, kind, tensor, memory, 0, 1);
    if (status != TGC_OK) return status;
  }
  binding->source = source;
  binding->destination = destination;
  return TGC_OK;
}

static tgc_status bind_memory(tgc_cl_context *self, uint8_t kind, uint32_t tensor, cl_mem memory, size_t offset) {
  const tgc_tensor *row;
  size_t element, bytes = 0;
  tgc_status status;
  if (!self || !self->model) return TGC_BAD_ARGUMENT;
  if (!binding_of(self, kind, tensor)) return fail(self, TGC_BAD_ARGUMENT, "there is no such input or output", self->model->name);
  row = tensor_of(self, kind, tensor);
  element = tgc_element_bytes(row->dtype);
  if (!memory) return fail(self, TGC_BAD_ARGUMENT, "a null cl_mem was bound", row->name);
  status = check(self, clGetMemObjectInfo(memory, CL_MEM_SIZE, sizeof bytes, &bytes, NULL), "clGetMemObjectInfo", row->name);
  if (status != TGC_OK) return status;
  if (offset % element || offset / element > (size_t)(INT32_MAX - (int32_t)(row->bytes / element))) {
    return fail(self, TGC_BAD_ARGUMENT, "the offset is not a multiple of the element's size, or too large", row->name);
  }
  if (offset > bytes || bytes - offset < row->bytes) return fail(self, TGC_BAD_ARGUMENT, "the cl_mem is too small", row->name);
  status = check(self, clRetainMemObject(memory), "clRetainMemObject", row->name);
  return status == TGC_OK ? replace_memory(self, kind, tensor, memory, (int32_t)(offset / element), 0) : status;
}

tgc_status tgc_cl_bind_input(tgc_cl_context *self, uint32_t tensor, const void *host) {
  return bind_host(self, TGC_CL_INPUT, tensor, host, NULL);
}

tgc_status tgc_cl_bind_output(tgc_cl_context *self, uint32_t tensor, void *host) {
  return bind_host(self, TGC_CL_OUTPUT, tensor, NULL, host);
}

tgc_status tgc_cl_bind_input_memory(tgc_cl_context *self, uint32_t tensor, cl_mem memory, size_t offset) {
  return bind_memory(self, TGC_CL_INPUT, tensor, memory, offset);
}

tgc_status tgc_cl_bind_output_memory(tgc_cl_context *self, uint32_t tensor, cl_mem memory, size_t offset) {
  return bind_memory(self, TGC_CL_OUTPUT, tensor, memory, offset);
}

/* ---- a frame ----------------------------------------------------------------------------------------------------- */

/* On a queue that is out of order, what comes next waits for what came before. */
static tgc_status order(tgc_cl_context *self) {
  if (!self->out_of_order) return TGC_OK;
  return check(self, clEnqueueBarrierWithWaitList(self->queue, 0, NULL, NULL), "clEnqueueBarrierWithWaitList", "");
}

static tgc_status enqueue_inputs(tgc_cl_context *self) {
  uint32_t tensor;
  for (tensor = 0; tensor < self->model->input_count; ++tensor) {
    const tgc_cl_binding *binding = &self->bindings[tensor];
    const tgc_tensor *row = &self->model->inputs[tensor];
    if (binding->source && row->bytes) {
      tgc_status status = check(self, clEnqueueWriteBuffer(self->queue, binding->memory, CL_FALSE, 0, (size_t)row->bytes, binding->source,
                                                        0, NULL, NULL), "clEnqueueWriteBuffer", row->name);
      if (status != TGC_OK) return status;
    }
  }
  return TGC_OK;
}

static tgc_status enqueue_kernels(tgc_cl_context *self) {
  uint32_t launch;
  for (launch = 0; launch < self->program_data->launch_count; ++launch) {
    const tgc_cl_launch *row = &self->program_data->launches[launch];
    tgc_status status = order(self);
    if (status != TGC_OK) return status;
    status = check(self, clEnqueueNDRangeKernel(self->queue, self->kernels[launch], 3, NULL, row->global, row->local, 0, NULL, NULL),
                   "clEnqueueNDRangeKernel", row->kernel);
    if (status != TGC_OK) return status;
  }
  return order(self);
}

static tgc_status enqueue_outputs(tgc_cl_context *self) {
  uint32_t tensor;
  for (tensor = 0; tensor < self->model->output_count; ++tensor) {
    const tgc_cl_binding *binding = &self->bindings[self->model->input_count + tensor];
    const tgc_tensor *row = &self->model->outputs[tensor];
    if (binding->destination && row->bytes) {
      tgc_status status = check(self, clEnqueueReadBuffer(self->queue, binding->memory, CL_FALSE, 0, (size_t)row->bytes,
                                                       binding->destination, 0, NULL, NULL), "clEnqueueReadBuffer", row->name);
      if (status != TGC_OK) return status;
    }
  }
  return TGC_OK;
}

static tgc_status enqueue_frame(tgc_cl_context *self, cl_uint wait_count, const cl_event *wait_list, cl_event *event) {
  tgc_status status = TGC_OK;
  if (wait_count) {
    status = check(self, clEnqueueBarrierWithWaitList(self->queue, wait_count, wait_list, NULL), "clEnqueueBarrierWithWaitList", "");
  }
  if (status == TGC_OK) status = order(self); /* after whatever the caller enqueued before */
  if (status == TGC_OK) status = enqueue_inputs(self);
  if (status == TGC_OK) status = enqueue_kernels(self);
  if (status == TGC_OK) status = enqueue_outputs(self);
  if (status == TGC_OK) status = order(self);
  if (status == TGC_OK && event) {
    status = check(self, clEnqueueMarkerWithWaitList(self->queue, 0, NULL, event), "clEnqueueMarkerWithWaitList", "");
  }
  return status == TGC_OK ? check(self, clFlush(self->queue), "clFlush", "") : status;
}

static tgc_status all_bound(tgc_cl_context *self) {
  uint32_t slot, inputs = self->model->input_count;
  for (slot = 0; slot < inputs + self->model->output_count; ++slot) {
    const tgc_cl_binding *binding = &self->bindings[slot];
    if (!binding->memory || (binding->own && !binding->source && !binding->destination)) {
      return fail(self, TGC_BAD_ARGUMENT, slot < inputs ? "this input is not bound" : "this output is not bound",
                  slot < inputs ? self->model->inputs[slot].name : self->model->outputs[slot - inputs].name);
    }
  }
  return TGC_OK;
}

tgc_status tgc_cl_enqueue(tgc_cl_context *self, cl_uint wait_count, const cl_event *wait_list, cl_event *event) {
  tgc_status status;
  if (!self || !self->model) return TGC_BAD_ARGUMENT;
  if (event) *event = NULL;
  if ((wait_count != 0) != (wait_list != NULL)) return fail(self, TGC_BAD_ARGUMENT, "wait_count and wait_list contradict each other", "");
  status = all_bound(self);
  if (status != TGC_OK) return status;
  status = enqueue_frame(self, wait_count, wait_list, event);
  if (status == TGC_OK) return TGC_OK;
  (void)clFinish(self->queue); /* the caller's memory is free again */
  if (event && *event) {
    (void)clReleaseEvent(*event);
    *event = NULL;
  }
  return status;
}

tgc_status tgc_cl_run(tgc_cl_context *self) {
  cl_event event = NULL;
  tgc_status status = tgc_cl_enqueue(self, 0, NULL, &event);
  if (status != TGC_OK) return status;
  status = check(self, clWaitForEvents(1, &event), "clWaitForEvents", self->model->name);
  (void)clReleaseEvent(event);
  return status;
}

const char *tgc_cl_message(const tgc_cl_context *self) { return self ? self->message : ""; }

void tgc_cl_release(tgc_cl_context *self) {
  uint32_t slot;
  if (!self) return;
  if (self->queue) (void)clFinish(self->queue);
  if (self->model) {
    for (slot = 0; slot < self->program_data->launch_count; ++slot) {
      if (self->kernels[slot]) (void)clReleaseKernel(self->kernels[slot]);
    }
    for (slot = 0; slot < self->model->input_count + self->model->output_count; ++slot) {
      if (self->bindings[slot].memory) (void)clReleaseMemObject(self->bindings[slot].memory);
    }
  }
  if (self->program) (void)clReleaseProgram(self->program);
  if (self->arena) (void)clReleaseMemObject(self->arena);
  if (self->weights) (void)clReleaseMemObject(self->weights);
  if (self->queue) (void)clReleaseCommandQueue(self->queue);
  if (self->context) (void)clReleaseContext(self->context);
  self->model = NULL;
  self->context = NULL;
  self->device = NULL;
  self->queue = NULL;
  self->program = NULL;
  self->weights = NULL;
  self->arena = NULL;
}
