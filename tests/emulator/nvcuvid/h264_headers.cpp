#include <algorithm>

#include "h264.h"

namespace emu {
namespace {

// Tables 7-3 and 7-4, in zigzag order.
constexpr std::array<uint8_t, 16> default_4x4_intra = {6, 13, 13, 20, 20, 20, 28, 28, 28, 28, 32, 32, 32, 37, 37, 42};
constexpr std::array<uint8_t, 16> default_4x4_inter = {10, 14, 14, 20, 20, 20, 24, 24, 24, 24, 27, 27, 27, 30, 30, 34};
constexpr std::array<uint8_t, 64> default_8x8_intra = {6,  10, 10, 13, 11, 13, 16, 16, 16, 16, 18, 18, 18, 18, 18, 23,
                                                       23, 23, 23, 23, 23, 25, 25, 25, 25, 25, 25, 25, 27, 27, 27, 27,
                                                       27, 27, 27, 27, 29, 29, 29, 29, 29, 29, 29, 31, 31, 31, 31, 31,
                                                       31, 33, 33, 33, 33, 33, 36, 36, 36, 36, 38, 38, 38, 40, 40, 42};
constexpr std::array<uint8_t, 64> default_8x8_inter = {9,  13, 13, 15, 13, 15, 17, 17, 17, 17, 19, 19, 19, 19, 19, 21,
                                                       21, 21, 21, 21, 21, 22, 22, 22, 22, 22, 22, 22, 24, 24, 24, 24,
                                                       24, 24, 24, 24, 25, 25, 25, 25, 25, 25, 25, 27, 27, 27, 27, 27,
                                                       27, 28, 28, 28, 28, 28, 30, 30, 30, 30, 32, 32, 32, 33, 33, 35};

// One list, or what stands in for it: the default if the stream says so, `fallback` if there is none.
template <size_t N>
void read_list(BitReader& in, std::array<uint8_t, N>& list, const std::array<uint8_t, N>& standard,
               const std::array<uint8_t, N>& fallback) {
  if (!in.flag()) {
    list = fallback;
    return;
  }
  int last = 8, next = 8;
  for (size_t i = 0; i < N; ++i) {
    if (next) next = (last + in.se() + 256) % 256;
    if (i == 0 && next == 0) {
      list = standard;
      return;
    }
    if (next) last = next;
    list[i] = static_cast<uint8_t>(last);
  }
}

// `outer`: lists of the sequence for a picture parameter set (fall-back rule B), null for rule A.
void read_lists(BitReader& in, H264ScalingLists& lists, const H264ScalingLists* outer, bool with_8x8, bool all_8x8) {
  for (size_t i = 0; i < 6; ++i) {
    const auto& standard = i < 3 ? default_4x4_intra : default_4x4_inter;
    read_list(in, lists.l4[i], standard, i % 3 ? lists.l4[i - 1] : outer ? outer->l4[i] : standard);
  }
  for (size_t i = 0; i < 2; ++i) lists.l8[i] = outer ? outer->l8[i] : i ? default_8x8_inter : default_8x8_intra;
  for (size_t i = 0; with_8x8 && i < (all_8x8 ? 6u : 2u); ++i) {
    const auto& standard = i % 2 ? default_8x8_inter : default_8x8_intra;
    std::array<uint8_t, 64> list{};
    read_list(in, list, standard, i < 2 ? lists.l8[i] : list);
    if (i < 2) lists.l8[i] = list;
  }
}

void flat(H264ScalingLists& lists) {
  for (auto& list : lists.l4) list.fill(16);
  for (auto& list : lists.l8) list.fill(16);
}

void skip_hrd(BitReader& in) {
  unsigned count = in.ue() + 1;
  in.u(8);
  for (unsigned i = 0; i < count && !in.overrun(); ++i) in.ue(), in.ue(), in.bit();
  in.u(20);
}

void read_vui(BitReader& in, H264Sps& sps) {
  static constexpr unsigned sar[][2] = {{0, 0},   {1, 1},    {12, 11}, {10, 11}, {16, 11}, {40, 33},
                                        {24, 11}, {20, 11},  {32, 11}, {80, 33}, {18, 11}, {15, 11},
                                        {64, 33}, {160, 99}, {4, 3},   {3, 2},   {2, 1}};
  if (in.flag()) {
    unsigned idc = in.u(8);
    if (idc == 255) sps.sar_width = in.u(16), sps.sar_height = in.u(16);
    if (idc < std::size(sar)) sps.sar_width = sar[idc][0], sps.sar_height = sar[idc][1];
  }
  if (in.flag()) in.bit();  // overscan
  if (in.flag()) {
    sps.video_format = in.u(3);
    sps.full_range = in.flag();
    if (in.flag()) sps.primaries = in.u(8), sps.transfer = in.u(8), sps.matrix = in.u(8);
  }
  if (in.flag()) in.ue(), in.ue();  // chroma location
  if (in.flag()) sps.units_in_tick = in.u(32), sps.time_scale = in.u(32), in.bit();
  bool nal = in.flag();
  if (nal) skip_hrd(in);
  bool vcl = in.flag();
  if (vcl) skip_hrd(in);
  if (nal || vcl) in.bit();
  in.bit();  // pic_struct_present_flag
  if (!in.flag()) return;
  in.bit();
  for (int i = 0; i < 5; ++i) in.ue();  // up to max_num_reorder_frames
  sps.max_dec_frame_buffering = in.ue();
  sps.restricted = !in.overrun();
}

bool is_high(unsigned profile) {
  static constexpr unsigned profiles[] = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135};
  return std::find(std::begin(profiles), std::end(profiles), profile) != std::end(profiles);
}

void read_crop(BitReader& in, H264Sps& sps) {
  if (!in.flag()) return;
  unsigned x = sps.chroma_format == 1 || sps.chroma_format == 2 ? 2 : 1;
  unsigned y = (sps.chroma_format == 1 ? 2u : 1u) * (sps.frame_mbs_only ? 1u : 2u);
  sps.crop[0] = in.ue() * x;
  sps.crop[1] = in.ue() * x;
  sps.crop[2] = in.ue() * y;
  sps.crop[3] = in.ue() * y;
}

}  // namespace

void H264ParameterSets::read_sps(Bytes payload) {
  BitReader in(payload);
  H264Sps sps;
  sps.profile = in.u(8), sps.constraints = in.u(8), sps.level = in.u(8);
  unsigned id = in.ue();
  flat(sps.lists);
  if (is_high(sps.profile)) {
    sps.chroma_format = in.ue();
    if (sps.chroma_format == 3) sps.separate_planes = in.flag();
    sps.depth_luma = in.ue();
    sps.depth_chroma = in.ue();
    sps.transform_bypass = in.flag();
    sps.has_lists = in.flag();
    if (sps.has_lists) read_lists(in, sps.lists, nullptr, true, sps.chroma_format == 3);
  }
  sps.log2_frame_num = in.ue() + 4;
  sps.poc_type = in.ue();
  if (sps.poc_type == 0) sps.log2_poc_lsb = in.ue() + 4;
  if (sps.poc_type == 1) {
    sps.delta_pic_order_always_zero = in.flag();
    in.se(), in.se();
    for (unsigned count = in.ue(); count && !in.overrun(); --count) in.se();
  }
  sps.num_ref_frames = in.ue();
  in.bit();  // gaps_in_frame_num_value_allowed_flag
  sps.width_mbs = in.ue() + 1;
  sps.height_map_units = in.ue() + 1;
  sps.frame_mbs_only = in.flag();
  if (!sps.frame_mbs_only) sps.mbaff = in.flag();
  sps.direct_8x8 = in.flag();
  read_crop(in, sps);
  if (in.overrun() || id > 31) return;
  if (in.flag()) read_vui(in, sps);
  this->sps[id] = sps;
}

void H264ParameterSets::read_pps(Bytes payload) {
  BitReader in(payload);
  H264Pps pps;
  unsigned id = in.ue();
  pps.sps = in.ue();
  pps.cabac = in.flag();
  pps.pic_order_present = in.flag();
  pps.num_slice_groups = in.ue() + 1;
  if (pps.num_slice_groups > 1) return;  // flexible macroblock ordering: no NVDEC decodes it
  pps.num_ref_l0 = in.ue() + 1;
  pps.num_ref_l1 = in.ue() + 1;
  pps.weighted_pred = in.flag();
  pps.weighted_bipred = in.u(2);
  pps.init_qp = in.se();
  pps.init_qs = in.se();
  pps.chroma_qp_offset = pps.second_chroma_qp_offset = in.se();
  pps.deblocking_control = in.flag();
  pps.constrained_intra = in.flag();
  pps.redundant_pic_cnt = in.flag();
  auto active = sps.find(pps.sps);
  if (in.overrun() || id > 255 || active == sps.end()) return;
  pps.lists = active->second.lists;
  // more_rbsp_data(): something stands before the stop bit, the last 1 of the payload.
  if (payload.empty()) return;
  size_t stop = payload.size() * 8 - 1 - static_cast<size_t>(std::countr_zero(payload.back()));
  if (in.position() < stop) {
    BitReader probe = in;
    pps.transform_8x8 = probe.flag();
    pps.has_lists = probe.flag();
    const H264ScalingLists* outer = active->second.has_lists ? &active->second.lists : nullptr;
    if (pps.has_lists) read_lists(probe, pps.lists, outer, pps.transform_8x8, active->second.chroma_format == 3);
    pps.second_chroma_qp_offset = probe.se();
    if (probe.overrun()) return;
  }
  this->pps[id] = pps;
}

bool H264ParameterSets::read_slice(Bytes unit, H264Slice& slice) const {
  std::vector<uint8_t> payload = rbsp(unit.subspan(1), 64);
  BitReader in{Bytes(payload)};
  slice = {};
  slice.nal_ref_idc = unit[0] >> 5 & 3;
  slice.idr = (unit[0] & 31) == 5;
  slice.first_mb = in.ue();
  slice.type = in.ue() % 5;
  slice.pps = in.ue();
  auto used_pps = pps.find(slice.pps);
  if (used_pps == pps.end()) return false;
  auto used_sps = sps.find(used_pps->second.sps);
  if (used_sps == sps.end()) return false;
  const H264Sps& s = used_sps->second;
  if (s.separate_planes) in.u(2);
  slice.frame_num = in.u(static_cast<int>(s.log2_frame_num));
  if (!s.frame_mbs_only) {
    slice.field = in.flag();
    if (slice.field) slice.bottom = in.flag();
  }
  if (slice.idr) slice.idr_pic_id = in.ue();
  bool both = used_pps->second.pic_order_present && !slice.field;
  if (s.poc_type == 0) {
    slice.poc_lsb = in.u(static_cast<int>(s.log2_poc_lsb));
    if (both) slice.delta_poc_bottom = in.se();
  }
  if (s.poc_type == 1 && !s.delta_pic_order_always_zero) {
    slice.delta_poc[0] = in.se();
    if (both) slice.delta_poc[1] = in.se();
  }
  if (used_pps->second.redundant_pic_cnt) slice.redundant_pic_cnt = in.ue();
  return true;
}

}  // namespace emu
