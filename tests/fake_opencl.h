/* An OpenCL that counts: the entry points that the runtime uses, on the host, with every object counted and any call made to fail. */
#ifndef FAKE_OPENCL_H
#define FAKE_OPENCL_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>

typedef struct fake_driver {
  const char *extensions;
  const char *driver_version;
  cl_bool images, compiler;
  cl_device_fp_config doubles;
  size_t image_limit, group_limit;
  cl_ulong largest;
  int fail_at;     /* number of the call, from 1, that fails; 0: none */
  cl_int fail_with;
  int refuse_binaries; /* 1: at creation, 2: when built */
} fake_driver;

extern fake_driver fake;

void fake_reset(void);                   /* all as it is by default, counts at zero */
int fake_calls(const char *function);    /* how often it was called; null: all together, those that only release left out */
int fake_live(void);                     /* objects that are not released */
cl_device_id fake_device(int number);    /* 0 or 1 */
cl_context_properties fake_hint(int at); /* of the last context: its properties */

#endif
