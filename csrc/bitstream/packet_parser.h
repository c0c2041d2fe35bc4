// What a compressed packet holds, read from its headers alone: is it a picture that yields a frame, may decoding begin
// with it, do other pictures refer to it, and where it stands in output order. Nothing is decoded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bitstream/bit_reader.h"

namespace frametap {

enum PictureFlags : std::uint32_t {
  kParsed = 1,  // the headers were understood; without it no other field may be trusted
  kStart = 2,   // decoding may begin here; pictures that precede it in output order may need earlier packets
  kReset =
      4,  // nothing after it refers to anything before it, in decode or in output order (IDR, VPx and AV1 key frames)
  kReference = 8,  // other pictures may refer to it; a picture without it can be left out unseen
  kShown = 16,     // the packet yields a frame
  kRefsKnown =
      64,  // `refs` lists all that decoding this packet needs; without it, every earlier kReference since a kStart
  kIrregular = 32,  // a lone field, several pictures, discarded output ...: packets and frames are not one to one here
  kSecondField = 128,  // a lone field that completes the frame of the packet before, itself a lone field
};

inline constexpr std::int32_t kUnknownOrder = INT32_MIN;

struct PictureInfo {
  std::uint32_t flags = 0;
  // Output order among the pictures since the last kReset (H.264 and HEVC: picture order count), or kUnknownOrder.
  std::int32_t order = kUnknownOrder;
  // How many packets back those lie that this one needs to be decoded exactly.
  std::vector<std::int32_t> refs;
};

// Reads packets in decode order and keeps the parameter sets it meets. Owns nothing of the caller's; not thread-safe.
class PacketParser {
 public:
  virtual ~PacketParser() = default;
  virtual PictureInfo parse(Bytes packet) = 0;
  // The packet without units that are broken and that its pictures do not need; empty where there are none.
  virtual std::vector<std::uint8_t> without_broken_units(Bytes) const { return {}; }
  // Where the stream says its 4:2:0 chroma samples lie: ITU-T H.264 table E-3's chroma_sample_loc_type, -1 when it does
  // not say.
  virtual int chroma_sample_loc_type() const { return -1; }
  // What the sequence of the packet parsed last states of its colour: equal numbers mean equal statements, 0 none.
  virtual std::uint32_t colour() const { return 0; }
  // Whether a decoder must see the first packet of the stream before it can decode any other part just as FFmpeg does.
  virtual bool needs_first_packet() const { return false; }
  // Whether a parameter set met so far replaced a different one: a used decoder then cannot go back by a mere reset.
  virtual bool parameter_sets_changed() const { return false; }
};

// A parser for an FFmpeg codec name ("h264", "hevc", "vp9", ...) and the stream's extradata (avcC, hvcC or parameter
// sets); null for a codec whose headers frametap does not read.
std::unique_ptr<PacketParser> make_packet_parser(const std::string& codec, Bytes extradata);

// One per codec family; make_packet_parser chooses.
std::unique_ptr<PacketParser> make_h264_parser(Bytes extradata);
std::unique_ptr<PacketParser> make_hevc_parser(Bytes extradata);
std::unique_ptr<PacketParser> make_mpeg2_parser();
std::unique_ptr<PacketParser> make_mpeg4_parser();
std::unique_ptr<PacketParser> make_vp8_parser();
std::unique_ptr<PacketParser> make_vp9_parser();
std::unique_ptr<PacketParser> make_av1_parser(Bytes extradata);
std::unique_ptr<PacketParser> make_intra_parser();

}  // namespace frametap
