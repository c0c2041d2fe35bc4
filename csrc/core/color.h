// Integer colour matrices, derived from (kr, kb, range, depth). No colour constant lives anywhere else.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/color_matrix.h"
#include "core/pixel_format.h"

namespace frametap {

/// Matrix from the components of `format` to R, G, B, or to one gray channel.
///
/// `matrix` is bt601, bt709, bt2020nc, smpte240m, fcc or rgb; it is ignored for RGB and gray sources.
/// Throws UnsupportedError for any other name.
ColorMatrix derive_color_matrix(const PixelFormat& format, std::string_view matrix, bool full_range, bool gray_output);

/// BT.601 luma of an RGB triple, the weights Pillow's "L" uses.
uint8_t luma_of_rgb(int r, int g, int b);

}  // namespace frametap
