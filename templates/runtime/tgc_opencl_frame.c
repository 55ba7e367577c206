/* tgc_opencl_frame.c - a frame: what the host hands over, the kernels in order, what the host gets back. */
#include "tgc_opencl_internal.h"

/* On a queue that is out of order, what comes next waits for what came before. */
static tgc_status order(tgc_cl_context *self) {
  if (!self->out_of_order) return TGC_OK;
  return tgc_cl_check(self, clEnqueueBarrierWithWaitList(self->queue, 0, NULL, NULL), "clEnqueueBarrierWithWaitList", "");
}

/* Copies inputs that are copied, and hands over all that is mapped. */
static tgc_status give(tgc_cl_context *self, uint32_t entry) {
  const uint32_t count = tgc_cl_entry_count(self, entry), inputs = self->model->input_count;
  tgc_status status = TGC_OK;
  uint32_t position;
  for (position = 0; status == TGC_OK && position < count; ++position) {
    const uint32_t number = tgc_cl_entry_tensor(self, entry, position);
    tgc_cl_binding *binding = tgc_cl_bound(self, number);
    const tgc_tensor *row = tgc_cl_tensor(self, number);
    if (binding->held) {
      status = tgc_cl_check(self, clEnqueueUnmapMemObject(self->queue, binding->memory, binding->host, 0, NULL, NULL),
                            "clEnqueueUnmapMemObject", row->name);
      binding->held = status != TGC_OK;
    } else if (binding->way == TGC_CL_COPIED && number < inputs && row->bytes) {
      status = tgc_cl_check(self, clEnqueueWriteBuffer(self->queue, binding->memory, CL_FALSE, 0, (size_t)row->bytes, binding->host, 0,
                                                       NULL, NULL), "clEnqueueWriteBuffer", row->name);
    }
  }
  return status;
}

/* Copies outputs that are copied, and takes back all that is mapped. */
static tgc_status take(tgc_cl_context *self, uint32_t entry) {
  const uint32_t count = tgc_cl_entry_count(self, entry), inputs = self->model->input_count;
  tgc_status status = TGC_OK;
  uint32_t position;
  for (position = 0; status == TGC_OK && position < count; ++position) {
    const uint32_t number = tgc_cl_entry_tensor(self, entry, position);
    tgc_cl_binding *binding = tgc_cl_bound(self, number);
    const tgc_tensor *row = tgc_cl_tensor(self, number);
    cl_int error = CL_SUCCESS;
    if (binding->way == TGC_CL_MAPPED && !binding->held) {
      (void)clEnqueueMapBuffer(self->queue, binding->memory, CL_FALSE, number < inputs ? CL_MAP_WRITE : CL_MAP_READ, 0, (size_t)row->bytes,
                               0, NULL, NULL, &error);
      status = tgc_cl_check(self, error, "clEnqueueMapBuffer", row->name);
      binding->held = status == TGC_OK;
    } else if (binding->way == TGC_CL_COPIED && number >= inputs && row->bytes) {
      status = tgc_cl_check(self, clEnqueueReadBuffer(self->queue, binding->memory, CL_FALSE, 0, (size_t)row->bytes, binding->host, 0,
                                                      NULL, NULL), "clEnqueueReadBuffer", row->name);
    }
  }
  return status;
}

/* Moves on the arguments of a launch that is inside of loops. at: the iteration of each loop around. */
static tgc_status move_arguments(tgc_cl_context *self, uint32_t launch, const int32_t *at) {
  const tgc_cl_model *data = self->program_data;
  const tgc_cl_launch *row = &data->launches[launch];
  uint32_t position, level;
  for (position = 0; position < row->argument_count; ++position) {
    const tgc_cl_argument *argument = &data->arguments[row->first_argument + position];
    cl_int start = argument->start + tgc_cl_first_element(self, argument), error;
    if (!argument->step_count) continue;
    for (level = 0; level < argument->step_count; ++level) start += at[level] * data->steps[argument->first_step + level];
    error = clSetKernelArg(self->arrays.kernels[launch], 2 * position + 1, sizeof start, &start);
    if (error != CL_SUCCESS) return tgc_cl_check(self, error, "clSetKernelArg", row->kernel);
  }
  return TGC_OK;
}

static tgc_status enqueue_kernel(tgc_cl_context *self, cl_command_queue queue, uint32_t launch, uint32_t depth, const int32_t *at) {
  const tgc_cl_launch *row = &self->program_data->launches[launch];
  tgc_status status = order(self);
  if (status == TGC_OK && depth) status = move_arguments(self, launch, at);
  if (status != TGC_OK) return status;
  return tgc_cl_check(self, clEnqueueNDRangeKernel(queue, self->arrays.kernels[launch], 3, NULL, row->global, row->local, 0, NULL, NULL),
                      "clEnqueueNDRangeKernel", row->kernel);
}

/* Launches `first` to `end` - 1, loops and all; those from `repeat` on are not begun yet. It calls itself TGC_CL_DEPTH deep at most. */
static tgc_status enqueue_range(tgc_cl_context *self, cl_command_queue queue, uint32_t first, uint32_t end, uint32_t repeat,
                                uint32_t depth, int32_t *at) {
  const tgc_cl_model *data = self->program_data;
  tgc_status status = TGC_OK;
  while (status == TGC_OK && first < end) {
    while (repeat < data->repeat_count && data->repeats[repeat].first < first) ++repeat;
    if (repeat == data->repeat_count || data->repeats[repeat].first != first) {
      status = enqueue_kernel(self, queue, first++, depth, at);
      continue;
    }
    for (at[depth] = 0; status == TGC_OK && at[depth] < data->repeats[repeat].count; ++at[depth]) {
      status = enqueue_range(self, queue, first, data->repeats[repeat].end, repeat + 1, depth + 1, at);
    }
    first = data->repeats[repeat++].end;
  }
  return status;
}

tgc_status tgc_cl_enqueue_kernels(tgc_cl_context *self, uint32_t entry, cl_command_queue queue) {
  const uint32_t *bounds = &self->program_data->entry_launches[entry];
  int32_t at[TGC_CL_DEPTH + 1];
  const tgc_status status = enqueue_range(self, queue, bounds[0], bounds[1], 0, 0, at);
  return status == TGC_OK ? order(self) : status;
}

static tgc_status enqueue_frame(tgc_cl_context *self, uint32_t entry, cl_uint wait_count, const cl_event *wait_list, cl_event *event) {
  tgc_status status = TGC_OK;
  if (wait_count) {
    status = tgc_cl_check(self, clEnqueueBarrierWithWaitList(self->queue, wait_count, wait_list, NULL), "clEnqueueBarrierWithWaitList", "");
  }
  if (status == TGC_OK) status = order(self); /* after whatever the caller enqueued before */
  if (status == TGC_OK) status = give(self, entry);
  if (status == TGC_OK) status = self->recorder.queue ? tgc_cl_replay(self, entry) : tgc_cl_enqueue_kernels(self, entry, self->queue);
  if (status == TGC_OK) status = take(self, entry);
  if (status == TGC_OK) status = order(self);
  if (status == TGC_OK && event) {
    status = tgc_cl_check(self, clEnqueueMarkerWithWaitList(self->queue, 0, NULL, event), "clEnqueueMarkerWithWaitList", "");
  }
  return status == TGC_OK ? tgc_cl_check(self, clFlush(self->queue), "clFlush", "") : status;
}

tgc_status tgc_cl_enqueue(tgc_cl_context *self, uint32_t entry, cl_uint wait_count, const cl_event *wait_list, cl_event *event) {
  tgc_status status;
  if (!self || !self->model) return TGC_BAD_ARGUMENT;
  if (event) *event = NULL;
  if ((wait_count != 0) != (wait_list != NULL)) {
    return tgc_cl_fail(self, TGC_BAD_ARGUMENT, "wait_count and wait_list contradict each other", "");
  }
  if (entry >= self->model->entry_count) return tgc_cl_fail(self, TGC_BAD_ARGUMENT, "there is no such entry point", self->model->name);
  status = tgc_cl_apply_slot(self, entry);
  if (status != TGC_OK) return status;
  status = enqueue_frame(self, entry, wait_count, wait_list, event);
  if (status == TGC_OK) return TGC_OK;
  (void)clFinish(self->queue); /* the caller's memory is free again */
  if (event && *event) {
    (void)clReleaseEvent(*event);
    *event = NULL;
  }
  return status;
}

tgc_status tgc_cl_run(tgc_cl_context *self, uint32_t entry) {
  cl_event event = NULL;
  tgc_status status = tgc_cl_enqueue(self, entry, 0, NULL, &event);
  if (status != TGC_OK) return status;
  status = tgc_cl_check(self, clWaitForEvents(1, &event), "clWaitForEvents", self->model->name);
  (void)clReleaseEvent(event);
  return status;
}

tgc_status tgc_cl_reset(tgc_cl_context *self) {
  const cl_uchar zero = 0;
  tgc_status status;
  if (!self || !self->model) return TGC_BAD_ARGUMENT;
  if (!self->arena) return TGC_OK;
  status = order(self);
  if (status != TGC_OK) return status;
  status = tgc_cl_check(self, clEnqueueFillBuffer(self->queue, self->arena, &zero, 1, 0, (size_t)self->model->arena_bytes, 0, NULL, NULL),
                        "clEnqueueFillBuffer", "the arena");
  return status == TGC_OK ? order(self) : status;
}
