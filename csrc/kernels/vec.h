// One vector type per x86 instruction set behind the same dozen functions, so that the row loops are written once.
//
// `Vec` is kLanes independent 128-bit lanes. unpack_* and pack_* work inside each lane, as the instructions do;
// store_pairs and pack_bytes put lanes back in memory order. Intrinsics are always inlined, so including them leaves no
// weak symbols.
#pragma once

#if defined(__x86_64__)
#define FRAMETAP_VECTOR 1

#include <immintrin.h>

#include <cstdint>

namespace frametap {
namespace {

#if defined(__AVX512BW__)
#define FRAMETAP_VEC(name) _mm512_##name
#define FRAMETAP_VEC_BITS(name) _mm512_##name##_si512
using Vec = __m512i;
#elif defined(__AVX2__)
#define FRAMETAP_VEC(name) _mm256_##name
#define FRAMETAP_VEC_BITS(name) _mm256_##name##_si256
using Vec = __m256i;
#else
#define FRAMETAP_VEC(name) _mm_##name
#define FRAMETAP_VEC_BITS(name) _mm_##name##_si128
using Vec = __m128i;
#endif

constexpr int32_t kVecBytes = sizeof(Vec);
constexpr int32_t kLanes = kVecBytes / 16;

inline Vec load(const void* p) { return FRAMETAP_VEC_BITS(loadu)(static_cast<const Vec*>(p)); }
inline void store(void* p, Vec v) { FRAMETAP_VEC_BITS(storeu)(static_cast<Vec*>(p), v); }
// Past the caches; p must be aligned.
inline void stream(void* p, Vec v) { FRAMETAP_VEC_BITS(stream)(static_cast<Vec*>(p), v); }
inline Vec zero() { return FRAMETAP_VEC_BITS(setzero)(); }
inline Vec all16(int16_t v) { return FRAMETAP_VEC(set1_epi16)(v); }
inline Vec all32(int32_t v) { return FRAMETAP_VEC(set1_epi32)(v); }
inline Vec unpack_low8(Vec a, Vec b) { return FRAMETAP_VEC(unpacklo_epi8)(a, b); }
inline Vec unpack_high8(Vec a, Vec b) { return FRAMETAP_VEC(unpackhi_epi8)(a, b); }
inline Vec unpack_low16(Vec a, Vec b) { return FRAMETAP_VEC(unpacklo_epi16)(a, b); }
inline Vec unpack_high16(Vec a, Vec b) { return FRAMETAP_VEC(unpackhi_epi16)(a, b); }
inline Vec unpack_low32(Vec a, Vec b) { return FRAMETAP_VEC(unpacklo_epi32)(a, b); }
inline Vec unpack_high32(Vec a, Vec b) { return FRAMETAP_VEC(unpackhi_epi32)(a, b); }
inline Vec unpack_low64(Vec a, Vec b) { return FRAMETAP_VEC(unpacklo_epi64)(a, b); }
inline Vec unpack_high64(Vec a, Vec b) { return FRAMETAP_VEC(unpackhi_epi64)(a, b); }
inline Vec pack16(Vec low, Vec high) { return FRAMETAP_VEC(packs_epi32)(low, high); }
inline Vec add32(Vec a, Vec b) { return FRAMETAP_VEC(add_epi32)(a, b); }
inline Vec madd16(Vec a, Vec b) { return FRAMETAP_VEC(madd_epi16)(a, b); }
inline Vec shift_left16(Vec v, int bits) { return FRAMETAP_VEC(sll_epi16)(v, _mm_cvtsi32_si128(bits)); }
inline Vec shift_right_unsigned16(Vec v, int bits) { return FRAMETAP_VEC(srl_epi16)(v, _mm_cvtsi32_si128(bits)); }
inline Vec shift_right32(Vec v, int bits) { return FRAMETAP_VEC(sra_epi32)(v, _mm_cvtsi32_si128(bits)); }

// sum + a.lo * b.lo + a.hi * b.hi per 32 bits. Wraps where madd16 and add32 would, so all of them agree.
inline Vec multiply_add16(Vec sum, Vec a, Vec b) {
#if defined(__AVX512VNNI__)
  return _mm512_dpwssd_epi32(sum, a, b);
#else
  return add32(sum, madd16(a, b));
#endif
}

inline __m128i load_lane(const int16_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

#if defined(__AVX512BW__)

inline Vec xor_bits(Vec a, Vec b) { return _mm512_xor_si512(a, b); }
inline Vec clamp32(Vec v, Vec low, Vec high) { return _mm512_min_epi32(_mm512_max_epi32(v, low), high); }

/// Lane i from p + start[4 * i].
inline Vec load_lanes(const int16_t* p, const int32_t* start) {
  const __m256i low =
      _mm256_inserti128_si256(_mm256_castsi128_si256(load_lane(p + start[0])), load_lane(p + start[4]), 1);
  const __m256i high =
      _mm256_inserti128_si256(_mm256_castsi128_si256(load_lane(p + start[8])), load_lane(p + start[12]), 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

constexpr int32_t kWindow = 64;

/// 32-bit elements at given places of one or two windows of kWindow words.
template <int32_t kWindows>
struct Picker {
  explicit Picker(const int32_t* places)
      : index(load(places)), second(_mm512_test_epi32_mask(index, _mm512_set1_epi32(kWindow / 2))) {}
  Vec pick(const int16_t* p) const {
    const Vec low = _mm512_permutex2var_epi32(load(p), index, load(p + 32));
    if constexpr (kWindows == 1) {
      return low;
    }
    return _mm512_mask_blend_epi32(second, low, _mm512_permutex2var_epi32(load(p + 64), index, load(p + 96)));
  }
  Vec index;
  __mmask16 second;
};

inline void store_words(int16_t* p, Vec v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtsepi32_epi16(v));
}

inline void store_pairs(int16_t* p, Vec a, Vec b) {
  store(p, _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), b));
  store(p + kVecBytes / 2, _mm512_permutex2var_epi64(a, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), b));
}

inline Vec pack_bytes(Vec a, Vec b) {
  return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), _mm512_packus_epi16(a, b));
}

inline void store_pairs32(int32_t* p, Vec a, Vec b) {
  store(p, _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), b));
  store(p + kVecBytes / 4, _mm512_permutex2var_epi64(a, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), b));
}

#elif defined(__AVX2__)

inline Vec xor_bits(Vec a, Vec b) { return _mm256_xor_si256(a, b); }
inline Vec clamp32(Vec v, Vec low, Vec high) { return _mm256_min_epi32(_mm256_max_epi32(v, low), high); }

inline Vec load_lanes(const int16_t* p, const int32_t* start) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(load_lane(p + start[0])), load_lane(p + start[4]), 1);
}

constexpr int32_t kWindow = 16;

/// 32-bit elements at given places of one or two windows of kWindow words.
template <int32_t kWindows>
struct Picker {
  explicit Picker(const int32_t* places)
      : index(load(places)), second(_mm256_cmpgt_epi32(index, all32(kWindow / 2 - 1))) {}
  Vec pick(const int16_t* p) const {
    const Vec low = _mm256_permutevar8x32_epi32(load(p), index);
    if constexpr (kWindows == 1) {
      return low;
    }
    return _mm256_blendv_epi8(low, _mm256_permutevar8x32_epi32(load(p + 16), index), second);
  }
  Vec index, second;
};

inline void store_words(int16_t* p, Vec v) {
  const Vec words = _mm256_permute4x64_epi64(pack16(v, v), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(words));
}

inline void store_pairs(int16_t* p, Vec a, Vec b) {
  store(p, _mm256_permute2x128_si256(a, b, 0x20));
  store(p + kVecBytes / 2, _mm256_permute2x128_si256(a, b, 0x31));
}

inline Vec pack_bytes(Vec a, Vec b) { return _mm256_permute4x64_epi64(_mm256_packus_epi16(a, b), 0xd8); }

inline void store_pairs32(int32_t* p, Vec a, Vec b) {
  store(p, _mm256_permute2x128_si256(a, b, 0x20));
  store(p + kVecBytes / 4, _mm256_permute2x128_si256(a, b, 0x31));
}

#else

inline Vec xor_bits(Vec a, Vec b) { return _mm_xor_si128(a, b); }

// SSE2 has no 32-bit min and max.
inline Vec select(Vec mask, Vec a, Vec b) { return _mm_or_si128(_mm_and_si128(mask, a), _mm_andnot_si128(mask, b)); }
inline Vec clamp32(Vec v, Vec low, Vec high) {
  const Vec raised = select(_mm_cmplt_epi32(v, low), low, v);
  return select(_mm_cmpgt_epi32(raised, high), high, raised);
}

inline Vec load_lanes(const int16_t* p, const int32_t* start) { return load_lane(p + start[0]); }
constexpr int32_t kWindow = 0;  // no permutation of 32-bit elements by a vector of places

template <int32_t kWindows>
struct Picker {
  explicit Picker(const int32_t*) {}
  Vec pick(const int16_t*) const { return zero(); }
};

inline void store_words(int16_t* p, Vec v) { _mm_storel_epi64(reinterpret_cast<__m128i*>(p), pack16(v, v)); }

inline void store_pairs(int16_t* p, Vec a, Vec b) {
  store(p, a);
  store(p + kVecBytes / 2, b);
}

inline Vec pack_bytes(Vec a, Vec b) { return _mm_packus_epi16(a, b); }

inline void store_pairs32(int32_t* p, Vec a, Vec b) {
  store(p, a);
  store(p + kVecBytes / 4, b);
}

#endif

}  // namespace
}  // namespace frametap
#endif
