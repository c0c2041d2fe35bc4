// VP8 (RFC 6386, 9.1) and VP9 (bitstream specification 6.2 and annex B): the first bits of each frame.
#include <array>

#include "bitstream/packet_parser.h"

namespace frametap {
namespace {

class Vp8Parser final : public PacketParser {
 public:
  PictureInfo parse(Bytes packet) override {
    if (packet.size() < 3) return {};
    PictureInfo info;
    info.flags = kParsed | kReference;
    if ((packet[0] & 1) == 0) info.flags |= kStart | kReset;
    if ((packet[0] & 0x10) != 0) info.flags |= kShown;
    return info;
  }
};

struct Vp9Frame {
  bool valid = false;
  bool key = false;
  bool shown = false;
};

Vp9Frame parse_vp9_frame(Bytes frame) {  // uncompressed_header, 6.2
  BitReader in(frame);
  if (in.bits(2) != 2) return {};
  const std::uint32_t profile = in.bits(1) | in.bits(1) << 1;
  if (profile == 3) in.skip(1);
  if (in.flag()) return {true, false, true};  // show_existing_frame
  const bool key = !in.flag();
  const bool shown = in.flag();
  return {!in.overrun(), key, shown};
}

class Vp9Parser final : public PacketParser {
 public:
  PictureInfo parse(Bytes packet) override {
    if (packet.empty()) return {};
    std::array<std::size_t, 8> sizes{};
    const std::size_t frames = superframe_sizes(packet, sizes);
    PictureInfo info;
    info.flags = kParsed | kReference;
    int shown = 0;
    std::size_t at = 0;
    for (std::size_t i = 0; i < frames; ++i) {
      if (sizes[i] == 0 || sizes[i] > packet.size() - at) return {};
      const Vp9Frame frame = parse_vp9_frame(packet.subspan(at, sizes[i]));
      if (!frame.valid) return {};
      if (i == 0 && frame.key) info.flags |= kStart | kReset;
      shown += frame.shown ? 1 : 0;
      at += sizes[i];
    }
    if (shown > 0) info.flags |= kShown;
    if (shown > 1) info.flags |= kIrregular;
    return info;
  }

 private:
  static std::size_t superframe_sizes(Bytes packet, std::array<std::size_t, 8>& sizes) {  // annex B
    const std::uint8_t marker = packet.back();
    const std::size_t frames = (marker & 7u) + 1u;
    const std::size_t bytes = (marker >> 3 & 3u) + 1u;
    const std::size_t index = 2 + bytes * frames;
    sizes[0] = packet.size();
    if ((marker & 0xE0) != 0xC0 || packet.size() < index || packet[packet.size() - index] != marker) return 1;
    std::size_t at = packet.size() - index + 1;
    for (std::size_t i = 0; i < frames; ++i) {
      sizes[i] = 0;
      for (std::size_t b = 0; b < bytes; ++b) sizes[i] |= static_cast<std::size_t>(packet[at++]) << (8 * b);
    }
    return frames;
  }
};

}  // namespace

std::unique_ptr<PacketParser> make_vp8_parser() { return std::make_unique<Vp8Parser>(); }
std::unique_ptr<PacketParser> make_vp9_parser() { return std::make_unique<Vp9Parser>(); }

}  // namespace frametap
