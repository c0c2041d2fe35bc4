// HEVC (ITU-T H.265, clause numbers below): parameter sets and slice segment headers, as far as output order needs
// them.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <vector>

#include "bitstream/configuration.h"
#include "bitstream/packet_parser.h"
#include "bitstream/parameter_sets.h"
#include "bitstream/sei.h"

namespace frametap {
namespace {

enum NalType { kRaslN = 8, kRaslR = 9, kBlaFirst = 16, kBlaLast = 18, kIdrFirst = 19, kIdrLast = 20, kCra = 21 };
enum OtherType { kSpsNal = 33, kPpsNal = 34, kEndOfSequence = 36, kEndOfBitstream = 37, kPrefixSei = 39 };
constexpr std::size_t kSliceHeaderBytes = 128;

// A short-term reference picture set (7.4.8): how far before and after the current picture in output order those lie
// that it or later ones refer to, nearest first. FFmpeg decodes no picture where one of them is missing.
struct RefPicSet {
  std::vector<std::int32_t> before;
  std::vector<std::int32_t> after;
  std::size_t size() const { return before.size() + after.size(); }
};

struct Sps {
  int log2_max_poc_lsb = 4;
  int max_sub_layers = 1;
  bool separate_colour_plane = false;
  bool ref_pic_sets_known = false;
  bool long_term_ref_pics = false;
  Vui vui;
  std::vector<RefPicSet> ref_pic_sets;
};

struct Pps {
  std::uint32_t sps_id = 0;
  bool output_flag_present = false;
  int extra_slice_header_bits = 0;
};

struct Slice {
  bool first = false;
  bool shown = true;
  bool discards_output = false;  // no_output_of_prior_pics_flag
  std::int32_t poc_lsb = 0;
  std::optional<RefPicSet> refs;  // nothing when the header leaves it open
  const Sps* sps = nullptr;
};

void skip_profile_tier_level(BitReader& in, int max_sub_layers) {  // 7.3.3
  in.skip(96);
  std::array<bool, 8> profile{};
  std::array<bool, 8> level{};
  for (int i = 0; i + 1 < max_sub_layers; ++i) {
    profile[static_cast<std::size_t>(i)] = in.flag();
    level[static_cast<std::size_t>(i)] = in.flag();
  }
  if (max_sub_layers > 1) in.skip(2 * (9 - max_sub_layers));
  for (int i = 0; i + 1 < max_sub_layers; ++i) {
    if (profile[static_cast<std::size_t>(i)]) in.skip(88);
    if (level[static_cast<std::size_t>(i)]) in.skip(8);
  }
}

void skip_scaling_lists(BitReader& in) {  // 7.3.4
  for (int size = 0; size < 4; ++size) {
    for (int matrix = 0; matrix < 6; matrix += size == 3 ? 3 : 1) {
      if (!in.flag()) {
        in.ue();
        continue;
      }
      if (size > 1) in.se();
      for (int i = 0; i < std::min(64, 1 << (4 + 2 * size)); ++i) in.se();
    }
  }
}

// The set is written as another one, shifted: (7-61) and (7-62).
RefPicSet predict_ref_pic_set(BitReader& in, const RefPicSet& from, std::int32_t shift) {
  const std::size_t negative = from.before.size();
  std::vector<bool> kept(from.size() + 1);
  for (std::size_t j = 0; j <= from.size(); ++j) kept[j] = in.flag() || in.flag();
  RefPicSet set;
  const auto add = [&](std::vector<std::int32_t>& side, int sign, std::int32_t delta, std::size_t j) {
    if (delta * sign > 0 && kept[j]) side.push_back(delta);
  };
  for (std::size_t j = from.after.size(); j-- > 0;) add(set.before, -1, from.after[j] + shift, negative + j);
  add(set.before, -1, shift, from.size());
  for (std::size_t j = 0; j < negative; ++j) add(set.before, -1, from.before[j] + shift, j);
  for (std::size_t j = negative; j-- > 0;) add(set.after, 1, from.before[j] + shift, j);
  add(set.after, 1, shift, from.size());
  for (std::size_t j = 0; j < from.after.size(); ++j) add(set.after, 1, from.after[j] + shift, negative + j);
  return set;
}

// st_ref_pic_set(index) of 7.3.7; the slice header's own set has the number sets.size().
std::optional<RefPicSet> parse_ref_pic_set(BitReader& in, const std::vector<RefPicSet>& sets, std::size_t index,
                                           bool in_slice) {
  if (index > 0 && in.flag()) {
    const std::size_t back = (in_slice ? in.ue() : 0) + std::size_t{1};
    const bool negative = in.flag();
    const auto magnitude = static_cast<std::int32_t>(in.ue() & 0xFFFF) + 1;
    if (back > index) return std::nullopt;
    return predict_ref_pic_set(in, sets[index - back], negative ? -magnitude : magnitude);
  }
  RefPicSet set;
  const std::uint32_t before = in.ue();
  const std::uint32_t after = in.ue();
  if (before > 16 || after > 16) return std::nullopt;
  const auto read = [&](std::vector<std::int32_t>& side, std::uint32_t count, std::int32_t sign) {
    std::int32_t delta = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      delta += sign * (static_cast<std::int32_t>(in.ue() & 0xFFFF) + 1);
      side.push_back(delta);
      in.skip(1);  // used_by_curr_pic: by this picture, or only kept for later ones
    }
  };
  read(set.before, before, -1);
  read(set.after, after, 1);
  return set;
}

// The part of an SPS behind log2_max_pic_order_cnt_lsb: the reference picture sets and the chroma location.
void parse_sps_tail(BitReader& in, Sps& sps) {
  for (int i = in.flag() ? 0 : sps.max_sub_layers - 1; i < sps.max_sub_layers; ++i) {
    in.ue();
    in.ue();
    in.ue();
  }
  for (int i = 0; i < 6; ++i) in.ue();
  if (in.flag() && in.flag()) skip_scaling_lists(in);
  in.skip(2);
  if (in.flag()) {  // pcm_enabled_flag
    in.skip(8);
    in.ue();
    in.ue();
    in.skip(1);
  }
  const std::uint32_t count = in.ue();
  if (count > 64) return;
  for (std::uint32_t i = 0; i < count; ++i) {
    auto set = parse_ref_pic_set(in, sps.ref_pic_sets, i, false);
    if (!set || in.overrun()) return;
    sps.ref_pic_sets.push_back(std::move(*set));
  }
  sps.long_term_ref_pics = in.flag();
  sps.ref_pic_sets_known = !in.overrun();
  if (sps.long_term_ref_pics) {
    const std::uint32_t pictures = in.ue();
    for (std::uint32_t i = 0; i < pictures && i < 33; ++i) in.skip(sps.log2_max_poc_lsb + 1);
  }
  in.skip(2);
  if (in.flag()) sps.vui = parse_vui(in);
}

std::optional<Sps> parse_sps(Bytes nal, std::uint32_t& id) {  // 7.3.2.2
  const auto payload = rbsp(nal, 2);
  BitReader in(payload);
  Sps sps;
  in.skip(4);
  sps.max_sub_layers = static_cast<int>(in.bits(3)) + 1;
  in.skip(1);
  skip_profile_tier_level(in, sps.max_sub_layers);
  id = in.ue();
  if (in.ue() == 3) sps.separate_colour_plane = in.flag();
  in.ue();
  in.ue();
  if (in.flag()) {  // conformance_window_flag
    for (int i = 0; i < 4; ++i) in.ue();
  }
  in.ue();
  in.ue();
  sps.log2_max_poc_lsb = static_cast<int>(in.ue()) + 4;
  const bool sane = !in.overrun() && id < 16 && sps.log2_max_poc_lsb <= 16 && sps.max_sub_layers <= 7;
  if (sane) parse_sps_tail(in, sps);
  return sane ? std::optional<Sps>(sps) : std::nullopt;
}

std::optional<Pps> parse_pps(Bytes nal, std::uint32_t& id) {  // 7.3.2.3
  const auto payload = rbsp(nal, 2, 32);
  BitReader in(payload);
  Pps pps;
  id = in.ue();
  pps.sps_id = in.ue();
  in.skip(1);
  pps.output_flag_present = in.flag();
  pps.extra_slice_header_bits = static_cast<int>(in.bits(3));
  return !in.overrun() && id < 64 && pps.sps_id < 16 ? std::optional<Pps>(pps) : std::nullopt;
}

bool is_irap(int type) { return type >= kBlaFirst && type <= kCra; }
bool is_slice(int type) { return type <= kRaslR || is_irap(type); }  // decoders ignore the reserved types
bool is_idr(int type) { return type == kIdrFirst || type == kIdrLast; }
bool is_broken(Bytes nal) { return (nal[0] >> 1 & 63) == kPrefixSei && !sei_messages_are_whole(nal, 2); }
bool is_rasl(int type) { return type == kRaslN || type == kRaslR; }

class HevcParser final : public PacketParser {
 public:
  explicit HevcParser(Bytes extradata) {
    const NalConfiguration configuration = read_hevc_configuration(extradata);
    length_size_ = configuration.length_size;
    for (const Bytes nal : configuration.units) {
      if (nal.size() > 2) read_parameter_set(nal);
    }
  }

  PictureInfo parse(Bytes packet) override;
  std::vector<std::uint8_t> without_broken_units(Bytes packet) const override {
    return without_nal_units(packet, length_size_, is_broken);
  }
  int chroma_sample_loc_type() const override { return chroma_loc_; }
  std::uint32_t colour() const override { return colour_; }
  bool parameter_sets_changed() const override { return sps_.changed() || pps_.changed(); }

 private:
  bool read_parameter_set(Bytes nal);
  std::optional<Slice> parse_slice(Bytes nal, int type) const;
  std::int32_t picture_order(const Slice& slice, bool resets, bool anchor);
  static std::optional<RefPicSet> parse_slice_ref_pic_set(BitReader& in, const Sps& sps);
  bool order_survives_gaps(std::int32_t poc, const Slice& slice, const std::vector<std::uint64_t>& fed) const;
  void note_references(PictureInfo& info, const Slice& slice, bool resets, bool anchor);
  void describe(PictureInfo& info, const Slice& slice, int type, int temporal_id);

  struct Picture {
    std::int32_t poc;
    std::uint64_t packet;
    bool anchor;  // later pictures take the high bits of their order from it (prevTid0Pic)
  };
  std::vector<Picture> pictures_;  // that later ones of the same coded video sequence may refer to

  int length_size_ = 0;
  int chroma_loc_ = -1;
  std::uint32_t colour_ = 0;
  ParameterSets<Sps, 16> sps_;
  ParameterSets<Pps, 64> pps_;
  std::uint64_t packet_ = 0;
  std::int32_t prev_poc_ = 0;
  bool after_end_ =
      true;  // the next CRA picture starts a coded video sequence, its RASL pictures are not output (8.1.3)
  bool skips_rasl_ = true;
  bool first_ = true;
  // A packet since the coded video sequence began brought parameter sets, which later pictures may use without a
  // reference to its picture.
  bool sets_are_new_ = false;
};

// Returns whether the set is news.
bool HevcParser::read_parameter_set(Bytes nal) {
  std::uint32_t id = 0;
  const int type = nal[0] >> 1 & 63;
  if (type == kSpsNal) {
    if (const auto sps = parse_sps(nal, id)) {
      chroma_loc_ = sps->vui.chroma_loc;
      return sps_.store(id, *sps, nal, packet_);
    }
  } else if (type == kPpsNal) {
    if (const auto pps = parse_pps(nal, id)) return pps_.store(id, *pps, nal, packet_);
  }
  return false;
}

std::optional<Slice> HevcParser::parse_slice(Bytes nal, int type) const {  // 7.3.6.1
  const auto payload = rbsp(nal, 2, kSliceHeaderBytes);
  BitReader in(payload);
  Slice slice;
  slice.first = in.flag();
  if (!slice.first) return slice;
  if (is_irap(type)) slice.discards_output = in.flag();
  const Pps* pps_found = pps_.find(in.ue());
  slice.sps = pps_found != nullptr ? sps_.find(pps_found->sps_id) : nullptr;
  if (slice.sps == nullptr) return std::nullopt;
  const Pps& pps = *pps_found;
  in.skip(pps.extra_slice_header_bits);
  in.ue();  // slice_type
  if (pps.output_flag_present) slice.shown = in.flag();
  if (slice.sps->separate_colour_plane) in.skip(2);
  slice.refs = RefPicSet{};
  if (!is_idr(type)) {
    slice.poc_lsb = static_cast<std::int32_t>(in.bits(slice.sps->log2_max_poc_lsb));
    slice.refs = parse_slice_ref_pic_set(in, *slice.sps);
  }
  return in.overrun() ? std::nullopt : std::optional<Slice>(slice);
}

std::optional<RefPicSet> HevcParser::parse_slice_ref_pic_set(BitReader& in, const Sps& sps) {
  if (!sps.ref_pic_sets_known || sps.long_term_ref_pics) return std::nullopt;
  const std::size_t count = sps.ref_pic_sets.size();
  if (!in.flag()) return parse_ref_pic_set(in, sps.ref_pic_sets, count, true);
  int bits = 0;
  while ((std::size_t{1} << bits) < count) ++bits;
  const std::uint32_t index = in.bits(bits);
  return index < count ? std::optional(sps.ref_pic_sets[index]) : std::nullopt;
}

// A decoder that is not fed every picture must still find the same picture order count (8.3.1), whose high bits follow
// from the last anchor picture it saw: that is so when every anchor since the newest one referred to is near enough.
bool HevcParser::order_survives_gaps(std::int32_t poc, const Slice& slice,
                                     const std::vector<std::uint64_t>& fed) const {
  const std::int32_t half = 1 << (slice.sps->log2_max_poc_lsb - 1);
  for (auto picture = pictures_.rbegin(); picture != pictures_.rend(); ++picture) {
    if (!picture->anchor) continue;
    if (std::abs(picture->poc - poc) >= half) return false;
    if (std::find(fed.begin(), fed.end(), picture->packet) != fed.end()) return true;
  }
  return false;
}

void HevcParser::note_references(PictureInfo& info, const Slice& slice, bool resets, bool anchor) {
  if (slice.refs) {
    std::vector<std::uint64_t> found;
    for (const auto* side : {&slice.refs->before, &slice.refs->after}) {
      for (const std::int32_t delta : *side) {
        const auto held = std::find_if(pictures_.rbegin(), pictures_.rend(),
                                       [&](const Picture& picture) { return picture.poc == info.order + delta; });
        if (held != pictures_.rend()) found.push_back(held->packet);
      }
    }
    const bool all_found = found.size() == slice.refs->size();
    const bool order_known = resets || order_survives_gaps(info.order, slice, found);
    if (all_found && order_known && !sets_are_new_) info.flags |= kRefsKnown;
    for (const std::uint64_t packet : found) info.refs.push_back(static_cast<std::int32_t>(packet_ - packet));
  }
  constexpr std::size_t kMost = 64;  // far more than a decoded picture buffer holds
  if (pictures_.size() == kMost) pictures_.erase(pictures_.begin());
  pictures_.push_back({info.order, packet_, anchor});
}

std::int32_t HevcParser::picture_order(const Slice& slice, bool resets, bool anchor) {  // 8.3.1
  const std::int32_t max_lsb = 1 << slice.sps->log2_max_poc_lsb;
  std::int32_t msb = 0;
  if (!resets) {
    const std::int32_t prev_lsb = prev_poc_ & (max_lsb - 1);
    msb = prev_poc_ - prev_lsb;
    if (slice.poc_lsb < prev_lsb && prev_lsb - slice.poc_lsb >= max_lsb / 2) msb += max_lsb;
    if (slice.poc_lsb > prev_lsb && slice.poc_lsb - prev_lsb > max_lsb / 2) msb -= max_lsb;
  }
  if (anchor) prev_poc_ = msb + slice.poc_lsb;
  return msb + slice.poc_lsb;
}

void HevcParser::describe(PictureInfo& info, const Slice& slice, int type, int temporal_id) {
  const bool bla = type >= kBlaFirst && type <= kBlaLast;
  const bool resets = is_idr(type) || bla || (type == kCra && after_end_);
  if (is_irap(type)) skips_rasl_ = resets;
  // Types 0..14 with an even number are sub-layer non-reference pictures (table 7-1); only in the highest sub-layer
  // does that mean that no picture at all refers to them.
  const bool sub_layer_non_reference = type < kBlaFirst && type % 2 == 0;
  const bool leading = type >= 6 && type <= kRaslR;
  const bool anchor = temporal_id == 0 && !sub_layer_non_reference && !leading;
  info.order = picture_order(slice, resets, anchor);
  colour_ = slice.sps->vui.colour;
  if (is_irap(type) && sps_.all_known_at_start(packet_) && pps_.all_known_at_start(packet_)) info.flags |= kStart;
  if (resets) {
    pictures_.clear();
    // Where decoding of later pictures begins, here or later, is all that they use.
    if (info.flags & kStart) sets_are_new_ = false;
  }
  note_references(info, slice, resets, anchor);
  if (is_idr(type)) info.flags |= kReset;
  if (!sub_layer_non_reference || temporal_id + 1 < slice.sps->max_sub_layers) info.flags |= kReference;
  if (slice.shown && !(is_rasl(type) && skips_rasl_)) info.flags |= kShown;
  // Pictures waiting for output are thrown away here, how many of them depends on the decoder's buffer.
  if (!first_ && resets && (slice.discards_output || type == kCra)) info.flags |= kIrregular;
  if (!first_ && bla) info.flags |= kIrregular;
  after_end_ = false;
  first_ = false;
}

PictureInfo HevcParser::parse(Bytes packet) {
  std::vector<Bytes> units;
  ++packet_;
  if (!split_nal_units(packet, length_size_, units)) return {};
  PictureInfo info;
  int pictures = 0;
  for (const Bytes nal : units) {
    if (nal.size() < 2) return {};
    const int type = nal[0] >> 1 & 63;
    const int layer = (nal[0] & 1) << 5 | nal[1] >> 3;
    if (layer != 0) continue;
    if ((type == kSpsNal || type == kPpsNal) && read_parameter_set(nal)) {
      sets_are_new_ = true;
      info.flags |= kReference;
    }
    if (type == kEndOfSequence || type == kEndOfBitstream) after_end_ = true;
    if (!is_slice(type)) continue;
    const auto slice = parse_slice(nal, type);
    if (!slice) return {};
    if (!slice->first) continue;
    if (++pictures == 1) describe(info, *slice, type, (nal[1] & 7) - 1);
  }
  if (pictures == 0) return {};
  if (pictures > 1) info.flags |= kIrregular;
  info.flags |= kParsed;
  return info;
}

}  // namespace

std::unique_ptr<PacketParser> make_hevc_parser(Bytes extradata) { return std::make_unique<HevcParser>(extradata); }

}  // namespace frametap
