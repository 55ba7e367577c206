/* tgc_opencl_qcom.h - declarations of the Qualcomm extensions that the runtime uses where a device lists them.
 *
 * The numbers and signatures are those of Qualcomm's cl_ext_qcom.h and its "Snapdragon OpenCL General Programming and Optimization"
 * guide (80-NB295-11), sections on performance hints and on recordable queues. */
#ifndef TGC_OPENCL_QCOM_H
#define TGC_OPENCL_QCOM_H

#include "tgc_opencl.h"

/* cl_qcom_perf_hint, cl_qcom_priority_hint: properties of a context; the levels high, normal and low follow each other. */
#define TGC_QCOM_CONTEXT_PERF_HINT 0x40C2
#define TGC_QCOM_PERF_HINT_HIGH 0x40C3
#define TGC_QCOM_CONTEXT_PRIORITY_HINT 0x40C9
#define TGC_QCOM_PRIORITY_HINT_HIGH 0x40CA

/* cl_qcom_recordable_queues: a queue with this property, and no other, records what is enqueued on it between begin and end. */
#define TGC_QCOM_QUEUE_RECORDABLE ((cl_command_queue_properties)1 << 30)

typedef void *(CL_API_CALL *tgc_qcom_new_recording)(cl_command_queue queue, cl_int *error);
typedef cl_int(CL_API_CALL *tgc_qcom_end_recording)(void *recording);
typedef cl_int(CL_API_CALL *tgc_qcom_release_recording)(void *recording);
/* The four pairs are arguments, offsets, global and local sizes to change; the runtime changes none. */
typedef cl_int(CL_API_CALL *tgc_qcom_enqueue_recording)(cl_command_queue queue, void *recording, size_t argument_count,
                                                        const void *arguments, size_t offset_count, const void *offsets,
                                                        size_t global_count, const void *globals, size_t local_count,
                                                        const void *locals, cl_uint wait_count, const cl_event *wait_list,
                                                        cl_event *event);

#endif
