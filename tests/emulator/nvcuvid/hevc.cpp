#include "hevc.h"

#include "switches.h"
#include "video_format.h"

namespace emu {
namespace {

enum NalType : unsigned {
  rasl_n = 8,
  rasl_r = 9,
  bla_first = 16,
  bla_last = 18,
  idr_w_radl = 19,
  idr_n_lp = 20,
  cra = 21,
  irap_last = 23,
  slice_last = 31,
  vps = 32,
  sps_nal = 33,
  pps_nal = 34,
  delimiter = 35,
  end_of_sequence = 36,
  end_of_stream = 37,
  prefix_sei = 39
};

unsigned type_of(Bytes unit) { return unit[0] >> 1 & 63; }
bool base_layer(Bytes unit) { return !(unit[0] & 1) && unit[1] >> 3 == 0; }
bool is_irap(unsigned type) { return type >= bla_first && type <= irap_last; }

CUVIDEOFORMATEX format_of(const HevcSps& sps) {
  CUVIDEOFORMATEX extended{};
  CUVIDEOFORMAT& f = extended.format;
  f.codec = cudaVideoCodec_HEVC;
  f.coded_width = round_up(sps.width, switches().hevc_size_multiple);
  f.coded_height = round_up(sps.height, switches().hevc_size_multiple);
  f.display_area = {static_cast<int>(sps.window[0]), static_cast<int>(sps.window[2]),
                    static_cast<int>(sps.width - sps.window[1]), static_cast<int>(sps.height - sps.window[3])};
  f.chroma_format = static_cast<cudaVideoChromaFormat>(sps.chroma_format);
  f.bit_depth_luma_minus8 = static_cast<unsigned char>(sps.depth_luma);
  f.bit_depth_chroma_minus8 = static_cast<unsigned char>(sps.depth_chroma);
  f.progressive_sequence = 1;
  f.min_num_decode_surfaces = static_cast<unsigned char>(sps.max_dec_pic_buffering + 3);
  f.frame_rate = {sps.time_scale, sps.units_in_tick};
  set_signal(f, sps.video_format, sps.full_range, sps.primaries, sps.transfer, sps.matrix);
  set_aspect(f, sps.sar_width, sps.sar_height);
  return extended;
}

}  // namespace

bool HevcStream::is_slice(Bytes unit) const {
  unsigned type = type_of(unit);
  return base_layer(unit) && type <= slice_last && !(type > rasl_r && type < bla_first) && type <= irap_last;
}

// 7.4.2.4.4 and 7.4.2.4.5: the first NAL unit of an access unit, first_slice_segment_in_pic_flag.
bool HevcStream::opens_picture(Bytes unit) const {
  unsigned type = type_of(unit);
  if (is_slice(unit)) return unit.size() > 2 && (unit[2] & 0x80);
  return base_layer(unit) && ((type >= vps && type <= delimiter) || type == prefix_sei || (type >= 41 && type <= 44) ||
                              (type >= 48 && type <= 55));
}

bool HevcStream::read_unit(Bytes unit) {
  unsigned type = type_of(unit);
  if (!base_layer(unit)) return false;
  if (is_slice(unit)) return read_slice(unit);
  std::vector<uint8_t> payload = rbsp(unit.subspan(2));
  if (type == sps_nal) {
    unsigned id = 0;
    HevcSps sps;
    if (read_hevc_sps(payload, id, sps)) sps_[id] = sps;
  }
  if (type == pps_nal) {
    BitReader in{Bytes(payload)};
    HevcPps pps;
    unsigned id = in.ue();
    pps.sps = in.ue();
    pps.dependent_slices = in.flag();
    in.bit();
    pps.extra_slice_header_bits = in.u(3);
    if (!in.overrun() && id < 64) pps_[id] = pps;
  }
  return true;
}

bool HevcStream::read_slice(Bytes unit) {
  unsigned type = type_of(unit);
  std::vector<uint8_t> payload = rbsp(unit.subspan(2), 32);
  BitReader in{Bytes(payload)};
  bool first = in.flag();
  bool discard_prior = is_irap(type) && in.flag();
  auto pps = pps_.find(in.ue());
  if (pps == pps_.end() || !sps_.contains(pps->second.sps)) {
    ++dropped_;
    return false;
  }
  if (!first) return !current_.slices.empty();  // the picture's first slice was lost
  describe(sps_.at(pps->second.sps), type);
  current_.discard_prior = discard_prior && !at_start_;
  at_start_ = at_start_ && !is_irap(type);
  return true;
}

void HevcStream::describe(const HevcSps& sps, unsigned type) {
  current_.format = format_of(sps);
  current_.width = static_cast<int>(sps.width);
  current_.height = static_cast<int>(sps.height);
  current_.intra = is_irap(type);
  current_.reference = type > 15 || type % 2;  // odd: a reference for pictures of its sub-layer
  // NoRaslOutputFlag of 8.1.3
  bool starts = is_irap(type) && (type != cra || at_start_);
  current_.starts_sequence = starts;
  if (is_irap(type)) skips_rasl_ = starts && type != idr_w_radl && type != idr_n_lp;
  current_.undecodable = skips_rasl_ && (type == rasl_n || type == rasl_r);
}

void HevcStream::complete(AccessUnit& unit) {
  // An end of sequence makes the next IRAP picture start a sequence.
  for (size_t i = 0; i + 5 < unit.data.size(); ++i) {
    Bytes code = Bytes(unit.data).subspan(i);
    if (code[0] || code[1] || code[2] || code[3] != 1) continue;
    unsigned type = type_of(code.subspan(4));
    if (type == end_of_sequence || type == end_of_stream) at_start_ = true;
  }
}

}  // namespace emu
