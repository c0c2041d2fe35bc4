// What FFmpeg's pixel format names mean: where each component lies. One table row per name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace frametap {

enum class PixelFamily : uint8_t { kYuv, kRgb, kGray };

/// Where one component lies in a row, in elements (bytes, or 16-bit words where the depth is above 8).
struct Component {
  uint8_t plane = 0;
  uint8_t step = 1;    // elements from one sample to the next
  uint8_t offset = 0;  // element of the first sample
};

/// Components are Y, U, V or R, G, B or gray; alpha is not listed because it is dropped.
struct PixelFormat {
  std::string_view name;
  PixelFamily family = PixelFamily::kYuv;
  uint8_t depth = 8;
  uint8_t shift = 0;  // the value is element >> shift: p010 keeps its 10 bits at the top
  uint8_t log2_chroma_width = 0;
  uint8_t log2_chroma_height = 0;
  Component component[3];

  int components() const { return family == PixelFamily::kGray ? 1 : 3; }
  int element_bytes() const { return depth > 8 ? 2 : 1; }
};

/// Looks a name up. Throws UnsupportedError that names the format when it is not in the table.
const PixelFormat& find_pixel_format(std::string_view name);

/// Every name in the table, in table order.
std::vector<std::string> pixel_format_names();

}  // namespace frametap
