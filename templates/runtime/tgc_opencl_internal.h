/* tgc_opencl_internal.h - what the files of the OpenCL runtime share. Not for applications. */
#ifndef TGC_OPENCL_INTERNAL_H
#define TGC_OPENCL_INTERNAL_H

#include "tgc_opencl.h"

/* ---- tgc_opencl.c: messages */

/* Leaves a message "what: name" and answers `status`. */
tgc_status tgc_cl_fail(tgc_cl_context *self, tgc_status status, const char *what, const char *name);
/* TGC_OK where `error` is CL_SUCCESS; else the message names the call and what it was called for. */
tgc_status tgc_cl_check(tgc_cl_context *self, cl_int error, const char *call, const char *name);

/* ---- tgc_opencl_device.c: where to run */

/* Fills in context, device and queue from the caller's options. */
tgc_status tgc_cl_open(tgc_cl_context *self, const tgc_cl_options *options);
/* TGC_OK where the device has what the model needs. */
tgc_status tgc_cl_check_device(tgc_cl_context *self);
/* Whether the device lists an extension. Overwrites the message. */
int tgc_cl_has_extension(tgc_cl_context *self, const char *name);

/* ---- tgc_opencl_program.c: the program, from a binary or from source */

tgc_status tgc_cl_make_program(tgc_cl_context *self, const tgc_cl_options *options);

/* ---- tgc_opencl_memory.c: weights, arena, images, kernels and their arguments */

tgc_status tgc_cl_make_memory(tgc_cl_context *self, const void *weights);
tgc_status tgc_cl_make_kernels(tgc_cl_context *self);
tgc_status tgc_cl_set_argument(tgc_cl_context *self, uint32_t launch, uint32_t position, cl_mem memory, cl_int start);

/* ---- tgc_opencl_bind.c: inputs and outputs */

/* How many inputs and outputs there are: the length of a row of bindings. */
uint32_t tgc_cl_tensor_count(const tgc_cl_context *self);
/* What tensor `number`, inputs first, is bound to in the selected slot, or else in slot 0. */
tgc_cl_binding *tgc_cl_bound(const tgc_cl_context *self, uint32_t number);
const tgc_tensor *tgc_cl_tensor(const tgc_cl_context *self, uint32_t number);
/* The inputs and outputs of an entry point: tgc_cl_entry_count of them, each a number as tgc_cl_bound takes it. */
uint32_t tgc_cl_entry_count(const tgc_cl_context *self, uint32_t entry);
uint32_t tgc_cl_entry_tensor(const tgc_cl_context *self, uint32_t entry, uint32_t position);
/* The element at which an argument's memory begins that is bound now: 0 but for inputs and outputs. */
int32_t tgc_cl_first_element(const tgc_cl_context *self, const tgc_cl_argument *argument);
/* Sets those of the entry point's kernel arguments that are not what the selected slot says. TGC_BAD_ARGUMENT where a tensor of its is
 * not bound. */
tgc_status tgc_cl_apply_slot(tgc_cl_context *self, uint32_t entry);
/* Takes every binding of every slot away. */
void tgc_cl_unbind_all(tgc_cl_context *self);

/* ---- tgc_opencl_frame.c: a frame */

/* Enqueues every kernel of an entry point in order on `queue`. */
tgc_status tgc_cl_enqueue_kernels(tgc_cl_context *self, uint32_t entry, cl_command_queue queue);

/* ---- tgc_opencl_qcom.c: recordings */

/* Looks for recordings; without them `recorder.queue` stays null. */
tgc_status tgc_cl_find_recorder(tgc_cl_context *self);
/* Enqueues the selected slot's recording of an entry point, which is made where there is none. */
tgc_status tgc_cl_replay(tgc_cl_context *self, uint32_t entry);
/* Forgets the recordings of all slots, whose bindings have changed. */
void tgc_cl_forget_recordings(tgc_cl_context *self);
/* Properties that ask for `performance` and `priority`, as far as the device has such hints; at most 5 entries. */
void tgc_cl_hints(tgc_cl_context *self, const tgc_cl_options *options, cl_context_properties *properties);

#endif
