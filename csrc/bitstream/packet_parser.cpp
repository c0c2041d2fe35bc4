#include "bitstream/packet_parser.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace frametap {
namespace {

// Codecs in which every packet is one picture that refers to no other.
constexpr std::array<std::string_view, 22> kIntraCodecs = {
    "mjpeg", "prores",  "dnxhd",   "ffvhuff", "huffyuv", "rawvideo", "v210", "v308", "v408", "v410", "jpeg2000",
    "cfhd",  "dvvideo", "utvideo", "png",     "jpegls",  "magicyuv", "hap",  "dxv",  "r210", "r10k", "apv"};

class IntraParser final : public PacketParser {
 public:
  PictureInfo parse(Bytes packet) override {
    if (packet.empty()) return {};
    return {kParsed | kStart | kReset | kShown | kRefsKnown, 0, {}};
  }
};

}  // namespace

std::unique_ptr<PacketParser> make_intra_parser() { return std::make_unique<IntraParser>(); }

std::unique_ptr<PacketParser> make_packet_parser(const std::string& codec, Bytes extradata) {
  if (codec == "h264") return make_h264_parser(extradata);
  if (codec == "hevc") return make_hevc_parser(extradata);
  if (codec == "mpeg1video" || codec == "mpeg2video") return make_mpeg2_parser();
  if (codec == "mpeg4") return make_mpeg4_parser();
  if (codec == "vp8") return make_vp8_parser();
  if (codec == "vp9") return make_vp9_parser();
  if (codec == "av1") return make_av1_parser(extradata);
  const bool intra = std::find(kIntraCodecs.begin(), kIntraCodecs.end(), codec) != kIntraCodecs.end();
  return intra ? make_intra_parser() : nullptr;
}

}  // namespace frametap
