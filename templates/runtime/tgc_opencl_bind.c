/* tgc_opencl_bind.c - inputs and outputs: what each is bound to in each slot, and the kernel arguments that follow. */
#include <string.h>

#include "tgc_opencl_internal.h"

uint32_t tgc_cl_tensor_count(const tgc_cl_context *self) { return self->model->input_count + self->model->output_count; }

const tgc_tensor *tgc_cl_tensor(const tgc_cl_context *self, uint32_t number) {
  const uint32_t inputs = self->model->input_count;
  return number < inputs ? &self->model->inputs[number] : &self->model->outputs[number - inputs];
}

static tgc_cl_binding *binding_in(const tgc_cl_context *self, uint32_t slot, uint32_t number) {
  return &self->arrays.bindings[slot * tgc_cl_tensor_count(self) + number];
}

tgc_cl_binding *tgc_cl_bound(const tgc_cl_context *self, uint32_t number) {
  tgc_cl_binding *own = binding_in(self, self->slot, number);
  return own->way != TGC_CL_UNBOUND ? own : binding_in(self, 0, number);
}

/* What the kernels' arguments are now. */
static tgc_cl_binding *applied(const tgc_cl_context *self, uint32_t number) { return binding_in(self, self->arrays.slot_count, number); }

tgc_status tgc_cl_select(tgc_cl_context *self, uint32_t slot) {
  if (!self || !self->model) return TGC_BAD_ARGUMENT;
  if (slot >= self->arrays.slot_count) {
    return tgc_cl_fail(self, TGC_BAD_ARGUMENT, "there are not so many slots; define TGC_CL_SLOTS larger", self->model->name);
  }
  self->slot = slot;
  return TGC_OK;
}

/* ---- kernel arguments -------------------------------------------------------------------------------------------- */

/* Sets `memory` in every kernel argument that stands for this input or output. */
static tgc_status set_tensor(tgc_cl_context *self, uint32_t number, cl_mem memory, int32_t first) {
  const uint32_t inputs = self->model->input_count, tensor = number < inputs ? number : number - inputs;
  const uint8_t kind = number < inputs ? TGC_CL_INPUT : TGC_CL_OUTPUT;
  uint32_t launch, position;
  for (launch = 0; launch < self->program_data->launch_count; ++launch) {
    const tgc_cl_launch *row = &self->program_data->launches[launch];
    for (position = 0; position < row->argument_count; ++position) {
      const tgc_cl_argument *argument = &self->program_data->arguments[row->first_argument + position];
      if (argument->memory == kind && argument->tensor == tensor) {
        const tgc_status status = tgc_cl_set_argument(self, launch, position, memory, argument->start + first);
        if (status != TGC_OK) return status;
      }
    }
  }
  return TGC_OK;
}

uint32_t tgc_cl_entry_count(const tgc_cl_context *self, uint32_t entry) {
  return self->model->entries[entry].input_count + self->model->entries[entry].output_count;
}

uint32_t tgc_cl_entry_tensor(const tgc_cl_context *self, uint32_t entry, uint32_t position) {
  const tgc_entry *row = &self->model->entries[entry];
  return position < row->input_count ? row->inputs[position] : self->model->input_count + row->outputs[position - row->input_count];
}

int32_t tgc_cl_first_element(const tgc_cl_context *self, const tgc_cl_argument *argument) {
  if (argument->memory == TGC_CL_INPUT) return applied(self, argument->tensor)->first;
  if (argument->memory == TGC_CL_OUTPUT) return applied(self, self->model->input_count + argument->tensor)->first;
  return 0;
}

tgc_status tgc_cl_apply_slot(tgc_cl_context *self, uint32_t entry) {
  const uint32_t count = tgc_cl_entry_count(self, entry);
  uint32_t position;
  for (position = 0; position < count; ++position) {
    const uint32_t number = tgc_cl_entry_tensor(self, entry, position);
    const tgc_cl_binding *wanted = tgc_cl_bound(self, number);
    tgc_cl_binding *now = applied(self, number);
    tgc_status status;
    if (wanted->way == TGC_CL_UNBOUND) {
      return tgc_cl_fail(self, TGC_BAD_ARGUMENT, number < self->model->input_count ? "this input is not bound" : "this output is not bound",
                         tgc_cl_tensor(self, number)->name);
    }
    if (now->way != TGC_CL_UNBOUND && now->memory == wanted->memory && now->first == wanted->first) continue;
    now->way = TGC_CL_UNBOUND;
    status = set_tensor(self, number, wanted->memory, wanted->first);
    if (status != TGC_OK) return status;
    *now = *wanted;
  }
  return TGC_OK;
}

/* ---- bindings ---------------------------------------------------------------------------------------------------- */

/* Takes back what the host gave to the device, so that its memory is the host's again when the binding is gone. */
static void drop(tgc_cl_context *self, uint32_t number, tgc_cl_binding *binding) {
  const tgc_cl_binding none = {0};
  if (binding->memory && applied(self, number)->memory == binding->memory) *applied(self, number) = none;
  if (binding->held) {
    (void)clEnqueueUnmapMemObject(self->queue, binding->memory, binding->host, 0, NULL, NULL);
    (void)clFinish(self->queue);
  }
  if (binding->memory) (void)clReleaseMemObject(binding->memory);
  *binding = none;
}

void tgc_cl_unbind_all(tgc_cl_context *self) {
  const uint32_t count = tgc_cl_tensor_count(self);
  uint32_t slot, number;
  tgc_cl_forget_recordings(self);
  for (slot = 0; slot < self->arrays.slot_count; ++slot) {
    for (number = 0; number < count; ++number) drop(self, number, binding_in(self, slot, number));
  }
}

/* Puts `fresh`, whose memory now belongs to the binding, in the place of what was bound before. */
static void replace(tgc_cl_context *self, uint32_t number, tgc_cl_binding fresh) {
  tgc_cl_binding *binding = binding_in(self, self->slot, number);
  tgc_cl_forget_recordings(self);
  drop(self, number, binding);
  *binding = fresh;
}

/* Checks what every binding has to; `number` counts inputs first. */
static tgc_status begin(tgc_cl_context *self, int input, uint32_t tensor, const void *data, uint32_t *number) {
  if (!self || !self->model) return TGC_BAD_ARGUMENT;
  if (tensor >= (input ? self->model->input_count : self->model->output_count)) {
    return tgc_cl_fail(self, TGC_BAD_ARGUMENT, "there is no such input or output", self->model->name);
  }
  *number = input ? tensor : self->model->input_count + tensor;
  return data ? TGC_OK : tgc_cl_fail(self, TGC_BAD_ARGUMENT, "a null pointer was bound", tgc_cl_tensor(self, *number)->name);
}

static size_t room(const tgc_tensor *tensor) { return tensor->bytes ? (size_t)tensor->bytes : 1; }

static tgc_status bind_copied(tgc_cl_context *self, int input, uint32_t tensor, void *host) {
  tgc_cl_binding fresh = {NULL, host, 0, TGC_CL_COPIED, 0};
  tgc_cl_binding *binding;
  uint32_t number;
  cl_int error = CL_SUCCESS;
  tgc_status status = begin(self, input, tensor, host, &number);
  if (status != TGC_OK) return status;
  binding = binding_in(self, self->slot, number);
  if (binding->way == TGC_CL_COPIED) {
    binding->host = host;
    return TGC_OK;
  }
  fresh.memory = clCreateBuffer(self->context, CL_MEM_READ_WRITE, room(tgc_cl_tensor(self, number)), NULL, &error);
  status = tgc_cl_check(self, error, "clCreateBuffer", tgc_cl_tensor(self, number)->name);
  if (status == TGC_OK) replace(self, number, fresh);
  return status;
}

/* Between frames the host has the memory mapped; a frame unmaps it first and maps it again at its end. */
static tgc_status bind_mapped(tgc_cl_context *self, int input, uint32_t tensor, void *host) {
  tgc_cl_binding fresh = {NULL, host, 0, TGC_CL_MAPPED, 1};
  const tgc_tensor *row;
  uint32_t number;
  cl_int error = CL_SUCCESS;
  tgc_status status = begin(self, input, tensor, host, &number);
  if (status != TGC_OK) return status;
  row = tgc_cl_tensor(self, number);
  if (!row->bytes || (uintptr_t)host % tgc_element_bytes(row->dtype)) {
    return tgc_cl_fail(self, TGC_BAD_ARGUMENT, "an empty or misaligned tensor cannot be mapped", row->name);
  }
  fresh.memory = clCreateBuffer(self->context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, room(row), host, &error);
  status = tgc_cl_check(self, error, "clCreateBuffer", row->name);
  if (status != TGC_OK) return status;
  (void)clEnqueueMapBuffer(self->queue, fresh.memory, CL_TRUE, input ? CL_MAP_WRITE : CL_MAP_READ, 0, room(row), 0, NULL, NULL, &error);
  status = tgc_cl_check(self, error, "clEnqueueMapBuffer", row->name);
  if (status == TGC_OK) {
    replace(self, number, fresh);
  } else {
    (void)clReleaseMemObject(fresh.memory);
  }
  return status;
}

static tgc_status bind_memory(tgc_cl_context *self, int input, uint32_t tensor, cl_mem memory, size_t offset) {
  tgc_cl_binding fresh = {memory, NULL, 0, TGC_CL_DEVICE, 0};
  const tgc_tensor *row;
  uint32_t number;
  size_t element, bytes = 0;
  tgc_status status = begin(self, input, tensor, memory, &number);
  if (status != TGC_OK) return status;
  row = tgc_cl_tensor(self, number);
  element = tgc_element_bytes(row->dtype);
  status = tgc_cl_check(self, clGetMemObjectInfo(memory, CL_MEM_SIZE, sizeof bytes, &bytes, NULL), "clGetMemObjectInfo", row->name);
  if (status != TGC_OK) return status;
  if (offset % element || offset / element > (size_t)(INT32_MAX - (int32_t)(row->bytes / element))) {
    return tgc_cl_fail(self, TGC_BAD_ARGUMENT, "the offset is not a multiple of the element's size, or too large", row->name);
  }
  if (offset > bytes || bytes - offset < row->bytes) return tgc_cl_fail(self, TGC_BAD_ARGUMENT, "the cl_mem is too small", row->name);
  fresh.first = (int32_t)(offset / element);
  status = tgc_cl_check(self, clRetainMemObject(memory), "clRetainMemObject", row->name);
  if (status == TGC_OK) replace(self, number, fresh);
  return status;
}

tgc_status tgc_cl_bind_input(tgc_cl_context *self, uint32_t tensor, const void *host) {
  return bind_copied(self, 1, tensor, (void *)(uintptr_t)host); /* only read from */
}

tgc_status tgc_cl_bind_output(tgc_cl_context *self, uint32_t tensor, void *host) { return bind_copied(self, 0, tensor, host); }

tgc_status tgc_cl_map_input(tgc_cl_context *self, uint32_t tensor, void *host) { return bind_mapped(self, 1, tensor, host); }

tgc_status tgc_cl_map_output(tgc_cl_context *self, uint32_t tensor, void *host) { return bind_mapped(self, 0, tensor, host); }

tgc_status tgc_cl_bind_input_memory(tgc_cl_context *self, uint32_t tensor, cl_mem memory, size_t offset) {
  return bind_memory(self, 1, tensor, memory, offset);
}

tgc_status tgc_cl_bind_output_memory(tgc_cl_context *self, uint32_t tensor, cl_mem memory, size_t offset) {
  return bind_memory(self, 0, tensor, memory, offset);
}
