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
  bool existing = false;      // show_existing_frame: nothing is decoded
  bool independent = false;   // takes nothing over from the frame decoded before it
  std::uint32_t refresh = 0;  // slots it is stored in, a bit each
  std::uint32_t slots = 0;    // slots it refers to, a bit each
  std::uint32_t colour = 0;   // of a key frame: what it states
};

// What follows color_config or the refresh flags is not needed, so intra-only frames of higher profiles stop early.
void parse_vp9_references(BitReader& in, Vp9Frame& frame, std::uint32_t profile, bool error_resilient) {
  const bool intra_only = !frame.shown && in.flag();
  if (!error_resilient) in.skip(2);  // reset_frame_context
  if (intra_only) {
    in.skip(24);  // frame_sync_code
    if (profile > 0) {
      if (profile >= 2) in.skip(1);
      const std::uint32_t color_space = in.bits(3);
      if (color_space != 7) {
        in.skip(1);
        if ((profile & 1) != 0) in.skip(3);
      } else if ((profile & 1) != 0) {
        in.skip(1);
      }
    }
    frame.refresh = in.bits(8);
    return;
  }
  frame.refresh = in.bits(8);
  for (int i = 0; i < 3; ++i) {
    frame.slots |= 1u << in.bits(3);
    in.skip(1);
  }
}

std::uint32_t parse_vp9_colour(BitReader& in, std::uint32_t profile) {  // color_config, 6.2.2
  constexpr std::uint32_t kRgb = 7;
  in.skip(profile >= 2 ? 1 : 0);
  const std::uint32_t color_space = in.bits(3);
  return colour_statement(color_space == kRgb || in.flag(), true, color_space);
}

Vp9Frame parse_vp9_frame(Bytes data) {  // uncompressed_header, 6.2
  BitReader in(data);
  if (in.bits(2) != 2) return {};
  const std::uint32_t low = in.bits(1);
  const std::uint32_t profile = low | in.bits(1) << 1;
  if (profile == 3) in.skip(1);
  Vp9Frame frame;
  if (in.flag()) {
    frame.existing = frame.shown = true;
    frame.slots = 1u << in.bits(3);
    frame.valid = !in.overrun();
    return frame;
  }
  frame.key = !in.flag();
  frame.shown = in.flag();
  const bool error_resilient = in.flag();
  frame.independent = frame.key || error_resilient;
  if (frame.key) {
    frame.refresh = 0xFF;
    in.skip(24);  // frame_sync_code
    frame.colour = parse_vp9_colour(in, profile);
  } else {
    parse_vp9_references(in, frame, profile, error_resilient);
  }
  frame.valid = !in.overrun();
  return frame;
}

class Vp9Parser final : public PacketParser {
 public:
  std::uint32_t colour() const override { return colour_; }

  PictureInfo parse(Bytes packet) override {
    if (packet.empty()) return {};
    std::array<std::size_t, 8> sizes{};
    const std::size_t frames = superframe_sizes(packet, sizes);
    PictureInfo info;
    info.flags = kParsed | kRefsKnown;
    ++packet_;
    int shown = 0;
    std::size_t at = 0;
    for (std::size_t i = 0; i < frames; ++i) {
      if (sizes[i] == 0 || sizes[i] > packet.size() - at) return {};
      const Vp9Frame frame = parse_vp9_frame(packet.subspan(at, sizes[i]));
      if (!frame.valid) return {};
      if (i == 0 && frame.key) info.flags |= kStart | kReset;
      if (frame.key) colour_ = frame.colour;
      note_references(info, frame);
      shown += frame.shown ? 1 : 0;
      at += sizes[i];
    }
    if (shown > 0) info.flags |= kShown;
    if (shown > 1) info.flags |= kIrregular;
    return info;
  }

 private:
  // Unless a frame is error resilient it also takes motion vectors, probabilities, loop filter and segmentation state
  // over from the frame decoded before it, whatever slots that one went to (clauses 6.1.2, 6.4.18 to 6.4.20).
  void note_references(PictureInfo& info, const Vp9Frame& frame) {
    for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
      if ((frame.slots >> slot & 1) != 0) depend_on(info, slots_[slot]);
    }
    if (frame.existing) return;
    if (!frame.independent) depend_on(info, last_decoded_);
    for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
      if ((frame.refresh >> slot & 1) != 0) slots_[slot] = packet_;
    }
    last_decoded_ = packet_;
    info.flags |= kReference;
  }
  void depend_on(PictureInfo& info, std::uint64_t packet) const {
    if (packet != packet_ && packet != 0) info.refs.push_back(static_cast<std::int32_t>(packet_ - packet));
  }

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

  std::array<std::uint64_t, 8> slots_{};  // number of the packet in each reference slot, 0 for none
  std::uint64_t last_decoded_ = 0;
  std::uint32_t colour_ = 0;
  std::uint64_t packet_ = 0;
};

}  // namespace

std::unique_ptr<PacketParser> make_vp8_parser() { return std::make_unique<Vp8Parser>(); }
std::unique_ptr<PacketParser> make_vp9_parser() { return std::make_unique<Vp9Parser>(); }

}  // namespace frametap
