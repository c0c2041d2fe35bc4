// AV1 (bitstream specification; clause numbers below): OBU headers, sequence headers, and frame headers up to the
// references.
#include <array>

#include "bitstream/packet_parser.h"

namespace frametap {
namespace {

enum ObuType { kSequenceHeader = 1, kFrameHeader = 3, kFrame = 6 };
enum FrameType { kKey = 0, kInter = 1, kIntraOnly = 2, kSwitch = 3 };
constexpr std::uint32_t kSelect = 2;  // SELECT_SCREEN_CONTENT_TOOLS, SELECT_INTEGER_MV

struct Obu {
  int type = 0;
  int temporal_id = 0;
  int spatial_id = 0;
  Bytes payload;
};

bool next_obu(Bytes& data, Obu& obu) {  // 5.3.1, 5.3.2
  const std::uint8_t header = data[0];
  std::size_t at = 1;
  obu = {header >> 3 & 15, 0, 0, {}};
  if ((header & 0x80) != 0) return false;
  if ((header & 4) != 0) {
    if (data.size() < 2) return false;
    obu.temporal_id = data[at] >> 5;
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

struct OperatingPoint {
  std::uint32_t idc = 0;
  bool decoder_model = false;
};

struct Sequence {
  std::uint32_t profile = 0;
  Vui vui;
  bool reduced_still = false;
  bool decoder_model = false;
  bool equal_picture_interval = false;
  int buffer_removal_bits = 0;
  int presentation_bits = 0;
  int frame_id_bits = 0;  // 0: frame_id_numbers_present_flag is off
  int delta_frame_id_bits = 0;
  bool order_hint = false;
  int order_hint_bits = 0;
  std::uint32_t screen_content_tools = kSelect;
  std::uint32_t integer_mv = kSelect;
  std::array<OperatingPoint, 32> points{};
  std::uint32_t point_count = 1;
};

void parse_timing(BitReader& in, Sequence& seq, int& buffer_delay_bits) {  // 5.5.3, 5.5.4
  in.skip(64);
  seq.equal_picture_interval = in.flag();
  if (seq.equal_picture_interval) in.ue();  // uvlc, which is ue(v) by another name
  seq.decoder_model = in.flag();
  if (!seq.decoder_model) return;
  buffer_delay_bits = static_cast<int>(in.bits(5)) + 1;
  in.skip(32);
  seq.buffer_removal_bits = static_cast<int>(in.bits(5)) + 1;
  seq.presentation_bits = static_cast<int>(in.bits(5)) + 1;
}

void parse_operating_points(BitReader& in, Sequence& seq) {
  int buffer_delay_bits = 0;
  if (in.flag()) parse_timing(in, seq, buffer_delay_bits);
  const bool display_delay = in.flag();
  seq.point_count = in.bits(5) + 1;
  for (std::uint32_t i = 0; i < seq.point_count; ++i) {
    seq.points[i].idc = in.bits(12);
    if (in.bits(5) > 7) in.skip(1);
    if (seq.decoder_model) {
      seq.points[i].decoder_model = in.flag();
      if (seq.points[i].decoder_model) in.skip(2 * buffer_delay_bits + 1);
    }
    if (display_delay && in.flag()) in.skip(4);
  }
}

// color_config, 5.5.2. Of chroma_sample_position CSP_VERTICAL is H.264's "left", CSP_COLOCATED its "top left".
Vui parse_color_config(BitReader& in, std::uint32_t profile) {
  constexpr std::uint32_t kBt709 = 1, kSrgb = 13, kIdentity = 0;
  const bool high = in.flag();
  const bool twelve_bit = profile == 2 && high && in.flag();
  const bool gray = profile != 1 && in.flag();
  std::array<std::uint32_t, 3> color{2, 2, 2};
  const bool described = in.flag();
  if (described) {
    for (std::uint32_t& code : color) code = in.bits(8);
  }
  const bool rgb = !gray && color[0] == kBt709 && color[1] == kSrgb && color[2] == kIdentity;
  const bool full_range = rgb || in.flag();
  Vui vui{-1, colour_statement(full_range, described, color[0] << 16 | color[1] << 8 | color[2])};
  if (gray || rgb) return vui;
  bool subsampled = profile == 0;
  if (profile == 2 && twelve_bit) subsampled = in.flag() && in.flag();
  const std::uint32_t position = subsampled ? in.bits(2) : 0;
  vui.chroma_loc = position == 1 ? 0 : position == 2 ? 2 : -1;
  return in.overrun() ? Vui{} : vui;
}

Sequence parse_sequence_header(Bytes payload) {  // 5.5.1
  BitReader in(payload);
  Sequence seq;
  seq.profile = in.bits(3);
  in.skip(1);
  seq.reduced_still = in.flag();
  if (seq.reduced_still) return seq;  // a single picture: nothing further matters
  parse_operating_points(in, seq);
  const int width_bits = static_cast<int>(in.bits(4)) + 1;
  const int height_bits = static_cast<int>(in.bits(4)) + 1;
  in.skip(width_bits + height_bits);
  if (in.flag()) {
    seq.delta_frame_id_bits = static_cast<int>(in.bits(4)) + 2;
    seq.frame_id_bits = static_cast<int>(in.bits(3)) + seq.delta_frame_id_bits + 1;
  }
  in.skip(3 + 4);
  seq.order_hint = in.flag();
  if (seq.order_hint) in.skip(2);
  seq.screen_content_tools = in.flag() ? kSelect : in.bits(1);
  if (seq.screen_content_tools > 0) seq.integer_mv = in.flag() ? kSelect : in.bits(1);
  if (seq.order_hint) seq.order_hint_bits = static_cast<int>(in.bits(3)) + 1;
  in.skip(3);  // enable_superres, enable_cdef, enable_restoration
  seq.vui = parse_color_config(in, seq.profile);
  return seq;
}

struct FrameHeader {
  bool valid = false;
  bool existing = false;  // show_existing_frame: nothing is decoded
  bool shown = false;
  bool refs_known = true;
  std::uint32_t type = kKey;
  std::uint32_t refresh = 0;  // slots it is stored in, a bit each
  std::uint32_t slots = 0;    // slots it refers to, a bit each
};

void skip_buffer_removal_times(BitReader& in, const Sequence& seq, const Obu& obu) {
  if (!seq.decoder_model || !in.flag()) return;
  for (std::uint32_t i = 0; i < seq.point_count; ++i) {
    if (!seq.points[i].decoder_model) continue;
    const std::uint32_t idc = seq.points[i].idc;
    const bool in_layer = (idc >> obu.temporal_id & 1) != 0 && (idc >> (obu.spatial_id + 8) & 1) != 0;
    if (idc == 0 || in_layer) in.skip(seq.buffer_removal_bits);
  }
}

// From disable_cdf_update to refresh_frame_flags and the reference slots.
void parse_references(BitReader& in, const Sequence& seq, const Obu& obu, bool error_resilient, FrameHeader& frame) {
  const bool intra = frame.type == kKey || frame.type == kIntraOnly;
  in.skip(1);
  const bool screen_content = seq.screen_content_tools == kSelect ? in.flag() : seq.screen_content_tools != 0;
  if (screen_content && seq.integer_mv == kSelect) in.skip(1);
  in.skip(seq.frame_id_bits);
  if (frame.type != kSwitch) in.skip(1);
  in.skip(seq.order_hint_bits);
  if (!intra && !error_resilient) in.skip(3);
  skip_buffer_removal_times(in, seq, obu);
  const bool refresh_all = frame.type == kSwitch || (frame.type == kKey && frame.shown);
  frame.refresh = refresh_all ? 0xFF : in.bits(8);
  if ((!intra || frame.refresh != 0xFF) && error_resilient && seq.order_hint) in.skip(8 * seq.order_hint_bits);
  if (intra) return;
  // Short signalling derives the slots from the order hints of all eight, so that every one of them must be right.
  frame.refs_known = !(seq.order_hint && in.flag());
  if (!frame.refs_known) return;
  for (int i = 0; i < 7; ++i) {
    frame.slots |= 1u << in.bits(3);
    if (seq.frame_id_bits > 0) in.skip(seq.delta_frame_id_bits);
  }
}

FrameHeader parse_frame_header(const Obu& obu, const Sequence& seq) {  // 5.9.2
  BitReader in(obu.payload);
  FrameHeader frame;
  if (seq.reduced_still) {
    frame.valid = frame.shown = true;
    frame.refresh = 0xFF;
    return frame;
  }
  frame.existing = in.flag();
  if (frame.existing) {
    frame.shown = true;
    frame.slots = 1u << in.bits(3);
    frame.valid = !in.overrun();
    return frame;
  }
  frame.type = in.bits(2);
  frame.shown = in.flag();
  if (frame.shown && seq.decoder_model && !seq.equal_picture_interval) in.skip(seq.presentation_bits);
  if (!frame.shown) in.skip(1);
  const bool error_resilient = frame.type == kSwitch || (frame.type == kKey && frame.shown) || in.flag();
  parse_references(in, seq, obu, error_resilient, frame);
  frame.valid = !in.overrun();
  return frame;
}

class Av1Parser final : public PacketParser {
 public:
  explicit Av1Parser(Bytes extradata) {
    if (extradata.size() > 4 && extradata[0] == 0x81) parse(extradata.subspan(4));  // av1C: configOBUs
    packet_ = 0;
  }

  int chroma_sample_loc_type() const override { return sequence_.vui.chroma_loc; }
  std::uint32_t colour() const override { return sequence_.vui.colour; }

  PictureInfo parse(Bytes packet) override {
    PictureInfo info;
    info.flags = kRefsKnown;
    ++packet_;
    int frames = 0;
    int shown = 0;
    bool sequence = false;
    Obu obu;
    while (!packet.empty()) {
      if (!next_obu(packet, obu)) return {};
      if (obu.type == kSequenceHeader) {
        sequence_ = parse_sequence_header(obu.payload);
        sequence = has_sequence_ = true;
      }
      if (obu.type != kFrame && obu.type != kFrameHeader) continue;
      if (obu.spatial_id > 0) info.flags |= kIrregular;  // scalable: which layer is output is the decoder's choice
      const FrameHeader frame = parse_frame_header(obu, sequence_);
      if (!frame.valid) return {};
      // A random access point has its sequence header with it (7.6.2).
      const bool key = frame.type == kKey && frame.shown && !frame.existing;
      if (++frames == 1 && key && sequence) info.flags |= kStart | kReset;
      note_references(info, frame);
      shown += frame.shown ? 1 : 0;
    }
    if (frames == 0 || !has_sequence_) return {};
    if (shown > 0) info.flags |= kShown;
    if (shown > 1) info.flags |= kIrregular;
    info.flags |= kParsed;
    return info;
  }

 private:
  // Everything a frame takes over (probabilities, motion, segmentation, film grain) comes with the slots it refers to
  // (7.20).
  void note_references(PictureInfo& info, const FrameHeader& frame) {
    std::uint64_t source = packet_;
    for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
      if ((frame.slots >> slot & 1) == 0) continue;
      source = slots_[slot].packet;
      if (source != packet_ && source != 0) info.refs.push_back(static_cast<std::int32_t>(packet_ - source));
    }
    if (!frame.refs_known) info.flags &= ~kRefsKnown;
    std::uint32_t refresh = frame.refresh;
    bool key = frame.type == kKey;
    if (frame.existing) {  // showing a key frame that was hidden stores it in every slot (7.21)
      for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
        if ((frame.slots >> slot & 1) != 0) key = slots_[slot].key;
      }
      refresh = key ? 0xFF : 0;
      if (key) source = packet_;
    } else {
      source = packet_;
    }
    if (refresh != 0) info.flags |= kReference;
    for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
      if ((refresh >> slot & 1) != 0) slots_[slot] = {source, key};
    }
  }

  struct Slot {
    std::uint64_t packet = 0;  // number of the packet whose frame it holds, 0 for none
    bool key = false;
  };
  Sequence sequence_;
  bool has_sequence_ = false;
  std::array<Slot, 8> slots_;
  std::uint64_t packet_ = 0;
};

}  // namespace

std::unique_ptr<PacketParser> make_av1_parser(Bytes extradata) { return std::make_unique<Av1Parser>(extradata); }

}  // namespace frametap
