// HDR to SDR, one pixel at a time: table look-ups and integers, for every CPU instruction set and for CUDA. The tables
// are made in tone_tables.cpp, where the curves are. Like pixel.h: anonymous, and nothing but <cstdint>.
#pragma once

#include <cstdint>

#include "kernels/pixel.h"

namespace frametap {

/// Tables in host or device memory; null `to_light` means no tone mapping, null `ootf` that the source is PQ.
///
/// Light is Q24: 1.0 is the peak of the source (1000 cd/m2) before the EETF and of the target (100 cd/m2) after it.
struct ToneMap {
  const int32_t* to_light;  // R'G'B' to light, in quarters of an 8-bit step; for PQ the EETF is in it
  const int32_t* ootf;      // HLG: scene luminance to the gain of the OOTF, Q24; by logarithm
  const int32_t* eetf;      // HLG: display light to light of the target; by logarithm
  const int32_t* to_code;   // light to R'G'B' in Q19; by logarithm
  int16_t luminance[3];     // of the source's primaries, Q14, in channel order
  int16_t gamut[3][3];      // the source's primaries to BT.709, Q14, in channel order, rows sum to 1
};

namespace {

constexpr int kLightBits = 24;
constexpr int kToneFractionBits = 17;  // of a position between two entries
constexpr int kToLightEntries = 255 * 4 + 2;
constexpr int kOctaveEntries = 64;  // of tables by logarithm: for each doubling from 1 of Q24, evenly spaced in it
constexpr int kLogEntries = kLightBits * kOctaveEntries + 2;

FRAMETAP_HD inline int32_t between(const int32_t* entry, int32_t fraction) {
  return entry[0] + static_cast<int32_t>(static_cast<int64_t>(entry[1] - entry[0]) * fraction >> kToneFractionBits);
}

FRAMETAP_HD inline int32_t fraction_of(int32_t position) { return position & ((1 << kToneFractionBits) - 1); }

FRAMETAP_HD inline int32_t look_up(const int32_t* table, int32_t mixed) {
  return between(table + (mixed >> kToneFractionBits), fraction_of(mixed));
}

// The bits of a float are its logarithm, piecewise linear; light converts exactly, having 24 bits.
FRAMETAP_HD inline int32_t look_up_log(const int32_t* table, int32_t light) {
  constexpr int32_t kBitsOfOne = 127 << 23;
  const int32_t positive = clamp(light, 1, 1 << kLightBits);
  const int32_t position = static_cast<int32_t>(float_bits(static_cast<float>(positive))) - kBitsOfOne;
  return between(table + (position >> kToneFractionBits), fraction_of(position));
}

FRAMETAP_HD inline int32_t weigh(const int16_t* weight, int32_t a, int32_t b, int32_t c) {
  return static_cast<int32_t>((int64_t{weight[0]} * a + int64_t{weight[1]} * b + int64_t{weight[2]} * c) >>
                              kWeightBits);
}

struct Rgb {
  int32_t a, b, c;
};

FRAMETAP_HD inline int32_t hlg_light(const ToneMap& t, int32_t scene, int32_t gain) {
  return look_up_log(t.eetf, static_cast<int32_t>(static_cast<int64_t>(scene) * gain >> kLightBits));
}

/// Mixed values (Q19, any) of the three channels to mixed values of SDR BT.709.
FRAMETAP_HD inline Rgb tone_map(const ToneMap& t, const Rgb& mixed) {
  int32_t a = look_up(t.to_light, saturate_mix(mixed.a));
  int32_t b = look_up(t.to_light, saturate_mix(mixed.b));
  int32_t c = look_up(t.to_light, saturate_mix(mixed.c));
  if (t.ootf != nullptr) {
    const int32_t gain = look_up_log(t.ootf, weigh(t.luminance, a, b, c));
    a = hlg_light(t, a, gain);
    b = hlg_light(t, b, gain);
    c = hlg_light(t, c, gain);
  }
  return {look_up_log(t.to_code, weigh(t.gamut[0], a, b, c)), look_up_log(t.to_code, weigh(t.gamut[1], a, b, c)),
          look_up_log(t.to_code, weigh(t.gamut[2], a, b, c))};
}

}  // namespace
}  // namespace frametap
