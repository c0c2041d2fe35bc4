// The pixel arithmetic, written once: g++ compiles it for every CPU instruction set and nvcc for every GPU, and all
// give the same bytes, because it is integers and explicit fused multiply-adds only. Vector code must equal these
// functions exactly.
//
// Everything is in an anonymous namespace: one source is built several times with different -m flags, and an inline
// function shared between those objects could be linked in the wrong variant. For the same reason nothing but <cstdint>
// is included.
#pragma once

#include <cstdint>

#include "core/color_matrix.h"

#if defined(__CUDACC__)
#define FRAMETAP_HD __host__ __device__
#else
#define FRAMETAP_HD
#endif

namespace frametap {
namespace {

constexpr int kWeightBits = 14;                      // resampling weights: int16, a row sums to 1 << 14
constexpr int kSampleBits = 6;                       // between passes: Q6 of 8 bits, int16, whatever the source depth
constexpr int kMixBits = kMatrixBits + kSampleBits;  // after the matrix: Q19 of 8 bits, int32
constexpr int32_t kMixWhite = 255 << kMixBits;

FRAMETAP_HD inline int32_t clamp(int32_t value, int32_t low, int32_t high) {
  return value < low ? low : (value > high ? high : value);
}

FRAMETAP_HD inline int16_t saturate_i16(int32_t value) { return static_cast<int16_t>(clamp(value, -32768, 32767)); }

// The value of one stored sample. Depths below 16 read the word as signed, as the vector multiplies do; it only matters
// for words that no decoder writes.
FRAMETAP_HD inline int32_t sample_value(uint8_t element, int, int) { return element; }
FRAMETAP_HD inline int32_t sample_value(uint16_t element, int shift, int depth) {
  const int32_t value = element >> shift;
  return depth == 16 ? value : static_cast<int16_t>(value);
}

// Sum of weight * value (Q14, depth bits) to Q6 of 8 bits: 14 + (depth - 8) - 6 = depth.
FRAMETAP_HD inline int16_t round_vertical(int32_t sum, int depth) {
  return saturate_i16((sum + (1 << (depth - 1))) >> depth);
}

FRAMETAP_HD inline int16_t round_horizontal(int32_t sum) {
  return saturate_i16((sum + (1 << (kWeightBits - 1))) >> kWeightBits);
}

// One output channel in Q19, neither rounded nor saturated.
FRAMETAP_HD inline int32_t mix(const ColorMatrix& m, int channel, int32_t a, int32_t b, int32_t c) {
  return m.weight[channel][0] * a + m.weight[channel][1] * b + m.weight[channel][2] * c + m.bias[channel];
}

FRAMETAP_HD inline uint8_t mix_to_u8(int32_t mixed) {
  return static_cast<uint8_t>(clamp((mixed + (1 << (kMixBits - 1))) >> kMixBits, 0, 255));
}

FRAMETAP_HD inline int32_t saturate_mix(int32_t mixed) { return clamp(mixed, 0, kMixWhite); }

// value * scale + bias with one rounding.
FRAMETAP_HD inline float normalize(int32_t value, float scale, float bias) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(static_cast<float>(value), scale, bias);
#else
  return __builtin_fmaf(static_cast<float>(value), scale, bias);
#endif
}

FRAMETAP_HD inline uint32_t float_bits(float value) {
  union {
    float f;
    uint32_t u;
  } pun;
  pun.f = value;
  return pun.u;
}

FRAMETAP_HD inline float bits_float(uint32_t value) {
  union {
    uint32_t u;
    float f;
  } pun;
  pun.u = value;
  return pun.f;
}

// Round to nearest even, as every hardware conversion does; written out so that base, AVX and CUDA cannot differ.
FRAMETAP_HD inline uint16_t float_to_half(float value) {
  const uint32_t bits = float_bits(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t half;
  if (magnitude >= 0x47800000u) {  // 65536 and above, infinity, NaN
    half = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // subnormal half: let the adder round at 2^-24
    half = float_bits(bits_float(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  }
  return static_cast<uint16_t>(sign | half);
}

FRAMETAP_HD inline uint16_t float_to_bfloat16(float value) {
  const uint32_t bits = float_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return static_cast<uint16_t>((bits >> 16) | 0x40u);
  }
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace
}  // namespace frametap
