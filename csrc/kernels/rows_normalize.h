// Float outputs: one fused multiply-add per value, then the rounding of pixel.h, with the conversion instructions where
// there are.
#pragma once

#include "kernels/pixel.h"
#include "kernels/row_kernels.h"
#include "kernels/vec.h"

namespace frametap {
namespace {

#if defined(__AVX512BW__)
#define FRAMETAP_FLOATS 16
using Floats = __m512;
inline Floats all_floats(float v) { return _mm512_set1_ps(v); }
inline Floats to_floats(const int32_t* p) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(p)); }
inline Floats to_floats(const uint8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline Floats fused(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline void store_half(uint16_t* p, Floats v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline void store_float(float* p, Floats v) { _mm512_storeu_ps(p, v); }
inline void store_bfloat(uint16_t* p, Floats v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}
#elif defined(__AVX2__)
#define FRAMETAP_FLOATS 8
using Floats = __m256;
inline Floats all_floats(float v) { return _mm256_set1_ps(v); }
inline Floats to_floats(const int32_t* p) {
  return _mm256_cvtepi32_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Floats to_floats(const uint8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
inline Floats fused(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline void store_half(uint16_t* p, Floats v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline void store_float(float* p, Floats v) { _mm256_storeu_ps(p, v); }
inline void store_bfloat(uint16_t* p, Floats v) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i words = _mm256_srli_epi32(rounded, 16);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(words, words), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}
#endif

template <class Value>
inline void normalize_one(Value value, float scale, float bias, SampleType type, void* out, int32_t i) {
  const float result = normalize(value, scale, bias);
  if (type == SampleType::kFloat32) {
    static_cast<float*>(out)[i] = result;
  } else {
    static_cast<uint16_t*>(out)[i] = type == SampleType::kFloat16 ? float_to_half(result) : float_to_bfloat16(result);
  }
}

// The plan refuses scales and biases that are not finite, so no NaN arises and bfloat16 needs no test for one.
template <class Value>
void normalize_row(const Value* in, int32_t count, float scale, float bias, SampleType type, void* out) {
  int32_t i = 0;
#if defined(FRAMETAP_FLOATS)
  const Floats scales = all_floats(scale), biases = all_floats(bias);
  for (; i + FRAMETAP_FLOATS <= count; i += FRAMETAP_FLOATS) {
    const Floats result = fused(to_floats(in + i), scales, biases);
    if (type == SampleType::kFloat32) {
      store_float(static_cast<float*>(out) + i, result);
    } else if (type == SampleType::kFloat16) {
      store_half(static_cast<uint16_t*>(out) + i, result);
    } else {
      store_bfloat(static_cast<uint16_t*>(out) + i, result);
    }
  }
#endif
  for (; i < count; ++i) {
    normalize_one(in[i], scale, bias, type, out, i);
  }
}

void normalize_u8(const uint8_t* in, int32_t count, float scale, float bias, SampleType type, void* out) {
  normalize_row(in, count, scale, bias, type, out);
}

void normalize_mix(const int32_t* in, int32_t count, float scale, float bias, SampleType type, void* out) {
  normalize_row(in, count, scale, bias, type, out);
}

}  // namespace
}  // namespace frametap
