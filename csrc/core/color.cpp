#include "core/color.h"

#include <array>
#include <cmath>

#include "core/error.h"

namespace frametap {
namespace {

constexpr int kSampleOne = 1 << 6;  // components arrive as Q6 of 8 bits

struct LumaWeights {
  std::string_view name;
  double kr, kb;
};

constexpr std::array<LumaWeights, 5> kLumaWeights{{
    {"bt601", 0.299, 0.114},
    {"bt709", 0.2126, 0.0722},
    {"bt2020nc", 0.2627, 0.0593},
    {"smpte240m", 0.212, 0.087},
    {"fcc", 0.30, 0.11},
}};

/// What one step of luma and of chroma is worth in full range 8 bits, and where black is.
struct Range {
  double luma, chroma;
  int black;
};

Range range_of(int depth, bool full_range) {
  if (!full_range) {
    return {255.0 / 219.0, 255.0 / 224.0, 16};
  }
  // Full range white is 2^d - 1, not 255 * 2^(d - 8).
  const double white = (std::ldexp(1.0, depth) - 1.0) * std::ldexp(1.0, 8 - depth);
  return {255.0 / white, 255.0 / white, 0};
}

int16_t quantize(double coefficient) { return static_cast<int16_t>(std::lround(std::ldexp(coefficient, kMatrixBits))); }

/// The bias uses the rounded weights, so that black and neutral chroma are met exactly.
void set_bias(ColorMatrix& m, const int (&zero)[3]) {
  for (int i = 0; i < 3; ++i) {
    m.bias[i] = 0;
    for (int j = 0; j < 3; ++j) {
      m.bias[i] -= m.weight[i][j] * zero[j] * kSampleOne;
    }
  }
}

ColorMatrix diagonal(const Range& range, bool from_gray) {
  ColorMatrix m{};
  for (int i = 0; i < 3; ++i) {
    m.weight[i][from_gray ? 0 : i] = quantize(range.luma);
  }
  const int zero[3] = {range.black, from_gray ? 0 : range.black, from_gray ? 0 : range.black};
  set_bias(m, zero);
  m.outputs = 3;
  m.components = from_gray ? 1 : 3;
  return m;
}

ColorMatrix yuv_matrix(double kr, double kb, const Range& range) {
  const double kg = 1.0 - kr - kb;
  const double red_v = 2.0 * (1.0 - kr);
  const double blue_u = 2.0 * (1.0 - kb);
  ColorMatrix m{};
  for (auto& row : m.weight) {
    row[0] = quantize(range.luma);
  }
  m.weight[0][2] = quantize(range.chroma * red_v);
  m.weight[1][1] = quantize(-range.chroma * blue_u * kb / kg);
  m.weight[1][2] = quantize(-range.chroma * red_v * kr / kg);
  m.weight[2][1] = quantize(range.chroma * blue_u);
  set_bias(m, {range.black, 128, 128});
  m.outputs = 3;
  m.components = 3;
  return m;
}

/// YUV planes that carry G, B, R (matrix "rgb" on a YUV pixel format).
ColorMatrix gbr_matrix(const Range& range) {
  ColorMatrix m{};
  m.weight[0][2] = m.weight[1][0] = m.weight[2][1] = quantize(range.luma);
  set_bias(m, {range.black, range.black, range.black});
  m.outputs = 3;
  m.components = 3;
  return m;
}

ColorMatrix rgb_to_gray(const Range& range) {
  ColorMatrix m{};
  const double kr = kLumaWeights[0].kr, kb = kLumaWeights[0].kb;
  m.weight[0][0] = quantize(range.luma * kr);
  m.weight[0][2] = quantize(range.luma * kb);
  m.weight[0][1] = static_cast<int16_t>(quantize(range.luma) - m.weight[0][0] - m.weight[0][2]);
  m.outputs = 1;
  m.components = 3;
  return m;
}

ColorMatrix first_channel_only(ColorMatrix m) {
  m.outputs = 1;
  m.components = 1;
  return m;
}

ColorMatrix yuv_to_rgb(std::string_view matrix, const Range& range) {
  if (matrix == "rgb") {
    return gbr_matrix(range);
  }
  for (const LumaWeights& row : kLumaWeights) {
    if (row.name == matrix) {
      return yuv_matrix(row.kr, row.kb, range);
    }
  }
  fail<UnsupportedError>("colour matrix \"", matrix,
                         "\" is not supported; use bt601, bt709, bt2020nc, smpte240m, fcc or rgb");
}

}  // namespace

ColorMatrix derive_color_matrix(const PixelFormat& format, std::string_view matrix, bool full_range, bool gray_output) {
  if (format.family == PixelFamily::kRgb) {
    const Range range = range_of(format.depth, true);
    return gray_output ? rgb_to_gray(range) : diagonal(range, false);
  }
  const Range range = range_of(format.depth, full_range);
  if (format.family == PixelFamily::kGray) {
    const ColorMatrix m = diagonal(range, true);
    return gray_output ? first_channel_only(m) : m;
  }
  const ColorMatrix m = yuv_to_rgb(matrix, range);  // also for gray output: an unknown name is refused either way
  return gray_output ? first_channel_only(diagonal(range, true)) : m;
}

uint8_t luma_of_rgb(int r, int g, int b) {
  const ColorMatrix m = rgb_to_gray({1.0, 1.0, 0});
  const int32_t sum = m.weight[0][0] * r + m.weight[0][1] * g + m.weight[0][2] * b;
  return static_cast<uint8_t>((sum + (1 << (kMatrixBits - 1))) >> kMatrixBits);
}

}  // namespace frametap
