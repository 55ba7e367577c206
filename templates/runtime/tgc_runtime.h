/* tgc_runtime.h - the ABI of a compiled model. C99, usable from C++. Nothing here allocates, prints or exits. */
#ifndef TGC_RUNTIME_H
#define TGC_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TGC_ABI_VERSION 2u

typedef enum tgc_status {
  TGC_OK = 0,
  TGC_BAD_ARGUMENT = 1, /* a null, misaligned or unbound pointer, or an index out of range */
  TGC_BAD_WEIGHTS = 2,  /* wrong size or hash */
  TGC_NO_MEMORY = 3,    /* host or device memory ran out */
  TGC_IO = 4,           /* a file could not be read */
  TGC_DEVICE = 5,       /* the device, its driver or its compiler failed */
  TGC_BAD_RESULT = 6    /* a self-test did not give the recorded result */
} tgc_status;

typedef enum tgc_dtype {
  TGC_BOOL = 0, TGC_I8 = 1, TGC_I16 = 2, TGC_I32 = 3, TGC_I64 = 4, TGC_U8 = 5, TGC_U16 = 6, TGC_U32 = 7, TGC_U64 = 8,
  TGC_F16 = 9, TGC_BF16 = 10, TGC_F32 = 11, TGC_F64 = 12,
  /* Floats of 8 bits are bytes. The rest share bytes, two or four to one, the first lowest: an odd element out leaves the bits above 0. */
  TGC_F8E4M3FN = 13, TGC_F8E4M3FNUZ = 14, TGC_F8E5M2 = 15, TGC_F8E5M2FNUZ = 16, TGC_F8E8M0 = 17,
  TGC_F4E2M1 = 18, TGC_I4 = 19, TGC_U4 = 20, TGC_I2 = 21, TGC_U2 = 22
} tgc_dtype;

/* An input or output: row-major, `bytes` bytes in all. */
typedef struct tgc_tensor {
  const char *name;     /* as in the ONNX model */
  const int64_t *shape; /* `rank` extents */
  uint64_t bytes;
  int32_t dtype; /* a tgc_dtype */
  int32_t rank;
} tgc_tensor;

/* Runs once. weights: `weights_bytes` bytes; arena: `arena_bytes` bytes; both aligned to `alignment`. inputs, outputs: one pointer a
 * tensor of the model, in order, each aligned to its element; those that the entry point does not use may be null. */
typedef int32_t (*tgc_run_function)(const void *weights, void *arena, const void *const *inputs, void *const *outputs);

/* A way into a model: by default there is one, "run", which computes every output. */
typedef struct tgc_entry {
  const char *name;
  tgc_run_function run;
  const uint32_t *inputs;  /* positions of those that it reads */
  const uint32_t *outputs; /* positions of those that it writes */
  uint32_t input_count;
  uint32_t output_count;
} tgc_entry;

/* What a model keeps from one run to the next, in its arena from byte `offset` on. */
typedef struct tgc_state {
  tgc_tensor tensor;
  uint64_t offset;
} tgc_state;

/* A compiled model: constant data and re-entrant functions.
 *
 * The first `state_bytes` bytes of the arena are the model's states, to be zero at first (tgc_reset) and left alone between runs. The
 * rest is scratch memory, which may be shared with whatever does not run at the same time; its contents between runs mean nothing. */
typedef struct tgc_model {
  const char *name;
  const tgc_tensor *inputs;
  const tgc_tensor *outputs;
  const void *weights; /* the embedded weights; null when they are in a file of their own */
  uint64_t weights_bytes;
  uint64_t arena_bytes;
  tgc_run_function run; /* of the main entry point; null where the model runs on a device */
  uint8_t weights_sha256[32];
  uint32_t abi_version; /* TGC_ABI_VERSION of the compiler */
  uint32_t input_count;
  uint32_t output_count;
  uint32_t alignment;
  const tgc_entry *entries; /* the main one first */
  const tgc_state *states;
  uint64_t state_bytes;
  uint32_t entry_count;
  uint32_t state_count;
} tgc_model;

/* What a status means, in English; never null. */
const char *tgc_status_text(int32_t status);

/* Bytes of one element of a tgc_dtype, 1 for those that share a byte; 0 for any other number. */
uint32_t tgc_element_bytes(int32_t dtype);

/* The position of the tensor called `name` among `count`; -1 where there is none. */
int32_t tgc_find_tensor(const tgc_tensor *tensors, uint32_t count, const char *name);

/* TGC_OK where the memory is big and aligned enough for the model, and the ABI is this runtime's. */
tgc_status tgc_check_memory(const tgc_model *model, const void *weights, const void *arena, uint64_t arena_bytes);

/* TGC_OK where `position` is one of `count` tensors and `data` is aligned to its elements. */
tgc_status tgc_check_tensor(const tgc_tensor *tensors, uint32_t count, uint32_t position, const void *data);

/* Sets the states in `arena` to zero, as they are to be before the first run. */
void tgc_reset(const tgc_model *model, void *arena);

/* TGC_OK where every tensor of an entry point is bound, and memory is there. */
tgc_status tgc_check_entry(const tgc_model *model, uint32_t entry, const void *weights, const void *arena, const void *const *inputs,
                           void *const *outputs);

/* Runs an entry point, by position, once, after checking that every tensor of its is bound. tgc_run: the main one. */
tgc_status tgc_run_entry(const tgc_model *model, uint32_t entry, const void *weights, void *arena, const void *const *inputs,
                         void *const *outputs);
tgc_status tgc_run(const tgc_model *model, const void *weights, void *arena, const void *const *inputs, void *const *outputs);

/* SHA-256 (FIPS 180-4) of `bytes` bytes. */
void tgc_sha256(const void *data, uint64_t bytes, uint8_t digest[32]);

/* TGC_OK where the weights have the size and the hash that the model was compiled with. */
tgc_status tgc_check_weights(const tgc_model *model, const void *weights, uint64_t bytes);

/* The weights of a model in a file, mapped into memory where the system can (POSIX), and checked. TGC_IO elsewhere: there, and with
 * TGC_NO_FILES defined, read the file your own way and call tgc_check_weights. Files end where `tgc_weights_close` is called. */
typedef struct tgc_weights {
  const void *data;
  uint64_t bytes;
} tgc_weights;
tgc_status tgc_weights_open(tgc_weights *weights, const tgc_model *model, const char *path);
/* The same for other weights than the model was compiled with: the size is checked, the hash is not. They have to come from an artifact
 * with the same layout, `weights.layout` in its manifest.json; anything else of that size gives wrong numbers. */
tgc_status tgc_weights_open_unchecked(tgc_weights *weights, const tgc_model *model, const char *path);
void tgc_weights_close(tgc_weights *weights);

#ifdef __cplusplus
}
#endif
#endif
