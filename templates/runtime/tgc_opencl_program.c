/* tgc_opencl_program.c - the program: from a binary that an earlier start left, or from source.
 *
 * A cache file is a header and the driver's binary. It is used where its key (device, driver, options, program), its length and the
 * binary's digest are all as they should be. It is written under another name and renamed, so that a reader never sees half of
 * one. Both ways it is mapped into memory, so that nothing is allocated here. */
#if !defined(TGC_NO_FILES) && (defined(__unix__) || defined(__APPLE__))
#define TGC_POSIX 1
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tgc_opencl_internal.h"

#ifdef TGC_POSIX
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

static const char *build_options(const tgc_cl_context *self, const tgc_cl_options *options) {
  return options->build_options ? options->build_options : self->program_data->build_options;
}

/* ---- from source ------------------------------------------------------------------------------------------------- */

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

static tgc_status from_source(tgc_cl_context *self, const char *options) {
  const tgc_cl_model *data = self->program_data;
  const char *name = self->model->name;
  cl_int error = CL_SUCCESS;
  tgc_status status;
  /* The API's parameter lacks a const that the strings have; they are only read. */
  self->program = clCreateProgramWithSource(self->context, data->source_lines, (const char **)(uintptr_t)data->source, NULL, &error);
  status = tgc_cl_check(self, error, "clCreateProgramWithSource", name);
  if (status != TGC_OK) return status;
  error = clBuildProgram(self->program, 1, &self->device, options, NULL, NULL);
  status = tgc_cl_check(self, error, "clBuildProgram", name);
  return status == TGC_OK ? TGC_OK : build_failure(self, status);
}

/* ---- the cache --------------------------------------------------------------------------------------------------- */

#ifdef TGC_POSIX

#define PATH_BYTES 1024
static const char magic[16] = "tgc cl binary 1"; /* the last character is the format */

/* The start of a file; the binary is after it. */
typedef struct header {
  char magic[16];
  uint8_t key[32];
  uint8_t digest[32]; /* SHA-256 of the binary */
  uint64_t bytes;     /* of the binary */
} header;

/* key = SHA-256(key, text): a chain, for the texts have no place to be put together. */
static void chain(uint8_t key[32], const char *text, size_t bytes) {
  uint8_t link[64];
  memcpy(link, key, 32);
  tgc_sha256(text, bytes, link + 32);
  tgc_sha256(link, sizeof link, key);
}

/* What the binary depends on. 0 where the driver does not tell. Overwrites the message. */
static int make_key(tgc_cl_context *self, const char *options, uint8_t key[32]) {
  static const cl_device_info of_device[] = {CL_DEVICE_NAME, CL_DEVICE_VENDOR, CL_DEVICE_VERSION, CL_DRIVER_VERSION};
  cl_platform_id platform = NULL;
  size_t bytes = 0, i;
  int fine;
  memcpy(key, self->program_data->program_sha256, 32);
  chain(key, options, strlen(options));
  fine = clGetDeviceInfo(self->device, CL_DEVICE_PLATFORM, sizeof platform, &platform, NULL) == CL_SUCCESS;
  for (i = 0; fine && i < sizeof of_device / sizeof *of_device; ++i) {
    fine = clGetDeviceInfo(self->device, of_device[i], sizeof self->message, self->message, &bytes) == CL_SUCCESS;
    if (fine) chain(key, self->message, bytes);
  }
  fine = fine && clGetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof self->message, self->message, &bytes) == CL_SUCCESS;
  if (fine) chain(key, self->message, bytes);
  self->message[0] = '\0';
  return fine;
}

/* FOLDER/NAME-KEY.bin; 0 where that is too long. */
static int make_path(const tgc_cl_context *self, const char *folder, const uint8_t key[32], char path[PATH_BYTES]) {
  const int used = snprintf(path, PATH_BYTES, "%s/%s-", folder, self->model->name);
  int i;
  if (used < 0 || used + 16 + 4 + 7 >= PATH_BYTES) return 0;
  for (i = 0; i < 8; ++i) (void)snprintf(path + used + 2 * i, 3, "%02x", key[i]);
  memcpy(path + used + 16, ".bin", 5);
  return 1;
}

/* Whether the `bytes` bytes at `data` are a header for `key` and its whole binary. */
static int is_intact(const uint8_t *data, uint64_t bytes, const uint8_t key[32]) {
  header head;
  uint8_t digest[32];
  if (bytes < sizeof head) return 0;
  memcpy(&head, data, sizeof head);
  if (memcmp(head.magic, magic, sizeof magic) != 0 || memcmp(head.key, key, 32) != 0) return 0;
  if (head.bytes == 0 || head.bytes != bytes - sizeof head) return 0;
  tgc_sha256(data + sizeof head, head.bytes, digest);
  return memcmp(digest, head.digest, 32) == 0;
}

/* Leaves a program in `self` and answers 1 where the driver takes the binary. */
static int from_binary(tgc_cl_context *self, const uint8_t *binary, size_t bytes, const char *options) {
  cl_int error = CL_SUCCESS, taken = CL_SUCCESS;
  cl_program program = clCreateProgramWithBinary(self->context, 1, &self->device, &bytes, &binary, &taken, &error);
  if (error == CL_SUCCESS && taken == CL_SUCCESS) error = clBuildProgram(program, 1, &self->device, options, NULL, NULL);
  if (error == CL_SUCCESS && taken == CL_SUCCESS) {
    self->program = program;
    return 1;
  }
  if (program) (void)clReleaseProgram(program);
  return 0;
}

static int read_cache(tgc_cl_context *self, const char *path, const uint8_t key[32], const char *options) {
  const int file = open(path, O_RDONLY);
  struct stat info;
  void *data = MAP_FAILED;
  size_t bytes = 0;
  int found = 0;
  if (file < 0) return 0;
  if (fstat(file, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > (off_t)sizeof(header)) {
    bytes = (size_t)info.st_size;
    data = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, file, 0);
  }
  (void)close(file);
  if (data == MAP_FAILED) return 0;
  if (is_intact((const uint8_t *)data, bytes, key)) {
    found = from_binary(self, (const uint8_t *)data + sizeof(header), bytes - sizeof(header), options);
  }
  (void)munmap(data, bytes);
  return found;
}

/* Which of the program's devices is ours, and the size of its binary; 0 where there is none. */
static size_t binary_bytes(const tgc_cl_context *self, cl_uint *position, cl_uint *count) {
  cl_device_id devices[16];
  size_t sizes[16], bytes = 0, i;
  if (clGetProgramInfo(self->program, CL_PROGRAM_DEVICES, sizeof devices, devices, &bytes) != CL_SUCCESS) return 0;
  *count = (cl_uint)(bytes / sizeof *devices);
  if (*count > 16 || clGetProgramInfo(self->program, CL_PROGRAM_BINARY_SIZES, sizeof sizes, sizes, NULL) != CL_SUCCESS) return 0;
  for (i = 0; i < *count; ++i) {
    if (devices[i] == self->device) return *position = (cl_uint)i, sizes[i];
  }
  return 0;
}

/* Has the driver write its binary behind the header, then fills that in. */
static int fill(const tgc_cl_context *self, uint8_t *data, size_t bytes, cl_uint position, cl_uint count, const uint8_t key[32]) {
  unsigned char *places[16] = {NULL};
  header head;
  places[position] = data + sizeof head;
  if (clGetProgramInfo(self->program, CL_PROGRAM_BINARIES, count * sizeof *places, places, NULL) != CL_SUCCESS) return 0;
  memset(&head, 0, sizeof head);
  memcpy(head.magic, magic, sizeof magic);
  memcpy(head.key, key, 32);
  head.bytes = bytes;
  tgc_sha256(data + sizeof head, bytes, head.digest);
  memcpy(data, &head, sizeof head);
  return 1;
}

/* A full disk is an error here, not a signal later. */
static int make_room(int file, size_t bytes) {
#ifdef __APPLE__
  return ftruncate(file, (off_t)bytes) == 0;
#else
  return posix_fallocate(file, 0, (off_t)bytes) == 0;
#endif
}

static int write_file(const tgc_cl_context *self, int file, size_t bytes, cl_uint position, cl_uint count, const uint8_t key[32]) {
  const size_t whole = sizeof(header) + bytes;
  void *data;
  int fine;
  if (!make_room(file, whole)) return 0;
  data = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (data == MAP_FAILED) return 0;
  fine = fill(self, (uint8_t *)data, bytes, position, count, key);
  fine = msync(data, whole, MS_SYNC) == 0 && fine;
  return munmap(data, whole) == 0 && fine;
}

static int write_cache(const tgc_cl_context *self, const char *path, const uint8_t key[32]) {
  char fresh[PATH_BYTES];
  cl_uint position = 0, count = 0;
  const size_t bytes = binary_bytes(self, &position, &count);
  int file, fine;
  if (!bytes || snprintf(fresh, sizeof fresh, "%s.XXXXXX", path) >= (int)sizeof fresh) return 0;
  file = mkstemp(fresh);
  if (file < 0) return 0;
  fine = write_file(self, file, bytes, position, count, key);
  fine = close(file) == 0 && fine;
  if (fine && rename(fresh, path) == 0) return 1;
  (void)unlink(fresh);
  return 0;
}

tgc_status tgc_cl_make_program(tgc_cl_context *self, const tgc_cl_options *options) {
  const char *chosen = build_options(self, options);
  char path[PATH_BYTES];
  uint8_t key[32];
  tgc_status status;
  if (!options->cache_folder) return from_source(self, chosen);
  self->cache = TGC_CL_CACHE_FAILED;
  if (!make_key(self, chosen, key) || !make_path(self, options->cache_folder, key, path)) return from_source(self, chosen);
  if (read_cache(self, path, key, chosen)) {
    self->cache = TGC_CL_CACHE_READ;
    return TGC_OK;
  }
  status = from_source(self, chosen);
  if (status == TGC_OK && write_cache(self, path, key)) self->cache = TGC_CL_CACHE_WRITTEN;
  return status;
}

#else

tgc_status tgc_cl_make_program(tgc_cl_context *self, const tgc_cl_options *options) {
  if (options->cache_folder) self->cache = TGC_CL_CACHE_FAILED;
  return from_source(self, build_options(self, options));
}

#endif
