/* tgc_selftest.c - see tgc_selftest.h. tgc/backends/golden.py makes the same inputs. */
#include "tgc_selftest.h"

#include <string.h>

/* ---- inputs */

/* SplitMix64 (Steele, Lea, Flood 2014) at a counter. */
static uint64_t random_word(uint64_t counter) {
  uint64_t z = counter * UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

/* The leading bits of a word, as many as a float type holds exactly, as a number in [-1, 1) or (0, 1]. */
static double fraction(uint64_t word, int bits, uint32_t positive) {
  const double leading = (double)(word >> (64 - bits)), half = (double)(UINT64_C(1) << (bits - 1));
  return positive ? (leading + 1) / (2 * half) : (leading - half) / half;
}

static uint32_t float_bits(double value) {
  const float narrow = (float)value;
  uint32_t bits;
  memcpy(&bits, &narrow, sizeof bits);
  return bits;
}

/* The half that equals `value`, which is zero or a normal one of at most 11 significant bits. */
static uint16_t half_bits(double value) {
  const uint32_t bits = float_bits(value);
  if (bits << 1 == 0) return 0;
  return (uint16_t)((bits >> 16 & 0x8000u) | ((bits >> 13 & 0x3ffffu) - (112u << 10)));
}

static void put(void *data, uint64_t element, int32_t dtype, uint64_t word, uint32_t positive) {
  const uint32_t width = tgc_element_bytes(dtype);
  uint64_t u64 = word >> 63;
  uint32_t u32 = (uint32_t)u64;
  uint16_t u16 = (uint16_t)u64;
  uint8_t u8 = (uint8_t)u64;
  double f64;
  const void *from = &u64;
  switch (dtype) {
    case TGC_F64: f64 = fraction(word, 53, positive); memcpy(&u64, &f64, sizeof u64); break;
    case TGC_F32: u32 = float_bits(fraction(word, 24, positive)); break;
    case TGC_F16: u16 = half_bits(fraction(word, 11, positive)); break;
    case TGC_BF16: u16 = (uint16_t)(float_bits(fraction(word, 8, positive)) >> 16); break;
    case TGC_I8: case TGC_U8: case TGC_I4: case TGC_U4: case TGC_I2: case TGC_U2: u8 = (uint8_t)(word >> 56); break;
    case TGC_F8E8M0: u8 = (uint8_t)((word >> 56 & 7u) | 0x78u); break; /* 2^-7 to 1 */
    case TGC_F4E2M1: u8 = (uint8_t)(word >> 56 & (positive ? 0x77u : 0xffu)); break;
    case TGC_F8E4M3FN: case TGC_F8E4M3FNUZ: case TGC_F8E5M2: case TGC_F8E5M2FNUZ: /* below 2, and neither -0 nor NaN */
      u8 = (uint8_t)((word >> 56 & (positive ? 0x3fu : 0xbfu)) | 1u);
      break;
    default: break; /* wider integers and bool: 0 or 1 */
  }
  if (width == 4) from = &u32;
  if (width == 2) from = &u16;
  if (width == 1) from = &u8;
  memcpy((uint8_t *)data + element * width, from, width);
}

static void *place(const tgc_tensor *tensor, uint8_t **next) {
  void *data = *next;
  *next += tensor->bytes / 8 * 8 + 8;
  return data;
}

static uint64_t room(const tgc_tensor *tensors, uint32_t count) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < count; ++i) bytes += tensors[i].bytes / 8 * 8 + 8;
  return bytes;
}

tgc_status tgc_selftest_prepare(const tgc_model *model, const tgc_golden *golden, void *scratch, uint64_t scratch_bytes,
                                const void **inputs, void **outputs) {
  const uint64_t needed = room(model->inputs, model->input_count) + room(model->outputs, model->output_count);
  uint8_t *next = (uint8_t *)scratch;
  if (scratch_bytes < needed || (needed && (!scratch || (uintptr_t)scratch % 8))) return TGC_BAD_ARGUMENT;
  for (uint32_t i = 0; i < model->input_count; ++i) {
    const tgc_tensor *tensor = &model->inputs[i];
    const uint64_t count = tensor->bytes / tgc_element_bytes(tensor->dtype);
    void *data = place(tensor, &next);
    for (uint64_t j = 0; j < count; ++j) put(data, j, tensor->dtype, random_word(((uint64_t)i << 40) + j + 1), golden->positive);
    inputs[i] = data;
  }
  for (uint32_t i = 0; i < model->output_count; ++i) {
    outputs[i] = place(&model->outputs[i], &next);
    memset(outputs[i], 0xff, (size_t)model->outputs[i].bytes);
  }
  return TGC_OK;
}

/* ---- run */

tgc_status tgc_selftest_run(const tgc_model *model, const void *weights, void *arena, const void *const *inputs, void *const *outputs) {
  tgc_status status = model->weights_bytes ? tgc_check_weights(model, weights, model->weights_bytes) : TGC_OK;
  if (status != TGC_OK) return status;
  if (arena) memset(arena, 0xff, (size_t)model->arena_bytes);
  tgc_reset(model, arena);
  status = tgc_run(model, weights, arena, inputs, outputs);
  tgc_reset(model, arena);
  return status;
}

/* ---- outputs */

static double widened_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static double widened_half(uint16_t bits) {
  const uint32_t sign = (uint32_t)(bits & 0x8000u) << 16, rest = bits & 0x7fffu;
  if (rest >= 0x7c00u) return widened_float(sign | 0x7f800000u | rest << 13);          /* infinity, NaN */
  if (rest < 0x0400u) return (sign ? -1.0 : 1.0) * (double)rest / 16777216.0; /* 2^-24 is the smallest */
  return widened_float(sign | ((rest << 13) + (112u << 23)));
}

static int is_float(int32_t dtype) { return dtype == TGC_F16 || dtype == TGC_BF16 || dtype == TGC_F32 || dtype == TGC_F64; }

static double float_value(const void *at, int32_t dtype) {
  uint16_t u16;
  uint32_t u32;
  double f64;
  if (dtype == TGC_F64) return memcpy(&f64, at, sizeof f64), f64;
  if (dtype == TGC_F32) return memcpy(&u32, at, sizeof u32), widened_float(u32);
  memcpy(&u16, at, sizeof u16);
  return dtype == TGC_F16 ? widened_half(u16) : widened_float((uint32_t)u16 << 16);
}

/* An integer widened to 64 bits, its sign too. */
static uint64_t integer_value(const void *at, int32_t dtype) {
  uint8_t u8;
  uint16_t u16;
  uint32_t u32;
  uint64_t u64;
  switch (tgc_element_bytes(dtype)) {
    case 1: return memcpy(&u8, at, sizeof u8), dtype == TGC_I8 ? (uint64_t)(int8_t)u8 : u8;
    case 2: return memcpy(&u16, at, sizeof u16), dtype == TGC_I16 ? (uint64_t)(int16_t)u16 : u16;
    case 4: return memcpy(&u32, at, sizeof u32), dtype == TGC_I32 ? (uint64_t)(int32_t)u32 : u32;
    default: return memcpy(&u64, at, sizeof u64), u64;
  }
}

static double integer_shown(uint64_t bits, int32_t dtype) { return dtype == TGC_U64 ? (double)bits : (double)(int64_t)bits; }

/* Equal, or near enough; any NaN agrees with any other. */
static int agrees(double found, double expected, double tolerance) {
  if (expected != expected) return found != found;
  return found == expected || (found - expected <= tolerance && expected - found <= tolerance);
}

static tgc_selftest_result examine(const tgc_golden_value *wanted, double tolerance, const void *data, int32_t dtype, int *fine) {
  const void *at = (const uint8_t *)data + wanted->element * tgc_element_bytes(dtype);
  tgc_selftest_result result = {0, 0, wanted->element, 0, 0};
  if (is_float(dtype)) {
    memcpy(&result.expected, &wanted->bits, sizeof result.expected);
    result.found = float_value(at, dtype);
    *fine = agrees(result.found, result.expected, tolerance);
  } else {
    const uint64_t found = integer_value(at, dtype);
    result.expected = integer_shown(wanted->bits, dtype);
    result.found = integer_shown(found, dtype);
    *fine = found == wanted->bits;
  }
  return result;
}

tgc_status tgc_selftest_compare(const tgc_model *model, const tgc_golden *golden, void *const *outputs, tgc_selftest_result *result) {
  for (uint32_t i = 0; i < model->output_count; ++i) {
    const tgc_golden_output *row = &golden->outputs[i];
    for (uint64_t j = 0; j < row->count; ++j) {
      int fine;
      tgc_selftest_result found = examine(&row->values[j], row->tolerance, outputs[i], model->outputs[i].dtype, &fine);
      if (fine) continue;
      found.output = i;
      if (result) *result = found;
      return TGC_BAD_RESULT;
    }
  }
  return TGC_OK;
}
