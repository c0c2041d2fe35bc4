// MPEG-1/2 video (ITU-T H.262) and MPEG-4 part 2 (ISO/IEC 14496-2): picture headers behind start codes.
#include "bitstream/packet_parser.h"

namespace frametap {
namespace {

enum PictureType { kIntra = 1, kPredicted = 2, kBidirectional = 3 };

class Mpeg2Parser final : public PacketParser {
 public:
  PictureInfo parse(Bytes packet) override {
    PictureInfo info;
    int pictures = 0;
    int fields = 0;
    bool closed = false;
    for (std::size_t at = after_start_code(packet, 0); at < packet.size(); at = after_start_code(packet, at)) {
      const std::uint8_t code = packet[at];
      if (code == 0xB3) colour_ = 0;  // sequence_header, 6.2.2.1
      if (code == 0xB5 && at + 5 <= packet.size() && packet[at + 1] >> 4 == 2 && (packet[at + 1] & 1) != 0) {
        // sequence_display_extension with a colour_description, 6.2.2.4
        colour_ = colour_statement(false, true, packet[at + 2] << 16 | packet[at + 3] << 8 | packet[at + 4]);
      }
      if (code == 0xB8 && at + 5 <= packet.size()) closed = (packet[at + 4] & 0x40) != 0;  // closed_gop, 6.2.2.6
      if (code == 0xB7) info.flags |= kIrregular;                                          // sequence_end_code
      if (code == 0x00 && at + 3 <= packet.size()) {                                       // picture_header, 6.2.3
        const int type = packet[at + 2] >> 3 & 7;
        if (++pictures == 1) describe(info, type, closed);
        if (type < kIntra || type > kBidirectional) return {};
      }
      if (code == 0xB5 && at + 4 <= packet.size() && packet[at + 1] >> 4 == 8) {  // picture_coding_extension, 6.2.3.1
        if ((packet[at + 3] & 3) != 3) ++fields;
      }
    }
    if (pictures == 0) return {};
    const bool one_frame = (pictures == 1 && fields == 0) || (pictures == 2 && fields == 2);
    if (!one_frame) info.flags |= kIrregular;
    info.flags |= kParsed | kShown;
    return info;
  }
  std::uint32_t colour() const override { return colour_; }

 private:
  static void describe(PictureInfo& info, int type, bool closed) {
    if (type == kIntra) info.flags |= kStart;
    if (type == kIntra && closed) info.flags |= kReset;
    if (type != kBidirectional) info.flags |= kReference;
  }

  std::uint32_t colour_ = 0;
};

class Mpeg4Parser final : public PacketParser {
 public:
  PictureInfo parse(Bytes packet) override {
    PictureInfo info;
    int pictures = 0;
    for (std::size_t at = after_start_code(packet, 0); at + 1 < packet.size(); at = after_start_code(packet, at)) {
      if (packet[at] != 0xB6 || ++pictures > 1) continue;  // vop_start_code, 6.2.5
      const int type = (packet[at + 1] >> 6) + 1;
      if (type == kIntra) info.flags |= kStart;
      if (type != kBidirectional) info.flags |= kReference;
    }
    if (pictures == 0) return {};
    // Two VOPs are a "packed bitstream"; a VOP of a few bytes may be the "not coded" one that stands for a frame shown
    // before.
    if (pictures > 1 || packet.size() < kSmallestCodedVop) info.flags |= kIrregular;
    info.flags |= kParsed | kShown;
    return info;
  }

 private:
  static constexpr std::size_t kSmallestCodedVop = 12;
};

}  // namespace

std::unique_ptr<PacketParser> make_mpeg2_parser() { return std::make_unique<Mpeg2Parser>(); }
std::unique_ptr<PacketParser> make_mpeg4_parser() { return std::make_unique<Mpeg4Parser>(); }

}  // namespace frametap
