// MPEG-1/2 video (ITU-T H.262) and MPEG-4 part 2 (ISO/IEC 14496-2): picture headers behind start codes.
#include <algorithm>
#include <vector>

#include "bitstream/packet_parser.h"

namespace frametap {
namespace {

enum PictureType { kIntra = 1, kPredicted = 2, kBidirectional = 3 };

class Mpeg2Parser final : public PacketParser {
 public:
  PictureInfo parse(Bytes packet) override {
    PictureInfo info;
    ++packet_;
    int pictures = 0;
    int fields = 0;
    bool closed = false;
    for (std::size_t at = after_start_code(packet, 0); at < packet.size(); at = after_start_code(packet, at)) {
      const std::uint8_t code = packet[at];
      if (code == 0xB3) read_sequence_header(packet.subspan(at));
      if (code == 0xB5 && at + 1 < packet.size() && packet[at + 1] >> 4 == 3) {  // quant_matrix_extension, 6.2.3.2
        as_at_first_ = false;
        info.flags |= kReference;  // also what does not refer to this picture uses them, up to the next sequence header
      }
      if (code == 0xB5 && at + 5 <= packet.size() && packet[at + 1] >> 4 == 2 && (packet[at + 1] & 1) != 0) {
        // sequence_display_extension with a colour_description, 6.2.2.4
        colour_ = colour_statement(false, true, packet[at + 2] << 16 | packet[at + 3] << 8 | packet[at + 4]);
      }
      if (code == 0xB8 && at + 5 <= packet.size()) closed = (packet[at + 4] & 0x40) != 0;  // closed_gop, 6.2.2.6
      if (code == 0xB7) info.flags |= kIrregular;                                          // sequence_end_code
      if (code == 0x00 && at + 3 <= packet.size()) {                                       // picture_header, 6.2.3
        const int type = packet[at + 2] >> 3 & 7;
        // A decoder that begins here knows the sequence header in this packet, else that of the extradata: the first.
        if (++pictures == 1) describe(info, type, closed, as_at_first_ || sequence_packet_ == packet_);
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
  void read_sequence_header(Bytes at) {  // 6.2.2.1
    const Bytes header = at.first(std::min(after_start_code(at, 0), at.size()));
    if (first_header_.empty()) first_header_.assign(header.begin(), header.end());
    as_at_first_ = std::equal(header.begin(), header.end(), first_header_.begin(), first_header_.end());
    sequence_packet_ = packet_;
    colour_ = 0;
  }

  static void describe(PictureInfo& info, int type, bool closed, bool knows_sequence) {
    if (type == kIntra && knows_sequence) info.flags |= kStart;
    if (type == kIntra && closed) info.flags |= kReset;
    if (type != kBidirectional) info.flags |= kReference;
  }

  std::vector<std::uint8_t> first_header_;
  bool as_at_first_ = true;  // sequence header and quantiser matrices
  std::uint64_t packet_ = 0;
  std::uint64_t sequence_packet_ = 0;  // of the latest sequence header
  std::uint32_t colour_ = 0;
};

class Mpeg4Parser final : public PacketParser {
 public:
  PictureInfo parse(Bytes packet) override {
    PictureInfo info;
    int pictures = 0;
    std::size_t vop_size = 0;
    for (std::size_t at = after_start_code(packet, 0); at + 1 < packet.size(); at = after_start_code(packet, at)) {
      if (packet[at] != 0xB6 || ++pictures > 1) continue;  // vop_start_code, 6.2.5
      vop_size = packet.size() - at;
      const int type = (packet[at + 1] >> 6) + 1;
      if (type == kIntra) info.flags |= kStart;
      if (type != kBidirectional) info.flags |= kReference;
    }
    if (pictures == 0) return {};
    // Two VOPs are a "packed bitstream"; a VOP of a few bytes may be the "not coded" one that stands for a frame shown
    // before.
    if (pictures > 1 || vop_size < kSmallestCodedVop) info.flags |= kIrregular;
    info.flags |= kParsed | kShown;
    return info;
  }

 private:
  static constexpr std::size_t kSmallestCodedVop = 9;  // bytes behind its start code prefix
};

}  // namespace

std::unique_ptr<PacketParser> make_mpeg2_parser() { return std::make_unique<Mpeg2Parser>(); }
std::unique_ptr<PacketParser> make_mpeg4_parser() { return std::make_unique<Mpeg4Parser>(); }

}  // namespace frametap
