// H.264 (ITU-T H.264, clause numbers below): parameter sets and slice headers, as far as output order needs them.
#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "bitstream/configuration.h"
#include "bitstream/packet_parser.h"
#include "bitstream/parameter_sets.h"
#include "bitstream/sei.h"

namespace frametap {
namespace {

enum NalType { kSlice = 1, kSliceA = 2, kSliceIdr = 5, kSei = 6, kSpsNal = 7, kPpsNal = 8, kEndOfSequence = 10 };
constexpr std::size_t kSliceHeaderBytes = 64;

struct Sps {
  int log2_max_frame_num = 4;
  int poc_type = 0;
  int log2_max_poc_lsb = 4;
  bool frame_mbs_only = true;
  bool separate_colour_plane = false;
  int chroma_format = 1;
  Vui vui;
};

struct Pps {
  std::uint32_t sps_id = 0;
  bool bottom_field_pic_order = false;
  bool redundant_pic_cnt = false;
  bool slice_groups = false;
};

struct Slice {
  bool first = false;
  bool field = false;
  bool bottom = false;
  bool discards_output = false;  // an IDR picture's no_output_of_prior_pics_flag
  std::uint32_t frame_num = 0;
  std::int32_t poc_lsb = 0;
  std::int32_t delta_bottom = 0;
  int poc_type = 0;
  int log2_max_poc_lsb = 4;
  std::uint32_t colour = 0;
};

// The only picture of a packet, where it is a field.
struct LoneField {
  std::uint32_t frame_num;
  bool bottom;
  bool reference;

  // Whether this is the second field of the frame that another one began (7.4.1.2.4). FFmpeg decodes no frame of which
  // only one field is a reference.
  bool completes(const LoneField& first) const {
    return frame_num == first.frame_num && bottom != first.bottom && reference == first.reference;
  }
};

void skip_scaling_list(BitReader& in, int size) {  // 7.3.2.1.1.1
  int last = 8;
  int next = 8;
  for (int i = 0; i < size; ++i) {
    if (next != 0) next = (last + in.se() + 256) % 256;
    if (next != 0) last = next;
  }
}

void parse_chroma_format(BitReader& in, Sps& sps) {
  const std::uint32_t chroma_format = in.ue();
  sps.chroma_format = static_cast<int>(chroma_format);
  if (chroma_format == 3) sps.separate_colour_plane = in.flag();
  in.ue();  // bit_depth_luma_minus8
  in.ue();  // bit_depth_chroma_minus8
  in.skip(1);
  if (!in.flag()) return;  // seq_scaling_matrix_present_flag
  for (int i = 0; i < (chroma_format == 3 ? 12 : 8); ++i) {
    if (in.flag()) skip_scaling_list(in, i < 6 ? 16 : 64);
  }
}

bool has_chroma_format(std::uint32_t profile) {
  constexpr std::array<std::uint32_t, 13> profiles = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135};
  return std::find(profiles.begin(), profiles.end(), profile) != profiles.end();
}

std::optional<Sps> parse_sps(Bytes nal, std::uint32_t& id) {  // 7.3.2.1.1
  const auto payload = rbsp(nal, 1);
  BitReader in(payload);
  Sps sps;
  const std::uint32_t profile = in.bits(8);
  in.skip(16);
  id = in.ue();
  if (has_chroma_format(profile)) parse_chroma_format(in, sps);
  sps.log2_max_frame_num = static_cast<int>(in.ue()) + 4;
  sps.poc_type = static_cast<int>(in.ue());
  if (sps.poc_type == 0) sps.log2_max_poc_lsb = static_cast<int>(in.ue()) + 4;
  if (sps.poc_type == 1) {
    in.skip(1);
    in.se();
    in.se();
    const std::uint32_t cycle = in.ue();
    for (std::uint32_t i = 0; i < cycle && i < 256; ++i) in.se();
  }
  in.ue();  // max_num_ref_frames
  in.skip(1);
  in.ue();
  in.ue();
  sps.frame_mbs_only = in.flag();
  if (!sps.frame_mbs_only) in.skip(1);
  in.skip(1);
  if (in.flag()) {  // frame_cropping_flag
    for (int i = 0; i < 4; ++i) in.ue();
  }
  const bool sane =
      !in.overrun() && id < 32 && sps.log2_max_frame_num <= 16 && sps.poc_type <= 2 && sps.log2_max_poc_lsb <= 16;
  if (in.flag()) sps.vui = parse_vui(in);
  return sane ? std::optional<Sps>(sps) : std::nullopt;
}

std::optional<Pps> parse_pps(Bytes nal, std::uint32_t& id) {  // 7.3.2.2
  const auto payload = rbsp(nal, 1);
  BitReader in(payload);
  Pps pps;
  id = in.ue();
  pps.sps_id = in.ue();
  in.skip(1);
  pps.bottom_field_pic_order = in.flag();
  pps.slice_groups = in.ue() > 0;
  if (!pps.slice_groups) {
    in.ue();
    in.ue();
    in.skip(3);
    in.se();
    in.se();
    in.se();
    in.skip(2);
    pps.redundant_pic_cnt = in.flag();
  }
  return !in.overrun() && id < 256 && pps.sps_id < 32 ? std::optional<Pps>(pps) : std::nullopt;
}

// What the SEI messages (7.3.2.3, annex D) of a packet say that matters here.
struct SeiFacts {
  bool exact_recovery_point =
      false;            // recovery_frame_cnt 0 and exact_match_flag: exact in output order from here on (D.2.8)
  int x264_build = -1;  // x264 signs its streams; FFmpeg works round the faults of old builds
};

int x264_build(Bytes message) {  // user_data_unregistered (D.2.7): a UUID, then x264's text
  constexpr std::string_view kSignature = "x264 - core ";
  if (message.size() < 16) return -1;
  const std::string_view text(reinterpret_cast<const char*>(message.data()) + 16, message.size() - 16);
  if (!text.starts_with(kSignature)) return -1;
  int build = 0;
  for (std::size_t i = kSignature.size(); i < text.size() && text[i] >= '0' && text[i] <= '9' && build < 100000; ++i) {
    build = build * 10 + (text[i] - '0');
  }
  return build;
}

void read_sei(Bytes nal, SeiFacts& facts) {
  for_each_sei_message(rbsp(nal, 1), [&](std::size_t type, Bytes message) {
    if (type == 6) {
      BitReader in(message);
      facts.exact_recovery_point = in.ue() == 0 && in.flag();
    }
    if (type == 5) facts.x264_build = x264_build(message);
  });
}

// An SEI unit that is cut short, and an IDR picture that says to be no reference (which 7.4.1 forbids) and is something
// else gone astray.
bool is_broken(Bytes nal) {
  const int type = nal[0] & 31;
  return type == kSei ? !sei_messages_are_whole(nal, 1) : type == kSliceIdr && nal[0] >> 5 == 0;
}

class H264Parser final : public PacketParser {
 public:
  explicit H264Parser(Bytes extradata) {
    const NalConfiguration configuration = read_h264_configuration(extradata);
    length_size_ = configuration.length_size;
    for (const Bytes nal : configuration.units) read_parameter_set(nal);
  }

  PictureInfo parse(Bytes packet) override;
  std::vector<std::uint8_t> without_broken_units(Bytes packet) const override {
    return without_nal_units(packet, length_size_, is_broken);
  }
  int chroma_sample_loc_type() const override { return chroma_loc_; }
  std::uint32_t colour() const override { return colour_; }
  bool needs_first_packet() const override { return needs_first_packet_; }
  bool parameter_sets_changed() const override { return sps_.changed() || pps_.changed(); }

 private:
  bool read_parameter_set(Bytes nal);
  std::optional<Slice> parse_slice(Bytes nal) const;
  bool sets_known_at_start() const { return sps_.all_known_at_start(packet_) && pps_.all_known_at_start(packet_); }
  std::int32_t picture_order(const Slice& slice, bool idr, bool reference);

  int length_size_ = 0;
  ParameterSets<Sps, 32> sps_;
  ParameterSets<Pps, 256> pps_;
  std::uint64_t packet_ = 0;
  std::int32_t prev_poc_msb_ = 0;
  std::int32_t prev_poc_lsb_ = 0;
  std::int32_t decoded_ = 0;
  // FFmpeg decodes 4:4:4 CABAC of builds before 151, and direct prediction of the very first builds, in their own way.
  bool is_old_x264(int build) const { return build >= 0 && (build < 40 || (build < 151 && chroma_format_ == 3)); }

  int chroma_loc_ = -1;
  std::uint32_t colour_ = 0;
  int chroma_format_ = 1;
  bool needs_first_packet_ = false;
  bool first_ = true;
  bool sequence_ended_ = false;
  std::optional<LoneField> first_field_;  // of the packet before
};

// Returns whether the set is news.
bool H264Parser::read_parameter_set(Bytes nal) {
  std::uint32_t id = 0;
  if ((nal[0] & 31) == kSpsNal) {
    if (const auto sps = parse_sps(nal, id)) {
      chroma_loc_ = sps->vui.chroma_loc;
      chroma_format_ = sps->chroma_format;
      return sps_.store(id, *sps, nal, packet_);
    }
  } else if ((nal[0] & 31) == kPpsNal) {
    if (const auto pps = parse_pps(nal, id)) return pps_.store(id, *pps, nal, packet_);
  }
  return false;
}

std::optional<Slice> H264Parser::parse_slice(Bytes nal) const {  // 7.3.3
  const auto payload = rbsp(nal, 1, kSliceHeaderBytes);
  BitReader in(payload);
  Slice slice;
  slice.first = in.ue() == 0;
  in.ue();  // slice_type
  const Pps* pps_found = pps_.find(in.ue());
  const Sps* sps_found = pps_found != nullptr ? sps_.find(pps_found->sps_id) : nullptr;
  if (sps_found == nullptr) return std::nullopt;
  const Pps& pps = *pps_found;
  const Sps& sps = *sps_found;
  slice.poc_type = sps.poc_type;
  slice.colour = sps.vui.colour;
  slice.log2_max_poc_lsb = sps.log2_max_poc_lsb;
  if (sps.separate_colour_plane) in.skip(2);
  slice.frame_num = in.bits(sps.log2_max_frame_num);
  if (!sps.frame_mbs_only) {
    slice.field = in.flag();
    if (slice.field) slice.bottom = in.flag();
  }
  const bool idr = (nal[0] & 31) == kSliceIdr;
  if (idr) in.ue();
  if (sps.poc_type == 0) {
    slice.poc_lsb = static_cast<std::int32_t>(in.bits(sps.log2_max_poc_lsb));
    if (pps.bottom_field_pic_order && !slice.field) slice.delta_bottom = in.se();
  }
  if (idr && sps.poc_type != 1 && !pps.slice_groups) {
    if (pps.redundant_pic_cnt) in.ue();
    slice.discards_output = in.flag();
  }
  return in.overrun() ? std::nullopt : std::optional<Slice>(slice);
}

std::int32_t H264Parser::picture_order(const Slice& slice, bool idr, bool reference) {  // 8.2.1
  if (slice.poc_type == 2) return idr ? (decoded_ = 0) : ++decoded_;  // output order is decoding order
  if (slice.poc_type == 1) return kUnknownOrder;
  if (idr) prev_poc_msb_ = prev_poc_lsb_ = 0;
  const std::int32_t max_lsb = 1 << slice.log2_max_poc_lsb;
  std::int32_t msb = prev_poc_msb_;
  if (slice.poc_lsb < prev_poc_lsb_ && prev_poc_lsb_ - slice.poc_lsb >= max_lsb / 2) msb += max_lsb;
  if (slice.poc_lsb > prev_poc_lsb_ && slice.poc_lsb - prev_poc_lsb_ > max_lsb / 2) msb -= max_lsb;
  if (reference) {
    prev_poc_msb_ = msb;
    prev_poc_lsb_ = slice.poc_lsb;
  }
  return msb + slice.poc_lsb + std::min(0, slice.delta_bottom);
}

PictureInfo H264Parser::parse(Bytes packet) {
  std::vector<Bytes> units;
  ++packet_;
  if (!split_nal_units(packet, length_size_, units)) return {};
  PictureInfo info;
  int frames = 0;
  int fields = 0;
  LoneField field{};
  SeiFacts sei;
  bool irregular = std::exchange(sequence_ended_, false);
  for (const Bytes nal : units) {
    const int type = nal[0] & 31;
    // Later pictures may use what a picture that they do not refer to brings along.
    if ((type == kSpsNal || type == kPpsNal) && read_parameter_set(nal)) info.flags |= kReference;
    if (type == kSei) read_sei(nal, sei);
    if (type == kEndOfSequence) sequence_ended_ = true;  // harmless where nothing follows
    if (type == kSliceA) irregular = true;               // data partitioning: FFmpeg does not decode it
    if (type != kSlice && type != kSliceIdr) continue;
    const auto slice = parse_slice(nal);
    if (!slice) return {};
    if (!slice->first) continue;
    colour_ = slice->colour;
    irregular = irregular || sequence_ended_;
    const bool idr = type == kSliceIdr;
    const bool reference = (nal[0] >> 5 & 3) != 0;
    const std::int32_t order = picture_order(*slice, idr, reference);
    ++(slice->field ? fields : frames);
    field = {slice->frame_num, slice->bottom, reference};
    if (frames + fields == 1) {
      info.order = order;
      if (sets_known_at_start() && (idr || sei.exact_recovery_point)) info.flags |= kStart;
      if (idr) info.flags |= kReset;
      irregular = irregular || (idr && slice->discards_output && !first_);
    } else if (order != kUnknownOrder) {
      info.order = std::min(info.order, order);
    }
    if (reference) info.flags |= kReference;
  }
  if (frames + fields == 0) return {};
  if (first_) needs_first_packet_ = is_old_x264(sei.x264_build);
  first_ = false;
  const bool lone = frames == 0 && fields == 1 && !irregular;
  const bool second = lone && first_field_ && field.completes(*first_field_);
  first_field_ = lone && !second ? std::optional(field) : std::nullopt;
  if (second) info.flags = (info.flags & ~kStart) | kSecondField;  // half a frame is no place to begin
  if (irregular || frames > 1 || (frames == 0 && fields != 2) || (frames == 1 && fields != 0)) info.flags |= kIrregular;
  info.flags |= kParsed | kShown;
  return info;
}

}  // namespace

std::unique_ptr<PacketParser> make_h264_parser(Bytes extradata) { return std::make_unique<H264Parser>(extradata); }

}  // namespace frametap
