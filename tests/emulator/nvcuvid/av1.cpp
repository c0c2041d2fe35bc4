// AV1 bitstream specification, sections 5.3 to 5.9: only what decides which frames exist and what they look like.
#include <algorithm>

#include "frames.h"
#include "switches.h"
#include "video_format.h"

namespace emu {
namespace {

enum ObuType { sequence_obu = 1, delimiter_obu = 2, frame_header_obu = 3, tile_group_obu = 4, frame_obu = 6 };
enum FrameType { key_frame, inter_frame, intra_only_frame, switch_frame };
constexpr unsigned select_value = 2;
constexpr unsigned char av1_surfaces = 9;  // eight references and the frame being decoded

// Returns the value and drops its bytes; leaves `data` empty if they end early.
size_t take_leb128(Bytes& data) {
  size_t value = 0;
  for (int shift = 0; shift < 56 && !data.empty(); shift += 7) {
    uint8_t byte = data[0];
    data = data.subspan(1);
    value |= static_cast<size_t>(byte & 0x7F) << shift;
    if (!(byte & 0x80)) return value;
  }
  data = {};
  return 0;
}

void append_sized(std::vector<uint8_t>& out, Bytes obu) {  // with has_size_field, as in the low-overhead format
  bool sized = obu[0] & 2;
  if (sized) {
    out.insert(out.end(), obu.begin(), obu.end());
    return;
  }
  size_t header = obu[0] & 4 ? 2 : 1;
  out.push_back(obu[0] | 2);
  if (header == 2) out.push_back(obu[1]);
  size_t size = obu.size() - header;
  do {
    out.push_back(static_cast<uint8_t>((size & 0x7F) | (size > 0x7F ? 0x80 : 0)));
    size >>= 7;
  } while (size);
  out.insert(out.end(), obu.begin() + static_cast<ptrdiff_t>(header), obu.end());
}

// Annex B: temporal_unit(size) { frame_unit(size) { obu_length, obu } }
std::vector<uint8_t> from_annexb(Bytes packet) {
  std::vector<uint8_t> out;
  while (!packet.empty()) {
    size_t unit_size = take_leb128(packet);
    Bytes unit = packet.first(std::min(unit_size, packet.size()));
    packet = packet.subspan(unit.size());
    while (!unit.empty()) {
      size_t frame_size = take_leb128(unit);
      Bytes frame = unit.first(std::min(frame_size, unit.size()));
      unit = unit.subspan(frame.size());
      while (!frame.empty()) {
        size_t obu_size = take_leb128(frame);
        Bytes obu = frame.first(std::min(obu_size, frame.size()));
        frame = frame.subspan(obu.size());
        if (!obu.empty()) append_sized(out, obu);
      }
    }
  }
  return out;
}

}  // namespace

void Av1Stream::read_packet(Bytes packet, uint64_t position, const UnitSink& sink) {
  std::vector<uint8_t> converted;
  if (annexb_) packet = converted = from_annexb(packet);
  AccessUnit pending;
  while (!packet.empty()) {
    Bytes rest = packet.subspan(packet[0] & 4 && packet.size() > 1 ? 2 : 1);
    size_t size = packet[0] & 2 ? take_leb128(rest) : rest.size();
    if (packet[0] & 0x80 || size > rest.size()) {
      corrupt_ = true;
      return;
    }
    size_t whole = packet.size() - rest.size() + size;
    read_obu(packet.first(whole), pending, position, sink);
    packet = packet.subspan(whole);
  }
  if (!pending.slice_offsets.empty()) sink(std::move(pending));
}

void Av1Stream::read_obu(Bytes obu, AccessUnit& pending, uint64_t position, const UnitSink& sink) {
  unsigned type = obu[0] >> 3 & 15;
  Bytes payload = obu.subspan(1);
  temporal_id_ = spatial_id_ = 0;
  if (obu[0] & 4) temporal_id_ = obu[1] >> 5, spatial_id_ = obu[1] >> 3 & 3, payload = obu.subspan(2);
  if (obu[0] & 2) take_leb128(payload);
  bool opens = (type == frame_header_obu || type == frame_obu) && !header_seen_;
  // A frame ends where the next one, or a new temporal unit, starts.
  bool ends = opens || type == delimiter_obu || type == sequence_obu;
  if (ends && !pending.slice_offsets.empty()) {
    sink(std::move(pending));
    pending = {};
  }
  if (type == delimiter_obu) header_seen_ = false;
  if (type == sequence_obu) read_sequence(BitReader(payload));
  if (!sequence_.known) return;
  pending.data.insert(pending.data.end(), obu.begin(), obu.end());
  if (opens) {
    read_frame_header(BitReader(payload), pending);
    pending.position = position;
    pending.slice_offsets = {0};
  }
  if (type == frame_header_obu || type == tile_group_obu || type == frame_obu)
    pending.slices.insert(pending.slices.end(), payload.begin(), payload.end());
  // A frame OBU is complete; after a lone header tile groups come, and copies of the header may.
  header_seen_ = (header_seen_ || type == frame_header_obu) && type != frame_obu && !pending.shows_existing;
  if (type == tile_group_obu) header_seen_ = false;
}

void Av1Stream::read_sequence(BitReader in) {
  Sequence s;
  unsigned profile = in.u(3);
  in.bit();
  s.reduced = in.flag();
  if (s.reduced) {
    in.u(5);
  } else {
    bool decoder_model = false;
    unsigned delay_bits = 0;
    if (in.flag()) {
      s.units_in_tick = in.u(32);
      s.time_scale = in.u(32);
      s.equal_interval = in.flag();
      if (s.equal_interval) in.ue();
      decoder_model = in.flag();
      if (decoder_model) {
        delay_bits = in.u(5) + 1;
        in.u(32);
        s.removal_bits = in.u(5) + 1;
        s.presentation_bits = in.u(5) + 1;
      }
    }
    s.decoder_model = decoder_model;
    bool display_delay = in.flag();
    s.operating_points = in.u(5) + 1;
    for (unsigned i = 0; i < s.operating_points; ++i) {
      s.idc[i] = in.u(12);
      if (in.u(5) > 7) in.bit();
      s.model_present[i] = decoder_model && in.flag();
      if (s.model_present[i]) in.skip(2 * delay_bits + 1);
      if (display_delay && in.flag()) in.u(4);
    }
  }
  s.width_bits = static_cast<int>(in.u(4)) + 1;
  s.height_bits = static_cast<int>(in.u(4)) + 1;
  s.size.width = in.u(s.width_bits) + 1;
  s.size.height = in.u(s.height_bits) + 1;
  if (!s.reduced) s.frame_ids = in.flag();
  if (s.frame_ids) s.id_delta_bits = in.u(4) + 2, s.id_bits = s.id_delta_bits + in.u(3) + 1;
  in.u(3);  // 128x128 superblocks, filter intra, intra edge filter
  if (!s.reduced) {
    in.u(4);
    s.order_hint = in.flag();
    if (s.order_hint) in.u(2);
    s.screen_content = in.flag() ? select_value : in.bit();
    if (s.screen_content) s.integer_mv = in.flag() ? select_value : in.bit();
    if (s.order_hint) s.order_hint_bits = in.u(3) + 1;
  }
  in.u(3);  // super-resolution, cdef, restoration
  s.known = true;
  sequence_ = s;
  read_color(in, profile);
  if (in.overrun()) sequence_.known = false;
}

void Av1Stream::read_color(BitReader& in, unsigned profile) {
  Sequence& s = sequence_;
  bool deep = in.flag();
  s.depth = profile == 2 && deep ? (in.flag() ? 4 : 2) : deep ? 2 : 0;
  bool mono = profile != 1 && in.flag();
  if (in.flag()) s.primaries = in.u(8), s.transfer = in.u(8), s.matrix = in.u(8);
  if (!mono && s.primaries == 1 && s.transfer == 13 && s.matrix == 0) {  // sRGB
    s.full_range = true;
    s.chroma = 3;
    return;
  }
  s.full_range = in.flag();
  s.chroma = mono ? 0 : profile == 0 ? 1 : profile == 1 ? 3 : 2;
  if (profile == 2 && s.depth == 4 && !mono) {
    bool half_x = in.flag();
    s.chroma = !half_x ? 3 : in.flag() ? 1 : 2;
  }
}

// 5.9.2, up to the frame's size
void Av1Stream::read_frame_header(BitReader in, AccessUnit& unit) {
  const Sequence& s = sequence_;
  unsigned type = key_frame;
  bool resilient = true;
  bool timed = s.decoder_model && !s.equal_interval;
  if (!s.reduced) {
    unit.shows_existing = in.flag();
    if (unit.shows_existing) {
      unit.shown_slot = static_cast<int>(in.u(3));
      if (key_in_slot_[static_cast<size_t>(unit.shown_slot)]) {  // it restarts the sequence: every slot holds it now
        unit.refreshes = 0xFF;
        key_in_slot_.fill(true);
        sizes_.fill(sizes_[static_cast<size_t>(unit.shown_slot)]);
      }
      describe(unit, sizes_[static_cast<size_t>(unit.shown_slot)]);
      return;
    }
    type = in.u(2);
    unit.shown = in.flag();
    if (unit.shown && timed) in.u(static_cast<int>(s.presentation_bits));
    if (!unit.shown) in.bit();  // showable_frame
    resilient = type == switch_frame || (type == key_frame && unit.shown) || in.flag();
  }
  in.bit();  // disable_cdf_update
  bool screen_content = s.screen_content == select_value ? in.flag() : s.screen_content;
  if (screen_content && s.integer_mv == select_value) in.bit();
  if (s.frame_ids) in.u(static_cast<int>(s.id_bits));
  bool overrides = type == switch_frame || (!s.reduced && in.flag());  // frame_size_override_flag
  in.u(static_cast<int>(s.order_hint_bits));
  bool intra = type == key_frame || type == intra_only_frame;
  if (!intra && !resilient) in.u(3);
  if (s.decoder_model && in.flag()) skip_removal_times(in, temporal_id_, spatial_id_);
  bool all = type == switch_frame || (type == key_frame && unit.shown);
  unit.refreshes = all ? 0xFF : in.u(8);
  unit.intra = intra;
  unit.starts_sequence = type == key_frame && unit.shown;
  unit.reference = unit.refreshes != 0;
  if ((!intra || unit.refreshes != 0xFF) && resilient && s.order_hint)
    for (int i = 0; i < 8; ++i) in.u(static_cast<int>(s.order_hint_bits));
  FrameSize size = intra ? read_size(in, overrides) : read_inter_size(in, overrides, resilient);
  for (size_t i = 0; i < 8; ++i)
    if (unit.refreshes >> i & 1) key_in_slot_[i] = type == key_frame, sizes_[i] = size;
  describe(unit, size);
}

// 5.9.5: what super-resolution makes of it is this size again.
FrameSize Av1Stream::read_size(BitReader& in, bool overrides) const {
  if (!overrides) return sequence_.size;
  unsigned width = in.u(sequence_.width_bits) + 1;
  return {width, in.u(sequence_.height_bits) + 1};
}

// The references of a frame, then 5.9.7. With short signaling only the last and the golden one are named; the others
// follow from order hints, which are not kept: they count as the last one.
FrameSize Av1Stream::read_inter_size(BitReader& in, bool overrides, bool resilient) const {
  const Sequence& s = sequence_;
  std::array<size_t, 7> references{};
  bool is_short = s.order_hint && in.flag();
  if (is_short) {
    references.fill(in.u(3));
    references[3] = in.u(3);
  }
  for (size_t& reference : references) {
    if (!is_short) reference = in.u(3);
    if (s.frame_ids) in.u(static_cast<int>(s.id_delta_bits));
  }
  if (overrides && !resilient)
    for (size_t reference : references)
      if (in.flag()) return sizes_[reference];
  return read_size(in, overrides);
}

void Av1Stream::skip_removal_times(BitReader& in, unsigned temporal, unsigned spatial) const {
  for (unsigned i = 0; i < sequence_.operating_points; ++i) {
    unsigned idc = sequence_.idc[i];
    bool applies = idc == 0 || ((idc >> temporal & 1) && (idc >> (spatial + 8) & 1));
    if (sequence_.model_present[i] && applies) in.u(static_cast<int>(sequence_.removal_bits));
  }
}

void Av1Stream::describe(AccessUnit& unit, FrameSize size) const {
  const Sequence& s = sequence_;
  CUVIDEOFORMAT& f = unit.format.format;
  f.codec = cudaVideoCodec_AV1;
  f.coded_width = round_up(size.width, switches().vp9_size_multiple);
  f.coded_height = round_up(size.height, switches().vp9_size_multiple);
  f.display_area = {0, 0, static_cast<int>(size.width), static_cast<int>(size.height)};
  f.chroma_format = static_cast<cudaVideoChromaFormat>(s.chroma);
  f.bit_depth_luma_minus8 = f.bit_depth_chroma_minus8 = static_cast<unsigned char>(s.depth);
  f.progressive_sequence = 1;
  f.min_num_decode_surfaces = av1_surfaces;
  f.frame_rate = {s.time_scale, s.units_in_tick};
  set_signal(f, 5, s.full_range, s.primaries, s.transfer, s.matrix);
  set_aspect(f, 1, 1);
  unit.format.av1.max_width = s.size.width;
  unit.format.av1.max_height = s.size.height;
  unit.width = static_cast<int>(size.width);
  unit.height = static_cast<int>(size.height);
}

}  // namespace emu
