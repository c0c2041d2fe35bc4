// Integer colour matrices, derived from (kr, kb, range, depth). No colour constant lives anywhere else.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/pixel_format.h"

namespace frametap {

constexpr int kMatrixBits = 13;  // the largest coefficient, 2.14 (BT.2020 limited), still fits int16

/// Output channel i = (sum_j weight[i][j] * component[j] + bias[i]) in Q19 of 8 bits; components are Q6 of 8 bits.
/// Plain data: kernels of every backend read it.
struct ColorMatrix {
  int16_t weight[3][3];
  int32_t bias[3];
  int32_t outputs;     // 1 (gray) or 3 (R, G, B)
  int32_t components;  // how many source components are read: 1 or 3
};

/// Matrix from the components of `format` to R, G, B, or to one gray channel.
///
/// `matrix` is bt601, bt709, bt2020nc, smpte240m, fcc or rgb; it is ignored for RGB and gray sources.
/// Throws UnsupportedError for any other name.
ColorMatrix derive_color_matrix(const PixelFormat& format, std::string_view matrix, bool full_range, bool gray_output);

/// BT.601 luma of an RGB triple, the weights Pillow's "L" uses.
uint8_t luma_of_rgb(int r, int g, int b);

}  // namespace frametap
