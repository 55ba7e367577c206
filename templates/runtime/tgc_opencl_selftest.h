/* tgc_opencl_selftest.h - the self-test of a model compiled to OpenCL. A model's header offers it as NAME_selftest. */
#ifndef TGC_OPENCL_SELFTEST_H
#define TGC_OPENCL_SELFTEST_H

#include "tgc_opencl.h"
#include "tgc_selftest.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Runs a frame of the main entry point on the inputs of the self-test, and compares. scratch: aligned to 8 bytes. inputs, outputs: room for one pointer each.
 * It binds inputs and outputs in slot 0, and afterwards, whatever came of it, none is bound in any slot;
 * states are zero before and after. result: may be null. Where the status is
 * TGC_BAD_RESULT, tgc_cl_message tells the first wrong value too. */
tgc_status tgc_cl_selftest(tgc_cl_context *self, const tgc_golden *golden, void *scratch, uint64_t scratch_bytes,
                           const void **inputs, void **outputs, tgc_selftest_result *result);

#ifdef __cplusplus
}
#endif
#endif
