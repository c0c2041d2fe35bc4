#include "frames.h"
#include "switches.h"
#include "video_format.h"

namespace emu {
namespace {

constexpr unsigned char vp8_surfaces = 4;  // three references and the frame being decoded
constexpr unsigned char vp9_surfaces = 9;  // eight references and the frame being decoded

void pass_on(AccessUnit&& unit, Bytes frame, const UnitSink& sink) {
  unit.data.assign(frame.begin(), frame.end());
  unit.slices = unit.data;
  unit.slice_offsets = {0};
  sink(std::move(unit));
}

}  // namespace

void FrameStream::write(Bytes packet, bool, const UnitSink& sink) {
  uint64_t start = position_;
  position_ += packet.size();
  read_packet(packet, start, sink);
}

// RFC 6386, 9.1
void Vp8Stream::read_packet(Bytes packet, uint64_t position, const UnitSink& sink) {
  if (packet.size() < 3) return;
  bool key = !(packet[0] & 1);
  if (key) {
    if (packet.size() < 10) return;
    width_ = (packet[6] | packet[7] << 8u) & 0x3FFF;
    height_ = (packet[8] | packet[9] << 8u) & 0x3FFF;
  }
  if (!width_) return;
  AccessUnit unit;
  CUVIDEOFORMAT& f = unit.format.format;
  f.codec = cudaVideoCodec_VP8;
  f.coded_width = round_up(width_, 16);
  f.coded_height = round_up(height_, 16);
  f.display_area = {0, 0, static_cast<int>(width_), static_cast<int>(height_)};
  f.chroma_format = cudaVideoChromaFormat_420;
  f.progressive_sequence = 1;
  f.min_num_decode_surfaces = vp8_surfaces;
  set_signal(f, 5, false, 2, 2, 2);
  set_aspect(f, 1, 1);
  unit.width = static_cast<int>(width_);
  unit.height = static_cast<int>(height_);
  unit.position = position;
  unit.intra = unit.starts_sequence = key;
  unit.shown = packet[0] >> 4 & 1;
  pass_on(std::move(unit), packet, sink);
}

// A superframe ends with an index of the sizes of its frames (VP9 bitstream specification, annex B).
void Vp9Stream::read_packet(Bytes packet, uint64_t position, const UnitSink& sink) {
  std::vector<size_t> sizes = {packet.size()};
  if (!packet.empty() && (packet.back() & 0xE0) == 0xC0) {
    size_t count = (packet.back() & 7u) + 1, bytes = (packet.back() >> 3 & 3u) + 1, index = 2 + count * bytes;
    if (packet.size() >= index && packet[packet.size() - index] == packet.back()) {
      Bytes table = packet.subspan(packet.size() - index + 1);
      sizes.assign(count, 0);
      for (size_t i = 0; i < count * bytes; ++i) sizes[i / bytes] |= static_cast<size_t>(table[i]) << 8 * (i % bytes);
    }
  }
  for (size_t size : sizes) {
    if (!size || size > packet.size()) return;
    AccessUnit unit;
    unit.position = position;
    if (read_frame(packet.first(size), unit)) pass_on(std::move(unit), packet.first(size), sink);
    packet = packet.subspan(size);
  }
}

// Uncompressed header, 6.2
bool Vp9Stream::read_frame(Bytes frame, AccessUnit& unit) {
  BitReader in(frame);
  if (in.u(2) != 2) return false;
  unsigned profile = in.bit();
  profile |= in.bit() << 1;
  if (profile == 3) in.bit();
  unit.shows_existing = in.flag();
  if (unit.shows_existing) {
    describe(unit, sizes_[in.u(3)]);
    return unit.width != 0;
  }
  bool key = !in.flag();
  unit.shown = in.flag();
  bool resilient = in.flag(), intra_only = false;
  std::array<unsigned, 3> references{};
  Size size;
  unsigned refresh = 0xFF;
  if (key) {
    in.u(24);
    read_color(in, profile);
    size = read_size(in, false, references);
  } else {
    intra_only = !unit.shown && in.flag();
    if (!resilient) in.u(2);
    if (intra_only) {
      in.u(24);
      if (profile > 0) read_color(in, profile);
      refresh = in.u(8);
      size = read_size(in, false, references);
    } else {
      refresh = in.u(8);
      for (unsigned& reference : references) reference = in.u(3), in.bit();
      size = read_size(in, true, references);
    }
  }
  if (!size.width || in.overrun()) return false;
  for (unsigned i = 0; i < 8; ++i)
    if (refresh >> i & 1) sizes_[i] = size;
  unit.starts_sequence = key;
  unit.intra = key || intra_only;
  unit.reference = refresh != 0;
  describe(unit, size);
  return true;
}

void Vp9Stream::read_color(BitReader& in, unsigned profile) {
  depth_ = profile < 2 ? 0 : in.flag() ? 4 : 2;
  color_space_ = in.u(3);
  constexpr unsigned rgb = 7;
  bool full_chroma = profile % 2 == 1;
  if (color_space_ == rgb) {
    full_range_ = true;
    chroma_ = 3;
    if (full_chroma) in.bit();
    return;
  }
  full_range_ = in.flag();
  chroma_ = 1;
  if (!full_chroma) return;
  bool half_x = in.flag(), half_y = in.flag();
  chroma_ = half_x ? (half_y ? 1 : 2) : 3;
  in.bit();
}

Vp9Stream::Size Vp9Stream::read_size(BitReader& in, bool from_references, const std::array<unsigned, 3>& references) {
  for (unsigned reference : references)
    if (from_references && in.flag()) return sizes_[reference];
  Size size;
  size.width = in.u(16) + 1;
  size.height = in.u(16) + 1;
  return size;
}

void Vp9Stream::describe(AccessUnit& unit, Size size) const {
  static constexpr unsigned matrices[] = {2, 6, 1, 6, 7, 9, 2, 0};  // by color_space
  CUVIDEOFORMAT& f = unit.format.format;
  f.codec = cudaVideoCodec_VP9;
  f.coded_width = round_up(size.width, switches().vp9_size_multiple);
  f.coded_height = round_up(size.height, switches().vp9_size_multiple);
  f.display_area = {0, 0, static_cast<int>(size.width), static_cast<int>(size.height)};
  f.chroma_format = static_cast<cudaVideoChromaFormat>(chroma_);
  f.bit_depth_luma_minus8 = f.bit_depth_chroma_minus8 = static_cast<unsigned char>(depth_);
  f.progressive_sequence = 1;
  f.min_num_decode_surfaces = vp9_surfaces;
  set_signal(f, 5, full_range_, 2, 2, matrices[color_space_]);
  set_aspect(f, 1, 1);
  unit.width = static_cast<int>(size.width);
  unit.height = static_cast<int>(size.height);
}

}  // namespace emu
