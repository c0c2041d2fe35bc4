#include "caps.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "switches.h"

namespace emu {
namespace {

enum Chroma : unsigned { c400 = 1 << 0, c420 = 1 << 1, c422 = 1 << 2, c444 = 1 << 3 };
enum Depth : unsigned { d8 = 1 << 0, d10 = 1 << 2, d12 = 1 << 4 };  // bit n: n + 8 bits

struct Row {
  cudaVideoCodec codec;
  unsigned chroma, depth;
  unsigned max_size, min_width, min_height;
};

constexpr Row turing[] = {
    {cudaVideoCodec_MPEG1, c420, d8, 4080, 48, 16},
    {cudaVideoCodec_MPEG2, c420, d8, 4080, 48, 16},
    {cudaVideoCodec_MPEG4, c420, d8, 2032, 48, 16},
    {cudaVideoCodec_H264, c400 | c420, d8, 4096, 48, 16},
    {cudaVideoCodec_HEVC, c400 | c420 | c444, d8 | d10 | d12, 8192, 144, 144},
    {cudaVideoCodec_VP8, c420, d8, 4096, 48, 16},
    {cudaVideoCodec_VP9, c420, d8 | d10 | d12, 8192, 128, 128},
};
constexpr Row av1 = {cudaVideoCodec_AV1, c400 | c420, d8 | d10, 8192, 128, 128};
constexpr Row blackwell_h264 = {cudaVideoCodec_H264, c400 | c420 | c422, d8 | d10, 8192, 48, 16};
constexpr Row blackwell_hevc_422 = {cudaVideoCodec_HEVC, c422, d8 | d10 | d12, 8192, 144, 144};

struct Device {
  const char* key;  // of DeviceProfile
  bool has_av1, is_blackwell;
  unsigned max_size;  // 0: the table's
};

constexpr Device devices[] = {
    {"t4", false, false, 0},   {"a10", true, false, 0}, {"l4", true, false, 0},
    {"h100", false, false, 0}, {"b200", true, true, 0}, {"tiny", false, false, 640},
};

bool covers(const Row& row, const CUVIDDECODECAPS& caps) {
  return row.codec == caps.eCodecType && row.chroma >> caps.eChromaFormat & 1 && caps.nBitDepthMinus8 < 8 &&
         row.depth >> caps.nBitDepthMinus8 & 1;
}

const Row* find(const Device& device, const CUVIDDECODECAPS& caps) {
  if (device.is_blackwell)
    for (const Row* row : {&blackwell_h264, &blackwell_hevc_422})
      if (covers(*row, caps)) return row;
  if (device.has_av1 && covers(av1, caps)) return &av1;
  for (const Row& row : turing)
    if (covers(row, caps)) return &row;
  return nullptr;
}

// 8-bit output of deeper pictures is offered too, except by AV1.
unsigned short output_formats(const CUVIDDECODECAPS& caps) {
  auto bit = [](int format) { return 1u << format; };
  bool deep = caps.nBitDepthMinus8 > 0;
  unsigned narrow = bit(cudaVideoSurfaceFormat_NV12), wide = bit(cudaVideoSurfaceFormat_P016);
  if (caps.eChromaFormat == cudaVideoChromaFormat_444) {
    narrow = bit(cudaVideoSurfaceFormat_YUV444);
    wide = bit(cudaVideoSurfaceFormat_YUV444_16Bit);
  }
  if (caps.eChromaFormat == cudaVideoChromaFormat_422)
    narrow = bit(surface_format_nv16), wide = bit(surface_format_p216);
  unsigned mask = !deep ? narrow : caps.eCodecType == cudaVideoCodec_AV1 ? wide : narrow | wide;
  return static_cast<unsigned short>(mask);
}

}  // namespace

void fill_caps(const DeviceProfile& profile, CUVIDDECODECAPS& caps) {
  constexpr size_t first_out = offsetof(CUVIDDECODECAPS, bIsSupported);
  std::memset(reinterpret_cast<char*>(&caps) + first_out, 0, sizeof caps - first_out);
  auto device = std::find_if(std::begin(devices), std::end(devices),
                             [&](const Device& d) { return !std::strcmp(d.key, profile.key); });
  const Row* row = device == std::end(devices) ? nullptr : find(*device, caps);
  if (!row) return;
  unsigned side = device->max_size ? device->max_size : row->max_size;
  caps.bIsSupported = 1;
  int engines = switches().engines;
  caps.nNumNVDECs = static_cast<unsigned char>(engines < 0 ? profile.nvdec_engines : engines);
  caps.nOutputFormatMask = output_formats(caps);
  caps.nMaxWidth = caps.nMaxHeight = side;
  caps.nMaxMBCount = side * side / 256;
  caps.nMinWidth = static_cast<unsigned short>(row->min_width);
  caps.nMinHeight = static_cast<unsigned short>(row->min_height);
  if (switches().min_size >= 0) caps.nMinWidth = caps.nMinHeight = static_cast<unsigned short>(switches().min_size);
}

}  // namespace emu
