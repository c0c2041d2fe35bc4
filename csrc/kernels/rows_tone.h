// HDR to SDR over rows of mixed values; plain loops, because look-ups take the time.
#pragma once

#include "kernels/row_kernels.h"
#include "kernels/tone_map.h"

namespace frametap {
namespace {

void tone_map_rows(const ToneMap& map, int32_t channels, int32_t count, int32_t* const* rows) {
  const ToneMap t = map;
  int32_t *a = rows[0], *b = channels == 3 ? rows[1] : a, *c = channels == 3 ? rows[2] : a;
  for (int32_t i = 0; i < count; ++i) {
    const Rgb mapped = tone_map(t, {a[i], b[i], c[i]});
    a[i] = mapped.a;  // one channel: gray in, gray out, so all three are equal
    b[i] = mapped.b;
    c[i] = mapped.c;
  }
}

void round_mix(const int32_t* __restrict in, int32_t count, uint8_t* __restrict out) {
  for (int32_t i = 0; i < count; ++i) {
    out[i] = mix_to_u8(in[i]);
  }
}

}  // namespace
}  // namespace frametap
