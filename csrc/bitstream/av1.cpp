// AV1 (bitstream specification 5.3, 5.5 and 5.9): OBU headers and the first bits of each frame header.
#include "bitstream/packet_parser.h"

namespace frametap {
namespace {

enum ObuType { kSequenceHeader = 1, kFrameHeader = 3, kFrame = 6 };

struct Obu {
  int type = 0;
  int spatial_id = 0;
  Bytes payload;
};

class Av1Parser final : public PacketParser {
 public:
  explicit Av1Parser(Bytes extradata) {
    if (extradata.size() > 4 && extradata[0] == 0x81) parse(extradata.subspan(4));  // av1C: configOBUs
  }

  PictureInfo parse(Bytes packet) override {
    PictureInfo info;
    info.flags = kReference;
    int frames = 0;
    int shown = 0;
    bool sequence = false;
    Obu obu;
    while (!packet.empty()) {
      if (!next_obu(packet, obu)) return {};
      if (obu.type == kSequenceHeader) {
        read_sequence_header(obu.payload);
        sequence = true;
      }
      if (obu.type != kFrame && obu.type != kFrameHeader) continue;
      if (obu.spatial_id > 0) info.flags |= kIrregular;  // scalable: which layer is output is the decoder's choice
      BitReader in(obu.payload);
      const bool existing = !reduced_still_ && in.flag();  // show_existing_frame
      const std::uint32_t type = reduced_still_ || existing ? 0 : in.bits(2);
      const bool visible = reduced_still_ || existing || in.flag();
      if (in.overrun()) return {};
      // A random access point has its sequence header with it (7.6.2).
      if (++frames == 1 && type == 0 && visible && !existing && sequence) info.flags |= kStart | kReset;
      shown += visible ? 1 : 0;
    }
    if (frames == 0 || !has_sequence_) return {};
    if (shown > 0) info.flags |= kShown;
    if (shown > 1) info.flags |= kIrregular;
    info.flags |= kParsed;
    return info;
  }

 private:
  void read_sequence_header(Bytes payload) {  // 5.5.1
    BitReader in(payload);
    in.skip(4);
    reduced_still_ = in.flag();
    has_sequence_ = !in.overrun();
  }

  static bool next_obu(Bytes& data, Obu& obu) {  // 5.3.1, 5.3.2
    const std::uint8_t header = data[0];
    std::size_t at = 1;
    obu.type = header >> 3 & 15;
    obu.spatial_id = 0;
    if ((header & 0x80) != 0) return false;
    if ((header & 4) != 0) {
      if (data.size() < 2) return false;
      obu.spatial_id = data[at++] >> 3 & 3;
    }
    std::size_t size = data.size() - at;
    if ((header & 2) != 0) {
      size = 0;
      for (int i = 0; i < 8; ++i) {  // leb128
        if (at >= data.size()) return false;
        const std::uint8_t byte = data[at++];
        size |= static_cast<std::size_t>(byte & 127) << (7 * i);
        if ((byte & 128) == 0) break;
      }
    }
    if (size > data.size() - at) return false;
    obu.payload = data.subspan(at, size);
    data = data.subspan(at + size);
    return true;
  }

  bool reduced_still_ = false;
  bool has_sequence_ = false;
};

}  // namespace

std::unique_ptr<PacketParser> make_av1_parser(Bytes extradata) { return std::make_unique<Av1Parser>(extradata); }

}  // namespace frametap
