/* tgc_runtime.c - what every compiled model shares. Nothing here allocates from the heap, prints or exits, and there is no state.
 * Define TGC_NO_FILES where there is no file system. */
#if !defined(TGC_NO_FILES) && (defined(__unix__) || defined(__APPLE__))
#define TGC_POSIX 1
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#endif

#include "tgc_runtime.h"

#include <string.h>

#ifdef TGC_POSIX
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

const char *tgc_status_text(int32_t status) {
  switch (status) {
    case TGC_OK: return "ok";
    case TGC_BAD_ARGUMENT: return "a pointer is null, misaligned or unbound, memory is too small, or an index is out of range";
    case TGC_BAD_WEIGHTS: return "the weights do not have the size or hash that the model was compiled with";
    case TGC_NO_MEMORY: return "host or device memory ran out";
    case TGC_IO: return "a file could not be read";
    case TGC_DEVICE: return "the device, its driver or its compiler failed";
    case TGC_BAD_RESULT: return "a self-test did not give the recorded result";
    default: return "unknown status";
  }
}

uint32_t tgc_element_bytes(int32_t dtype) {
  switch (dtype) {
    case TGC_BOOL: case TGC_I8: case TGC_U8: return 1;
    case TGC_I16: case TGC_U16: case TGC_F16: case TGC_BF16: return 2;
    case TGC_I32: case TGC_U32: case TGC_F32: return 4;
    case TGC_I64: case TGC_U64: case TGC_F64: return 8;
    default: return dtype >= TGC_F8E4M3FN && dtype <= TGC_U2 ? 1 : 0;
  }
}

int32_t tgc_find_tensor(const tgc_tensor *tensors, uint32_t count, const char *name) {
  for (uint32_t i = 0; i < count; ++i) {
    if (strcmp(tensors[i].name, name) == 0) return (int32_t)i;
  }
  return -1;
}

static int aligned(const void *pointer, uint64_t alignment) { return (uintptr_t)pointer % alignment == 0; }

tgc_status tgc_check_memory(const tgc_model *model, const void *weights, const void *arena, uint64_t arena_bytes) {
  if (model->abi_version != TGC_ABI_VERSION) return TGC_BAD_ARGUMENT;
  if (model->arena_bytes > 0 && (!arena || arena_bytes < model->arena_bytes || !aligned(arena, model->alignment))) return TGC_BAD_ARGUMENT;
  if (model->weights_bytes > 0 && !weights) return TGC_BAD_ARGUMENT;
  /* Embedded weights are where the linker put them. */
  if (model->weights_bytes > 0 && weights != model->weights && !aligned(weights, model->alignment)) return TGC_BAD_ARGUMENT;
  return TGC_OK;
}

tgc_status tgc_check_tensor(const tgc_tensor *tensors, uint32_t count, uint32_t position, const void *data) {
  if (position >= count || !data || !aligned(data, tgc_element_bytes(tensors[position].dtype))) return TGC_BAD_ARGUMENT;
  return TGC_OK;
}

void tgc_reset(const tgc_model *model, void *arena) {
  if (model->state_bytes) memset(arena, 0, (size_t)model->state_bytes);
}

tgc_status tgc_check_entry(const tgc_model *model, uint32_t entry, const void *weights, const void *arena, const void *const *inputs,
                           void *const *outputs) {
  const tgc_entry *row;
  if (entry >= model->entry_count) return TGC_BAD_ARGUMENT;
  row = &model->entries[entry];
  for (uint32_t i = 0; i < row->input_count; ++i) {
    if (!inputs[row->inputs[i]]) return TGC_BAD_ARGUMENT;
  }
  for (uint32_t i = 0; i < row->output_count; ++i) {
    if (!outputs[row->outputs[i]]) return TGC_BAD_ARGUMENT;
  }
  if ((model->weights_bytes > 0 && !weights) || (model->arena_bytes > 0 && !arena)) return TGC_BAD_ARGUMENT;
  return TGC_OK;
}

tgc_status tgc_run_entry(const tgc_model *model, uint32_t entry, const void *weights, void *arena, const void *const *inputs,
                         void *const *outputs) {
  const tgc_status status = tgc_check_entry(model, entry, weights, arena, inputs, outputs);
  return status == TGC_OK ? (tgc_status)model->entries[entry].run(weights, arena, inputs, outputs) : status;
}

tgc_status tgc_run(const tgc_model *model, const void *weights, void *arena, const void *const *inputs, void *const *outputs) {
  return tgc_run_entry(model, 0, weights, arena, inputs, outputs);
}

/* ---- SHA-256, FIPS 180-4 */

static const uint32_t round_constants[64] = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, int by) { return x >> by | x << (32 - by); }

static void sha256_block(uint32_t state[8], const uint8_t *block) {
  uint32_t w[64], v[8];
  for (int i = 0; i < 16; ++i) {
    w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
  }
  for (int i = 16; i < 64; ++i) {
    const uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
    const uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  memcpy(v, state, sizeof v);
  for (int i = 0; i < 64; ++i) {
    const uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25), choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
    const uint32_t t1 = v[7] + s1 + choice + round_constants[i] + w[i];
    const uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22), majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
    for (int j = 7; j > 0; --j) v[j] = v[j - 1];
    v[4] += t1;
    v[0] = t1 + s0 + majority;
  }
  for (int i = 0; i < 8; ++i) state[i] += v[i];
}

void tgc_sha256(const void *data, uint64_t bytes, uint8_t digest[32]) {
  uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  const uint8_t *next = (const uint8_t *)data;
  uint8_t tail[128] = {0};
  uint64_t left = bytes;
  for (; left >= 64; left -= 64, next += 64) sha256_block(state, next);
  if (left) memcpy(tail, next, (size_t)left);
  tail[left] = 0x80;
  const int blocks = left < 56 ? 1 : 2;
  for (int i = 0; i < 8; ++i) tail[64 * blocks - 1 - i] = (uint8_t)(bytes * 8 >> (8 * i));
  for (int i = 0; i < blocks; ++i) sha256_block(state, tail + 64 * i);
  for (int i = 0; i < 32; ++i) digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}

/* ---- weights */

tgc_status tgc_check_weights(const tgc_model *model, const void *weights, uint64_t bytes) {
  uint8_t digest[32];
  if (bytes != model->weights_bytes || !weights) return TGC_BAD_WEIGHTS;
  tgc_sha256(weights, bytes, digest);
  return memcmp(digest, model->weights_sha256, sizeof digest) == 0 ? TGC_OK : TGC_BAD_WEIGHTS;
}

#ifdef TGC_POSIX

tgc_status tgc_weights_open_unchecked(tgc_weights *weights, const tgc_model *model, const char *path) {
  struct stat info;
  void *data;
  const int file = open(path, O_RDONLY);
  weights->data = NULL;
  weights->bytes = 0;
  if (file < 0) return TGC_IO;
  if (fstat(file, &info) != 0) return close(file), TGC_IO;
  if ((uint64_t)info.st_size != model->weights_bytes || info.st_size == 0) return close(file), TGC_BAD_WEIGHTS;
  data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
  close(file);
  if (data == MAP_FAILED) return TGC_NO_MEMORY;
  weights->data = data;
  weights->bytes = (uint64_t)info.st_size;
  return TGC_OK;
}

void tgc_weights_close(tgc_weights *weights) {
  if (weights->data) munmap((void *)(uintptr_t)weights->data, (size_t)weights->bytes);
  weights->data = NULL;
  weights->bytes = 0;
}

#else

tgc_status tgc_weights_open_unchecked(tgc_weights *weights, const tgc_model *model, const char *path) {
  (void)model, (void)path;
  weights->data = NULL;
  weights->bytes = 0;
  return TGC_IO;
}

void tgc_weights_close(tgc_weights *weights) {
  weights->data = NULL;
  weights->bytes = 0;
}

#endif

tgc_status tgc_weights_open(tgc_weights *weights, const tgc_model *model, const char *path) {
  tgc_status status = tgc_weights_open_unchecked(weights, model, path);
  if (status == TGC_OK) status = tgc_check_weights(model, weights->data, weights->bytes);
  if (status != TGC_OK) tgc_weights_close(weights);
  return status;
}
