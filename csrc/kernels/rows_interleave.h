// Three rows of bytes to one row of pixels, for NHWC outputs.
#pragma once

#include "kernels/row_kernels.h"
#include "kernels/vec.h"

namespace frametap {
namespace {

#if defined(__AVX2__)
// Where byte i of 16 output bytes comes from: pixel (16 * part + i) / 3 of channel (16 * part + i) % 3, or nowhere
// (0x80).
struct InterleaveMasks {
  alignas(16) uint8_t at[3][3][16];

  constexpr InterleaveMasks() : at{} {
    for (int part = 0; part < 3; ++part) {
      for (int channel = 0; channel < 3; ++channel) {
        for (int i = 0; i < 16; ++i) {
          const int byte = 16 * part + i;
          at[part][channel][i] = static_cast<uint8_t>(byte % 3 == channel ? byte / 3 : 0x80);
        }
      }
    }
  }
};

constexpr InterleaveMasks kInterleaveMasks;

inline __m128i load_bytes(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

inline void interleave16(const uint8_t* const* in, int32_t i, uint8_t* out) {
  const __m128i r = load_bytes(in[0] + i), g = load_bytes(in[1] + i), b = load_bytes(in[2] + i);
  for (int32_t part = 0; part < 3; ++part) {
    const auto& masks = kInterleaveMasks.at[part];
    const __m128i rg =
        _mm_or_si128(_mm_shuffle_epi8(r, load_bytes(masks[0])), _mm_shuffle_epi8(g, load_bytes(masks[1])));
    const __m128i pixels = _mm_or_si128(rg, _mm_shuffle_epi8(b, load_bytes(masks[2])));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16 * part), pixels);
  }
}
#endif

void interleave_u8(const uint8_t* const* in, int32_t count, uint8_t* out) {
  int32_t i = 0;
#if defined(__AVX2__)
  for (; i + 16 <= count; i += 16) {
    interleave16(in, i, out + 3 * i);
  }
#endif
  for (; i < count; ++i) {
    out[3 * i] = in[0][i];
    out[3 * i + 1] = in[1][i];
    out[3 * i + 2] = in[2][i];
  }
}

}  // namespace
}  // namespace frametap
