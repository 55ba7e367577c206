/* tgc_opencl_selftest.c - see tgc_opencl_selftest.h. */
#include "tgc_opencl_selftest.h"

#include <stdio.h>

#include "tgc_opencl_internal.h"

static tgc_status bind_all(tgc_cl_context *self, const void *const *inputs, void *const *outputs) {
  tgc_status status = TGC_OK;
  uint32_t i;
  for (i = 0; status == TGC_OK && i < self->model->input_count; ++i) status = tgc_cl_bind_input(self, i, inputs[i]);
  for (i = 0; status == TGC_OK && i < self->model->output_count; ++i) status = tgc_cl_bind_output(self, i, outputs[i]);
  return status;
}

/* Fills the arena and the device's outputs with 0xff, so that what an earlier frame left there is not taken for a result. */
static tgc_status spoil(tgc_cl_context *self, void *const *outputs) {
  const cl_uchar pattern = 0xff;
  tgc_status status = TGC_OK;
  uint32_t i;
  if (self->arena) {
    status = tgc_cl_check(self, clEnqueueFillBuffer(self->queue, self->arena, &pattern, 1, 0, (size_t)self->model->arena_bytes, 0, NULL, NULL),
                          "clEnqueueFillBuffer", "the arena");
  }
  for (i = 0; status == TGC_OK && i < self->model->output_count; ++i) {
    const size_t bytes = (size_t)self->model->outputs[i].bytes;
    cl_mem memory = tgc_cl_bound(self, self->model->input_count + i)->memory;
    if (bytes) {
      status = tgc_cl_check(self, clEnqueueWriteBuffer(self->queue, memory, CL_TRUE, 0, bytes, outputs[i], 0, NULL, NULL),
                            "clEnqueueWriteBuffer", self->model->outputs[i].name);
    }
  }
  if (status == TGC_OK) status = tgc_cl_reset(self);
  return status == TGC_OK ? tgc_cl_check(self, clFinish(self->queue), "clFinish", "") : status;
}

static tgc_status compare(tgc_cl_context *self, const tgc_golden *golden, void *const *outputs, tgc_selftest_result *result) {
  tgc_selftest_result found;
  const tgc_status status = tgc_selftest_compare(self->model, golden, outputs, &found);
  if (status == TGC_OK) return TGC_OK;
  (void)snprintf(self->message, sizeof self->message, "self-test: element %lu of output %s is %g and should be %g",
                 (unsigned long)found.element, self->model->outputs[found.output].name, found.found, found.expected);
  if (result) *result = found;
  return status;
}

tgc_status tgc_cl_selftest(tgc_cl_context *self, const tgc_golden *golden, void *scratch, uint64_t scratch_bytes,
                           const void **inputs, void **outputs, tgc_selftest_result *result) {
  tgc_status status;
  if (!self || !self->model) return TGC_BAD_ARGUMENT;
  status = tgc_selftest_prepare(self->model, golden, scratch, scratch_bytes, inputs, outputs);
  if (status != TGC_OK) {
    return tgc_cl_fail(self, status, "the scratch memory of the self-test is too small or misaligned", self->model->name);
  }
  tgc_cl_unbind_all(self); /* the caller's cl_mem is not ours to write to */
  self->slot = 0;
  status = bind_all(self, inputs, outputs);
  if (status == TGC_OK) status = spoil(self, outputs);
  if (status == TGC_OK) status = tgc_cl_run(self, 0);
  if (status == TGC_OK) status = compare(self, golden, outputs, result);
  tgc_cl_unbind_all(self);
  return status == TGC_OK ? tgc_cl_reset(self) : status;
}
