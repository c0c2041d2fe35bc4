#include "core/pixel_format.h"

#include <algorithm>
#include <iterator>

#include "core/error.h"

namespace frametap {
namespace {

using Name = std::string_view;
using Bits = uint8_t;

constexpr PixelFormat planar_yuv(Name name, Bits depth, Bits log2_width, Bits log2_height, Bits shift = 0) {
  return {name, PixelFamily::kYuv, depth, shift, log2_width, log2_height, {{0, 1, 0}, {1, 1, 0}, {2, 1, 0}}};
}

constexpr PixelFormat semi_planar(Name name, Bits depth, Bits shift, Bits log2_width, Bits log2_height, Bits u) {
  const auto v = static_cast<uint8_t>(1 - u);
  return {name, PixelFamily::kYuv, depth, shift, log2_width, log2_height, {{0, 1, 0}, {1, 2, u}, {1, 2, v}}};
}

constexpr PixelFormat packed_422(Name name, Bits depth, Bits shift, Bits y, Bits u, Bits v) {
  return {name, PixelFamily::kYuv, depth, shift, 1, 0, {{0, 2, y}, {0, 4, u}, {0, 4, v}}};
}

constexpr PixelFormat packed(Name name, PixelFamily family, Bits depth, Bits shift, Bits step, Bits a, Bits b, Bits c) {
  return {name, family, depth, shift, 0, 0, {{0, step, a}, {0, step, b}, {0, step, c}}};
}

constexpr PixelFormat planar_gbr(Name name, Bits depth) {
  return {name, PixelFamily::kRgb, depth, 0, 0, 0, {{2, 1, 0}, {0, 1, 0}, {1, 1, 0}}};
}

constexpr PixelFormat gray(Name name, Bits depth, Bits step) {
  return {name, PixelFamily::kGray, depth, 0, 0, 0, {{0, step, 0}, {}, {}}};
}

// Not here, and so refused: big-endian names, pal8, mono*, Bayer, float samples, and RGB below 8 bits per component.
constexpr PixelFormat kFormats[] = {
    // planar YUV, 8 bits; yuvj* only differ in range, which the caller passes
    planar_yuv("yuv410p", 8, 2, 2),
    planar_yuv("yuv411p", 8, 2, 0),
    planar_yuv("yuv420p", 8, 1, 1),
    planar_yuv("yuv422p", 8, 1, 0),
    planar_yuv("yuv440p", 8, 0, 1),
    planar_yuv("yuv444p", 8, 0, 0),
    planar_yuv("yuvj411p", 8, 2, 0),
    planar_yuv("yuvj420p", 8, 1, 1),
    planar_yuv("yuvj422p", 8, 1, 0),
    planar_yuv("yuvj440p", 8, 0, 1),
    planar_yuv("yuvj444p", 8, 0, 0),
    planar_yuv("yuva420p", 8, 1, 1),
    planar_yuv("yuva422p", 8, 1, 0),
    planar_yuv("yuva444p", 8, 0, 0),
    // planar YUV above 8 bits, the value in the low bits
    planar_yuv("yuv420p9le", 9, 1, 1),
    planar_yuv("yuv420p10le", 10, 1, 1),
    planar_yuv("yuv420p12le", 12, 1, 1),
    planar_yuv("yuv420p14le", 14, 1, 1),
    planar_yuv("yuv420p16le", 16, 1, 1),
    planar_yuv("yuv422p9le", 9, 1, 0),
    planar_yuv("yuv422p10le", 10, 1, 0),
    planar_yuv("yuv422p12le", 12, 1, 0),
    planar_yuv("yuv422p14le", 14, 1, 0),
    planar_yuv("yuv422p16le", 16, 1, 0),
    planar_yuv("yuv440p10le", 10, 0, 1),
    planar_yuv("yuv440p12le", 12, 0, 1),
    planar_yuv("yuv444p9le", 9, 0, 0),
    planar_yuv("yuv444p10le", 10, 0, 0),
    planar_yuv("yuv444p12le", 12, 0, 0),
    planar_yuv("yuv444p14le", 14, 0, 0),
    planar_yuv("yuv444p16le", 16, 0, 0),
    // the value in the high bits, as NVDEC puts out 4:4:4
    planar_yuv("yuv444p10msble", 10, 0, 0, 6),
    planar_yuv("yuv444p12msble", 12, 0, 0, 4),
    planar_yuv("yuva420p9le", 9, 1, 1),
    planar_yuv("yuva420p10le", 10, 1, 1),
    planar_yuv("yuva420p16le", 16, 1, 1),
    planar_yuv("yuva422p9le", 9, 1, 0),
    planar_yuv("yuva422p10le", 10, 1, 0),
    planar_yuv("yuva422p12le", 12, 1, 0),
    planar_yuv("yuva422p16le", 16, 1, 0),
    planar_yuv("yuva444p9le", 9, 0, 0),
    planar_yuv("yuva444p10le", 10, 0, 0),
    planar_yuv("yuva444p12le", 12, 0, 0),
    planar_yuv("yuva444p16le", 16, 0, 0),
    // semi-planar YUV: Y, then U and V in turn; p* keep the value in the high bits
    semi_planar("nv12", 8, 0, 1, 1, 0),
    semi_planar("nv21", 8, 0, 1, 1, 1),
    semi_planar("nv16", 8, 0, 1, 0, 0),
    semi_planar("nv24", 8, 0, 0, 0, 0),
    semi_planar("nv42", 8, 0, 0, 0, 1),
    semi_planar("nv20le", 10, 0, 1, 0, 0),
    semi_planar("p010le", 10, 6, 1, 1, 0),
    semi_planar("p012le", 12, 4, 1, 1, 0),
    semi_planar("p016le", 16, 0, 1, 1, 0),
    semi_planar("p210le", 10, 6, 1, 0, 0),
    semi_planar("p212le", 12, 4, 1, 0, 0),
    semi_planar("p216le", 16, 0, 1, 0, 0),
    semi_planar("p410le", 10, 6, 0, 0, 0),
    semi_planar("p412le", 12, 4, 0, 0, 0),
    semi_planar("p416le", 16, 0, 0, 0, 0),
    // packed YUV
    packed_422("yuyv422", 8, 0, 0, 1, 3),
    packed_422("uyvy422", 8, 0, 1, 0, 2),
    packed_422("yvyu422", 8, 0, 0, 3, 1),
    packed_422("y210le", 10, 6, 0, 1, 3),
    packed_422("y212le", 12, 4, 0, 1, 3),
    packed_422("y216le", 16, 0, 0, 1, 3),
    packed("vuya", PixelFamily::kYuv, 8, 0, 4, 2, 1, 0),
    packed("vuyx", PixelFamily::kYuv, 8, 0, 4, 2, 1, 0),
    packed("ayuv", PixelFamily::kYuv, 8, 0, 4, 1, 2, 3),
    packed("uyva", PixelFamily::kYuv, 8, 0, 4, 1, 0, 2),
    packed("vyu444", PixelFamily::kYuv, 8, 0, 3, 1, 2, 0),
    packed("ayuv64le", PixelFamily::kYuv, 16, 0, 4, 1, 2, 3),
    packed("xv36le", PixelFamily::kYuv, 12, 4, 4, 1, 0, 2),
    packed("xv48le", PixelFamily::kYuv, 16, 0, 4, 1, 0, 2),
    // planar RGB: the planes are G, B, R
    planar_gbr("gbrp", 8),
    planar_gbr("gbrap", 8),
    planar_gbr("gbrp9le", 9),
    planar_gbr("gbrp10le", 10),
    planar_gbr("gbrp12le", 12),
    planar_gbr("gbrp14le", 14),
    planar_gbr("gbrp16le", 16),
    planar_gbr("gbrap10le", 10),
    planar_gbr("gbrap12le", 12),
    planar_gbr("gbrap14le", 14),
    planar_gbr("gbrap16le", 16),
    // packed RGB
    packed("rgb24", PixelFamily::kRgb, 8, 0, 3, 0, 1, 2),
    packed("bgr24", PixelFamily::kRgb, 8, 0, 3, 2, 1, 0),
    packed("rgba", PixelFamily::kRgb, 8, 0, 4, 0, 1, 2),
    packed("rgb0", PixelFamily::kRgb, 8, 0, 4, 0, 1, 2),
    packed("bgra", PixelFamily::kRgb, 8, 0, 4, 2, 1, 0),
    packed("bgr0", PixelFamily::kRgb, 8, 0, 4, 2, 1, 0),
    packed("argb", PixelFamily::kRgb, 8, 0, 4, 1, 2, 3),
    packed("0rgb", PixelFamily::kRgb, 8, 0, 4, 1, 2, 3),
    packed("abgr", PixelFamily::kRgb, 8, 0, 4, 3, 2, 1),
    packed("0bgr", PixelFamily::kRgb, 8, 0, 4, 3, 2, 1),
    packed("rgb48le", PixelFamily::kRgb, 16, 0, 3, 0, 1, 2),
    packed("bgr48le", PixelFamily::kRgb, 16, 0, 3, 2, 1, 0),
    packed("rgba64le", PixelFamily::kRgb, 16, 0, 4, 0, 1, 2),
    packed("bgra64le", PixelFamily::kRgb, 16, 0, 4, 2, 1, 0),
    // gray
    gray("gray", 8, 1),
    gray("gray9le", 9, 1),
    gray("gray10le", 10, 1),
    gray("gray12le", 12, 1),
    gray("gray14le", 14, 1),
    gray("gray16le", 16, 1),
    gray("ya8", 8, 2),
    gray("ya16le", 16, 2),
};

}  // namespace

const PixelFormat& find_pixel_format(std::string_view name) {
  const auto* found = std::find_if(std::begin(kFormats), std::end(kFormats),
                                   [name](const PixelFormat& format) { return format.name == name; });
  check<UnsupportedError>(found != std::end(kFormats), "pixel format \"", name,
                          "\" is not supported; convert the video to yuv420p, yuv420p10le or rgb24 first");
  return *found;
}

std::vector<std::string> pixel_format_names() {
  std::vector<std::string> names;
  for (const PixelFormat& format : kFormats) {
    names.emplace_back(format.name);
  }
  return names;
}

}  // namespace frametap
