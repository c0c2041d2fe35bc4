// Parts of CUVIDEOFORMAT that every codec fills in the same way.
#pragma once

#include <numeric>

#include "abi.h"

namespace emu {

inline void set_signal(CUVIDEOFORMAT& format, unsigned video_format, bool full_range, unsigned primaries,
                       unsigned transfer, unsigned matrix) {
  auto& signal = format.video_signal_description;
  signal.video_format = video_format & 7;
  signal.video_full_range_flag = full_range;
  signal.color_primaries = static_cast<unsigned char>(primaries);
  signal.transfer_characteristics = static_cast<unsigned char>(transfer);
  signal.matrix_coefficients = static_cast<unsigned char>(matrix);
}

// Display aspect ratio from the sample's; 0:0 counts as square.
inline void set_aspect(CUVIDEOFORMAT& format, unsigned sar_width, unsigned sar_height) {
  auto& area = format.display_area;
  long x = static_cast<long>(area.right - area.left) * (sar_width && sar_height ? sar_width : 1);
  long y = static_cast<long>(area.bottom - area.top) * (sar_width && sar_height ? sar_height : 1);
  long divisor = std::gcd(x, y);
  if (divisor) format.display_aspect_ratio = {static_cast<int>(x / divisor), static_cast<int>(y / divisor)};
}

inline unsigned round_up(unsigned value, unsigned to) { return (value + to - 1) / to * to; }

}  // namespace emu
