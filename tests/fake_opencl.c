/* See fake_opencl.h. Commands run when they are enqueued. Kernels are two that tests/programs.py has, plus_one and
 * twice; others are empty. */
#include "fake_opencl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind { CONTEXT, QUEUE, MEMORY, PROGRAM, KERNEL, EVENT, RECORDING, KINDS } kind;

typedef struct command {
  char name[64];
  struct object *memory[4];
  int number[4];
} command;

typedef struct object {
  kind kind;
  int references;
  struct object *parent; /* retained */
  cl_device_id device;
  cl_command_queue_properties properties;
  cl_mem_flags flags;
  size_t bytes, offset;
  unsigned char *data; /* the device's memory */
  unsigned char *host; /* CL_MEM_USE_HOST_PTR: seen by the device only from unmap to map */
  int mapped, built;
  char *text; /* a program's source */
  char options[256];
  command now;         /* a kernel's arguments */
  command commands[8]; /* a recording */
  int command_count;
} object;

static const fake_driver defaults = {
  "cl_khr_byte_addressable_store cl_khr_fp16", "1.0", CL_TRUE, CL_TRUE, CL_FP_FMA, 16384, 1024, 1u << 30, 0, CL_OUT_OF_RESOURCES, 0};
fake_driver fake;
static int total, live[KINDS];
static struct { const char *name; int count; } counts[64];
static cl_context_properties hints[8];
static object *recording;
static char platform_object, device_objects[2];

#define OBJECT(handle) ((object *)(void *)(handle))

void fake_reset(void) {
  fake = defaults;
  total = 0;
  memset(counts, 0, sizeof counts);
}

int fake_live(void) {
  int sum = 0;
  for (int i = 0; i < KINDS; ++i) sum += live[i];
  return sum;
}

cl_device_id fake_device(int number) { return (cl_device_id)(void *)&device_objects[number]; }
cl_context_properties fake_hint(int at) { return hints[at]; }

int fake_calls(const char *function) {
  int sum = 0;
  for (int i = 0; i < 64 && counts[i].name; ++i) {
    if (!function || strcmp(counts[i].name, function) == 0) sum += counts[i].count;
  }
  return sum;
}

/* Counts a call; whether it is the one that fails. */
static int fails(const char *function) {
  int i = 0;
  while (counts[i].name && strcmp(counts[i].name, function) != 0) ++i;
  counts[i].name = function;
  ++counts[i].count;
  return ++total == fake.fail_at;
}
#define CALL() do { if (fails(__func__)) return fake.fail_with; } while (0)
#define MAKE() do { if (fails(__func__)) return *error = fake.fail_with, NULL; if (error) *error = CL_SUCCESS; } while (0)

static object *make(kind which, object *parent) {
  object *made = (object *)calloc(1, sizeof *made);
  made->kind = which;
  made->references = 1;
  made->parent = parent;
  if (parent) ++parent->references;
  ++live[which];
  return made;
}

static cl_int drop(object *it) {
  if (!it || it->references <= 0) return CL_INVALID_VALUE;
  if (--it->references > 0) return CL_SUCCESS;
  object *parent = it->parent;
  --live[it->kind];
  free(it->data);
  free(it->text);
  free(it);
  if (parent) (void)drop(parent);
  return CL_SUCCESS;
}

static cl_int answer(const void *value, size_t bytes, size_t room, void *to, size_t *size) {
  if (size) *size = bytes;
  if (to && room < bytes) return CL_INVALID_VALUE;
  if (to) memcpy(to, value, bytes);
  return CL_SUCCESS;
}
#define ANSWER(value) return answer(&(value), sizeof(value), room, to, size)
#define ANSWER_TEXT(text) return answer(text, strlen(text) + 1, room, to, size)

/* ---- platform, device, context, queue */

cl_int clGetPlatformIDs(cl_uint room, cl_platform_id *to, cl_uint *count) {
  CALL();
  if (room) *to = (cl_platform_id)(void *)&platform_object;
  *count = 1;
  return CL_SUCCESS;
}

cl_int clGetPlatformInfo(cl_platform_id platform, cl_platform_info what, size_t room, void *to, size_t *size) {
  (void)platform, (void)what;
  CALL();
  ANSWER_TEXT("OpenCL 2.0 fake");
}

cl_int clGetDeviceIDs(cl_platform_id platform, cl_device_type type, cl_uint room, cl_device_id *to, cl_uint *count) {
  (void)platform, (void)type;
  CALL();
  for (cl_uint i = 0; i < 2 && i < room; ++i) to[i] = fake_device((int)i);
  *count = 2;
  return CL_SUCCESS;
}

cl_int clGetDeviceInfo(cl_device_id device, cl_device_info what, size_t room, void *to, size_t *size) {
  cl_platform_id platform = (cl_platform_id)(void *)&platform_object;
  (void)device;
  CALL();
  switch (what) {
    case CL_DEVICE_EXTENSIONS: ANSWER_TEXT(fake.extensions);
    case CL_DRIVER_VERSION: ANSWER_TEXT(fake.driver_version);
    case CL_DEVICE_NAME: case CL_DEVICE_VENDOR: case CL_DEVICE_VERSION: ANSWER_TEXT("fake");
    case CL_DEVICE_PLATFORM: ANSWER(platform);
    case CL_DEVICE_IMAGE_SUPPORT: ANSWER(fake.images);
    case CL_DEVICE_COMPILER_AVAILABLE: ANSWER(fake.compiler);
    case CL_DEVICE_DOUBLE_FP_CONFIG: ANSWER(fake.doubles);
    case CL_DEVICE_IMAGE2D_MAX_WIDTH: case CL_DEVICE_IMAGE2D_MAX_HEIGHT: case CL_DEVICE_IMAGE_MAX_BUFFER_SIZE: ANSWER(fake.image_limit);
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE: ANSWER(fake.largest);
    default: return CL_INVALID_VALUE;
  }
}

cl_context clCreateContext(const cl_context_properties *properties, cl_uint count, const cl_device_id *devices,
                           void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *user, cl_int *error) {
  object *made;
  (void)count, (void)notify, (void)user;
  MAKE();
  memset(hints, 0, sizeof hints);
  for (int i = 0; properties && properties[i]; ++i) hints[i] = properties[i];
  made = make(CONTEXT, NULL);
  made->device = devices[0];
  return (cl_context)(void *)made;
}

cl_int clGetContextInfo(cl_context context, cl_context_info what, size_t room, void *to, size_t *size) {
  CALL();
  if (what != CL_CONTEXT_DEVICES) return CL_INVALID_VALUE;
  ANSWER(OBJECT(context)->device);
}

cl_command_queue clCreateCommandQueue(cl_context context, cl_device_id device, cl_command_queue_properties properties, cl_int *error) {
  object *made;
  MAKE();
  made = make(QUEUE, OBJECT(context));
  made->device = device;
  made->properties = properties;
  return (cl_command_queue)(void *)made;
}

cl_int clGetCommandQueueInfo(cl_command_queue queue, cl_command_queue_info what, size_t room, void *to, size_t *size) {
  CALL();
  switch (what) {
    case CL_QUEUE_CONTEXT: ANSWER(OBJECT(queue)->parent);
    case CL_QUEUE_DEVICE: ANSWER(OBJECT(queue)->device);
    case CL_QUEUE_PROPERTIES: ANSWER(OBJECT(queue)->properties);
    default: return CL_INVALID_VALUE;
  }
}

#define RETAIN(name, type) cl_int name(type handle) { CALL(); return ++OBJECT(handle)->references, CL_SUCCESS; }
#define RELEASE(name, type) cl_int name(type handle) { return drop(OBJECT(handle)); }
RETAIN(clRetainContext, cl_context)
RETAIN(clRetainCommandQueue, cl_command_queue)
RETAIN(clRetainMemObject, cl_mem)
RELEASE(clReleaseContext, cl_context)
RELEASE(clReleaseCommandQueue, cl_command_queue)
RELEASE(clReleaseMemObject, cl_mem)
RELEASE(clReleaseProgram, cl_program)
RELEASE(clReleaseKernel, cl_kernel)
RELEASE(clReleaseEvent, cl_event)

/* ---- memory */

static object *memory(object *parent, cl_mem_flags flags, size_t bytes, void *host) {
  object *made = make(MEMORY, parent);
  made->flags = flags;
  made->bytes = bytes;
  if (parent->kind == CONTEXT) made->data = (unsigned char *)calloc(1, bytes ? bytes : 1);
  if (flags & CL_MEM_COPY_HOST_PTR) memcpy(made->data, host, bytes);
  if (flags & CL_MEM_USE_HOST_PTR) made->host = (unsigned char *)host;
  return made;
}

cl_mem clCreateBuffer(cl_context context, cl_mem_flags flags, size_t bytes, void *host, cl_int *error) {
  MAKE();
  if (bytes == 0 || !host != !(flags & (CL_MEM_COPY_HOST_PTR | CL_MEM_USE_HOST_PTR))) return *error = CL_INVALID_VALUE, NULL;
  return (cl_mem)(void *)memory(OBJECT(context), flags, bytes, host);
}

cl_mem clCreateSubBuffer(cl_mem whole, cl_mem_flags flags, cl_buffer_create_type type, const void *info, cl_int *error) {
  const cl_buffer_region *region = (const cl_buffer_region *)info;
  object *made;
  (void)type;
  MAKE();
  if (region->origin + region->size > OBJECT(whole)->bytes) return *error = CL_INVALID_VALUE, NULL;
  made = memory(OBJECT(whole), flags, region->size, NULL);
  made->offset = region->origin;
  return (cl_mem)(void *)made;
}

cl_mem clCreateImage(cl_context context, cl_mem_flags flags, const cl_image_format *format, const cl_image_desc *shape, void *host,
                     cl_int *error) {
  const size_t texel = format->image_channel_data_type == CL_FLOAT ? 16 : 8;
  object *parent = shape->buffer ? OBJECT(shape->buffer) : OBJECT(context);
  MAKE();
  if (shape->image_width > fake.image_limit) return *error = CL_INVALID_IMAGE_SIZE, NULL;
  return (cl_mem)(void *)memory(parent, flags, shape->image_width * shape->image_height * texel, host);
}

cl_int clGetMemObjectInfo(cl_mem handle, cl_mem_info what, size_t room, void *to, size_t *size) {
  CALL();
  if (what != CL_MEM_SIZE) return CL_INVALID_VALUE;
  ANSWER(OBJECT(handle)->bytes);
}

/* ---- programs and kernels */

cl_program clCreateProgramWithSource(cl_context context, cl_uint count, const char **lines, const size_t *lengths, cl_int *error) {
  object *made;
  size_t bytes = 1;
  (void)lengths;
  MAKE();
  for (cl_uint i = 0; i < count; ++i) bytes += strlen(lines[i]);
  made = make(PROGRAM, OBJECT(context));
  made->text = (char *)calloc(1, bytes);
  for (cl_uint i = 0; i < count; ++i) strcat(made->text, lines[i]);
  return (cl_program)(void *)made;
}

cl_program clCreateProgramWithBinary(cl_context context, cl_uint count, const cl_device_id *devices, const size_t *bytes,
                                     const unsigned char **binaries, cl_int *taken, cl_int *error) {
  object *made;
  (void)count, (void)devices;
  MAKE();
  *taken = fake.refuse_binaries == 1 ? CL_INVALID_BINARY : CL_SUCCESS;
  made = make(PROGRAM, OBJECT(context));
  made->text = (char *)calloc(1, bytes[0] + 1);
  memcpy(made->text, binaries[0], bytes[0]);
  made->built = -1;
  return (cl_program)(void *)made;
}

cl_int clBuildProgram(cl_program program, cl_uint count, const cl_device_id *devices, const char *options,
                      void(CL_CALLBACK *notify)(cl_program, void *), void *user) {
  (void)count, (void)devices, (void)notify, (void)user;
  CALL();
  if (strstr(options, "-Dbroken") || (OBJECT(program)->built < 0 && fake.refuse_binaries == 2)) return CL_BUILD_PROGRAM_FAILURE;
  OBJECT(program)->built = 1;
  return CL_SUCCESS;
}

cl_int clGetProgramBuildInfo(cl_program program, cl_device_id device, cl_program_build_info what, size_t room, void *to, size_t *size) {
  (void)program, (void)device, (void)what;
  CALL();
  ANSWER_TEXT("line 1: it is broken");
}

cl_int clGetProgramInfo(cl_program program, cl_program_info what, size_t room, void *to, size_t *size) {
  const size_t bytes = strlen(OBJECT(program)->text);
  CALL();
  switch (what) {
    case CL_PROGRAM_DEVICES: ANSWER(OBJECT(program)->parent->device);
    case CL_PROGRAM_BINARY_SIZES: ANSWER(bytes);
    case CL_PROGRAM_BINARIES: return memcpy(*(unsigned char **)to, OBJECT(program)->text, bytes), CL_SUCCESS;
    default: return CL_INVALID_VALUE;
  }
}

cl_kernel clCreateKernel(cl_program program, const char *name, cl_int *error) {
  object *made;
  MAKE();
  if (!strstr(OBJECT(program)->text, name)) return *error = CL_INVALID_KERNEL_NAME, NULL;
  made = make(KERNEL, OBJECT(program));
  (void)snprintf(made->now.name, sizeof made->now.name, "%s", name);
  return (cl_kernel)(void *)made;
}

cl_int clGetKernelWorkGroupInfo(cl_kernel kernel, cl_device_id device, cl_kernel_work_group_info what, size_t room, void *to, size_t *size) {
  (void)kernel, (void)device, (void)what;
  CALL();
  ANSWER(fake.group_limit);
}

cl_int clSetKernelArg(cl_kernel kernel, cl_uint at, size_t bytes, const void *value) {
  command *now = &OBJECT(kernel)->now;
  CALL();
  if (at >= 8) return CL_SUCCESS;
  if (at % 2 == 0) memcpy(&now->memory[at / 2], value, bytes);
  if (at % 2 == 1) memcpy(&now->number[at / 2], value, bytes);
  return CL_SUCCESS;
}

/* ---- commands */

static float *floats(const command *it, int at) {
  object *memory_of = it->memory[at];
  size_t offset = 0;
  while (memory_of->parent->kind == MEMORY) offset += memory_of->offset, memory_of = memory_of->parent;
  return (float *)(void *)(memory_of->data + offset) + it->number[at];
}

static cl_int execute(const command *it) {
  const int first = strcmp(it->name, "plus_one") == 0, count = first ? 16 : 8;
  if (!first && strcmp(it->name, "twice") != 0) return CL_SUCCESS; /* some other program's: nothing is computed */
  if (!it->memory[0] || !it->memory[1]) return CL_INVALID_KERNEL_ARGS;
  if (it->memory[0]->mapped || it->memory[1]->mapped) return CL_INVALID_OPERATION; /* the host has it */
  for (int i = 0; i < count; ++i) floats(it, 1)[i] = first ? floats(it, 0)[i] + 1 : floats(it, 0)[i] * 2;
  return CL_SUCCESS;
}

cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dimensions, const size_t *offset, const size_t *global,
                              const size_t *local, cl_uint waits, const cl_event *wait, cl_event *event) {
  (void)dimensions, (void)offset, (void)global, (void)local, (void)waits, (void)wait, (void)event;
  CALL();
  if (!(OBJECT(queue)->properties & 1u << 30)) return execute(&OBJECT(kernel)->now);
  if (!recording) return CL_INVALID_OPERATION;
  if (recording->command_count < 8) recording->commands[recording->command_count++] = OBJECT(kernel)->now;
  return CL_SUCCESS;
}

cl_int clEnqueueWriteBuffer(cl_command_queue queue, cl_mem memory_of, cl_bool blocking, size_t offset, size_t bytes, const void *from,
                            cl_uint waits, const cl_event *wait, cl_event *event) {
  (void)queue, (void)blocking, (void)waits, (void)wait, (void)event;
  CALL();
  memcpy(OBJECT(memory_of)->data + offset, from, bytes);
  return CL_SUCCESS;
}

cl_int clEnqueueReadBuffer(cl_command_queue queue, cl_mem memory_of, cl_bool blocking, size_t offset, size_t bytes, void *to,
                           cl_uint waits, const cl_event *wait, cl_event *event) {
  (void)queue, (void)blocking, (void)waits, (void)wait, (void)event;
  CALL();
  memcpy(to, OBJECT(memory_of)->data + offset, bytes);
  return CL_SUCCESS;
}

cl_int clEnqueueFillBuffer(cl_command_queue queue, cl_mem memory_of, const void *pattern, size_t width, size_t offset, size_t bytes,
                           cl_uint waits, const cl_event *wait, cl_event *event) {
  (void)queue, (void)waits, (void)wait, (void)event, (void)width;
  CALL();
  memset(OBJECT(memory_of)->data + offset, *(const unsigned char *)pattern, bytes);
  return CL_SUCCESS;
}

void *clEnqueueMapBuffer(cl_command_queue queue, cl_mem memory_of, cl_bool blocking, cl_map_flags flags, size_t offset, size_t bytes,
                         cl_uint waits, const cl_event *wait, cl_event *event, cl_int *error) {
  object *it = OBJECT(memory_of);
  (void)queue, (void)blocking, (void)flags, (void)waits, (void)wait, (void)event;
  MAKE();
  if (it->mapped || !it->host) return *error = CL_INVALID_OPERATION, NULL;
  it->mapped = 1;
  memcpy(it->host + offset, it->data + offset, flags & CL_MAP_READ ? bytes : 0);
  return it->host + offset;
}

cl_int clEnqueueUnmapMemObject(cl_command_queue queue, cl_mem memory_of, void *at, cl_uint waits, const cl_event *wait, cl_event *event) {
  object *it = OBJECT(memory_of);
  (void)queue, (void)waits, (void)wait, (void)event;
  CALL();
  if (!it->mapped || at != it->host) return CL_INVALID_VALUE;
  it->mapped = 0;
  memcpy(it->data, it->host, it->bytes);
  return CL_SUCCESS;
}

static cl_int event_for(object *queue, cl_event *event) {
  if (event) *event = (cl_event)(void *)make(EVENT, queue);
  return CL_SUCCESS;
}

cl_int clEnqueueMarkerWithWaitList(cl_command_queue queue, cl_uint waits, const cl_event *wait, cl_event *event) {
  (void)waits, (void)wait;
  CALL();
  return event_for(OBJECT(queue), event);
}

cl_int clEnqueueBarrierWithWaitList(cl_command_queue queue, cl_uint waits, const cl_event *wait, cl_event *event) {
  (void)waits, (void)wait;
  CALL();
  return event_for(OBJECT(queue), event);
}

cl_int clWaitForEvents(cl_uint count, const cl_event *events) {
  (void)count, (void)events;
  CALL();
  return CL_SUCCESS;
}

cl_int clFlush(cl_command_queue queue) {
  (void)queue;
  CALL();
  return CL_SUCCESS;
}

cl_int clFinish(cl_command_queue queue) {
  (void)queue;
  CALL();
  return CL_SUCCESS;
}

/* ---- cl_qcom_recordable_queues */

static void *new_recording(cl_command_queue queue, cl_int *error) {
  MAKE();
  return recording = make(RECORDING, OBJECT(queue));
}

static cl_int end_recording(void *it) {
  (void)it;
  recording = NULL;
  CALL();
  return CL_SUCCESS;
}

static cl_int release_recording(void *it) { return drop((object *)it); }

static cl_int enqueue_recording(cl_command_queue queue, void *it, size_t n0, const void *p0, size_t n1, const void *p1, size_t n2,
                                const void *p2, size_t n3, const void *p3, cl_uint waits, const cl_event *wait, cl_event *event) {
  const object *recorded = (const object *)it;
  (void)queue, (void)n0, (void)p0, (void)n1, (void)p1, (void)n2, (void)p2, (void)n3, (void)p3, (void)waits, (void)wait, (void)event;
  CALL();
  for (int i = 0; i < recorded->command_count; ++i) {
    const cl_int status = execute(&recorded->commands[i]);
    if (status != CL_SUCCESS) return status;
  }
  return CL_SUCCESS;
}

void *clGetExtensionFunctionAddressForPlatform(cl_platform_id platform, const char *name) {
  union { void *(*begin)(cl_command_queue, cl_int *); void *address; } begin = {new_recording};
  union { cl_int (*one)(void *); void *address; } end = {end_recording}, release = {release_recording};
  union {
    cl_int (*enqueue)(cl_command_queue, void *, size_t, const void *, size_t, const void *, size_t, const void *, size_t, const void *,
                      cl_uint, const cl_event *, cl_event *);
    void *address;
  } enqueue = {enqueue_recording};
  (void)platform;
  if (strcmp(name, "clNewRecordingQCOM") == 0) return begin.address;
  if (strcmp(name, "clEndRecordingQCOM") == 0) return end.address;
  if (strcmp(name, "clReleaseRecordingQCOM") == 0) return release.address;
  if (strcmp(name, "clEnqueueRecordingQCOM") == 0) return enqueue.address;
  return NULL;
}
