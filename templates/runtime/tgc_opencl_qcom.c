/* tgc_opencl_qcom.c - Qualcomm's extensions, used where a device lists them: hints for a new context, and recordings of a frame. */
#include "tgc_opencl_qcom.h"

#include <string.h>

#include "tgc_opencl_internal.h"

static int level_is_valid(int32_t level) { return level >= TGC_CL_HINT_HIGH && level <= TGC_CL_HINT_LOW; }

void tgc_cl_hints(tgc_cl_context *self, const tgc_cl_options *options, cl_context_properties *properties) {
  if (level_is_valid(options->performance_hint) && tgc_cl_has_extension(self, "cl_qcom_perf_hint")) {
    *properties++ = TGC_QCOM_CONTEXT_PERF_HINT;
    *properties++ = TGC_QCOM_PERF_HINT_HIGH + options->performance_hint - TGC_CL_HINT_HIGH;
  }
  if (level_is_valid(options->priority_hint) && tgc_cl_has_extension(self, "cl_qcom_priority_hint")) {
    *properties++ = TGC_QCOM_CONTEXT_PRIORITY_HINT;
    *properties++ = TGC_QCOM_PRIORITY_HINT_HIGH + options->priority_hint - TGC_CL_HINT_HIGH;
  }
  *properties = 0;
}

/* ---- recordings -------------------------------------------------------------------------------------------------- */

/* An extension's function; null where the driver has none. C has no cast from an object pointer to that of a function. */
static void (*address(cl_platform_id platform, const char *name))(void) {
  void *found = clGetExtensionFunctionAddressForPlatform(platform, name);
  void (*function)(void) = NULL;
  memcpy(&function, &found, sizeof function);
  return function;
}

tgc_status tgc_cl_find_recorder(tgc_cl_context *self) {
  tgc_cl_recorder *recorder = &self->recorder;
  cl_platform_id platform = NULL;
  cl_int error = CL_SUCCESS;
  if (!self->program_data->launch_count || !tgc_cl_has_extension(self, "cl_qcom_recordable_queues")) return TGC_OK;
  if (clGetDeviceInfo(self->device, CL_DEVICE_PLATFORM, sizeof platform, &platform, NULL) != CL_SUCCESS) return TGC_OK;
  recorder->begin = address(platform, "clNewRecordingQCOM");
  recorder->end = address(platform, "clEndRecordingQCOM");
  recorder->enqueue = address(platform, "clEnqueueRecordingQCOM");
  recorder->release = address(platform, "clReleaseRecordingQCOM");
  if (!recorder->begin || !recorder->end || !recorder->enqueue || !recorder->release) return TGC_OK;
  recorder->queue = clCreateCommandQueue(self->context, self->device, TGC_QCOM_QUEUE_RECORDABLE, &error);
  if (error != CL_SUCCESS) recorder->queue = NULL; /* do without: a frame is the same kernels either way */
  return TGC_OK;
}

static void release_recording(const tgc_cl_context *self, void *recording) {
  (void)((tgc_qcom_release_recording)self->recorder.release)(recording);
}

/* Records the kernels with the arguments that they have now. */
static tgc_status record(tgc_cl_context *self, uint32_t entry, void **made) {
  cl_int error = CL_SUCCESS;
  void *recording = ((tgc_qcom_new_recording)self->recorder.begin)(self->recorder.queue, &error);
  tgc_status status = tgc_cl_check(self, error, "clNewRecordingQCOM", self->model->name);
  if (status != TGC_OK) return status;
  status = tgc_cl_enqueue_kernels(self, entry, self->recorder.queue);
  error = ((tgc_qcom_end_recording)self->recorder.end)(recording);
  if (status == TGC_OK) status = tgc_cl_check(self, error, "clEndRecordingQCOM", self->model->name);
  if (status != TGC_OK) {
    release_recording(self, recording);
    return status;
  }
  *made = recording;
  return TGC_OK;
}

tgc_status tgc_cl_replay(tgc_cl_context *self, uint32_t entry) {
  void **recording = &self->arrays.recordings[self->slot * self->model->entry_count + entry];
  if (!*recording) {
    const tgc_status status = record(self, entry, recording);
    if (status != TGC_OK) return status;
  }
  return tgc_cl_check(self, ((tgc_qcom_enqueue_recording)self->recorder.enqueue)(self->queue, *recording, 0, NULL, 0, NULL, 0, NULL, 0,
                                                                                NULL, 0, NULL, NULL),
                      "clEnqueueRecordingQCOM", self->model->name);
}

void tgc_cl_forget_recordings(tgc_cl_context *self) {
  const uint32_t count = self->arrays.slot_count * self->model->entry_count;
  uint32_t i;
  int finished = 0;
  for (i = 0; i < count; ++i) {
    if (!self->arrays.recordings[i]) continue;
    if (!finished) (void)clFinish(self->queue); /* it may still be running */
    finished = 1;
    release_recording(self, self->arrays.recordings[i]);
    self->arrays.recordings[i] = NULL;
  }
}
