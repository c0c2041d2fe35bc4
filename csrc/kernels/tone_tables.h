// The curves and matrices of HDR to SDR, as the tables that tone_map.h looks up.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "kernels/tone_map.h"

namespace frametap {

/// ITU-R BT.2100 (PQ or HLG, 1000 cd/m2) to BT.1886 (100 cd/m2, black 0.1 cd/m2) by the EETF of BT.2390, then to
/// BT.709.
struct ToneTables {
  std::vector<int32_t> to_light, ootf, eetf, to_code;  // all empty: no tone mapping; ootf and eetf: HLG only
  int16_t luminance[3] = {};
  int16_t gamut[3][3] = {};

  bool empty() const { return to_light.empty(); }
  /// Pointing into these tables.
  ToneMap view() const;
};

/// `tone_map` is none, pq or hlg; `primaries` bt2020, display-p3 or bt709. Throws ArgumentError for others.
/// Channels are R, G, B, or B, G, R.
ToneTables make_tone_tables(std::string_view tone_map, std::string_view primaries, bool bgr);

}  // namespace frametap
