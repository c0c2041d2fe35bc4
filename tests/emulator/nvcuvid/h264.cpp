#include "h264.h"

#include <algorithm>

#include "switches.h"
#include "video_format.h"

namespace emu {
namespace {

enum NalType { slice_nal = 1, idr_nal = 5, sei_nal = 6, sps_nal = 7, pps_nal = 8, delimiter_nal = 9 };

NalType type_of(Bytes unit) { return static_cast<NalType>(unit[0] & 31); }

// Decoded picture buffer that the level allows, in frames (table A-1: MaxDpbMbs).
unsigned level_frames(const H264Sps& sps) {
  static constexpr unsigned limits[][2] = {{9, 396},     {10, 396},    {11, 900},    {12, 2376},   {13, 2376},
                                           {20, 2376},   {21, 4752},   {22, 8100},   {30, 8100},   {31, 18000},
                                           {32, 20480},  {40, 32768},  {41, 32768},  {42, 34816},  {50, 110400},
                                           {51, 184320}, {52, 184320}, {60, 696320}, {61, 696320}, {62, 696320}};
  unsigned macroblocks = limits[std::size(limits) - 1][1];
  bool level_1b = sps.level == 11 && (sps.constraints & 0x10) && sps.profile < 100;
  for (auto& [level, limit] : limits)
    if (sps.level <= level) {
      macroblocks = level_1b ? 396 : limit;
      break;
    }
  return std::min(16u, macroblocks / (sps.width_mbs * sps.height_mbs()));
}

// Where the stream does not say how many pictures wait for output, libavcodec keeps as many as the level allows beside
// the reference pictures; a real parser counts those as one buffer.
unsigned surfaces_needed(const H264Sps& sps) {
  unsigned frames = sps.restricted ? std::max(sps.max_dec_frame_buffering, sps.num_ref_frames)
                                   : level_frames(sps) + sps.num_ref_frames;
  return std::min(std::min(sps.restricted ? 16u : 28u, frames) + switches().h264_extra_surfaces, 32u);
}

// Lists are sent in zigzag order.
template <size_t N>
void unscan(const std::array<uint8_t, N>& list, unsigned char* matrix) {
  constexpr auto positions = zigzag<N>();
  for (size_t i = 0; i < N; ++i) matrix[positions[i]] = list[i];
}

}  // namespace

bool H264Stream::is_slice(Bytes unit) const { return type_of(unit) == slice_nal || type_of(unit) == idr_nal; }

// 7.4.1.2.3 and 7.4.1.2.4: the first NAL unit of an access unit, the first slice of a primary coded picture.
bool H264Stream::opens_picture(Bytes unit) const {
  NalType type = type_of(unit);
  if (!is_slice(unit)) return (type >= sei_nal && type <= delimiter_nal) || (type >= 14 && type <= 18);
  H264Slice s;
  if (!sets_.read_slice(unit, s)) return true;
  const H264Slice& f = first_;
  return s.frame_num != f.frame_num || s.pps != f.pps || s.field != f.field || s.bottom != f.bottom ||
         !s.nal_ref_idc != !f.nal_ref_idc || s.idr != f.idr || (s.idr && s.idr_pic_id != f.idr_pic_id) ||
         s.poc_lsb != f.poc_lsb || s.delta_poc_bottom != f.delta_poc_bottom || s.delta_poc[0] != f.delta_poc[0] ||
         s.delta_poc[1] != f.delta_poc[1];
}

bool H264Stream::read_unit(Bytes unit) {
  NalType type = type_of(unit);
  if (type == sps_nal) sets_.read_sps(rbsp(unit.subspan(1)));
  if (type == pps_nal) sets_.read_pps(rbsp(unit.subspan(1)));
  if (!is_slice(unit)) return type < 2 || type > 4;  // data partitions are nobody's business
  H264Slice slice;
  if (!sets_.read_slice(unit, slice)) {
    ++dropped_;
    return false;
  }
  if (slice.redundant_pic_cnt) return false;
  if (current_.slices.empty()) {
    first_ = slice;
    current_.intra = true;
    describe(slice);
  }
  current_.intra = current_.intra && (slice.type == 2 || slice.type == 4);
  return true;
}

void H264Stream::describe(const H264Slice& slice) {
  const H264Pps& pps = sets_.pps.at(slice.pps);
  const H264Sps& sps = sets_.sps.at(pps.sps);
  current_.format = h264_format(sps);
  current_.width = static_cast<int>(sps.width_mbs * 16);
  current_.height = static_cast<int>(sps.height_mbs() * 16);
  current_.starts_sequence = slice.idr;
  current_.reference = slice.nal_ref_idc != 0;
  current_.field = slice.field;
  current_.bottom_field = slice.bottom;
  fill_picture(sps, pps, slice, current_.picture);
}

CUVIDEOFORMATEX h264_format(const H264Sps& sps) {
  CUVIDEOFORMATEX extended{};
  CUVIDEOFORMAT& f = extended.format;
  f.codec = cudaVideoCodec_H264;
  f.coded_width = sps.width_mbs * 16;
  f.coded_height = sps.height_mbs() * 16;
  f.display_area = {static_cast<int>(sps.crop[0]), static_cast<int>(sps.crop[2]),
                    static_cast<int>(f.coded_width - sps.crop[1]), static_cast<int>(f.coded_height - sps.crop[3])};
  f.chroma_format = static_cast<cudaVideoChromaFormat>(sps.chroma_format);
  f.bit_depth_luma_minus8 = static_cast<unsigned char>(sps.depth_luma);
  f.bit_depth_chroma_minus8 = static_cast<unsigned char>(sps.depth_chroma);
  f.progressive_sequence = sps.frame_mbs_only;
  f.min_num_decode_surfaces = static_cast<unsigned char>(surfaces_needed(sps));
  f.frame_rate = {sps.time_scale, sps.units_in_tick * 2};  // a frame is two ticks
  set_signal(f, sps.video_format, sps.full_range, sps.primaries, sps.transfer, sps.matrix);
  set_aspect(f, sps.sar_width, sps.sar_height);
  return extended;
}

void fill_picture(const H264Sps& sps, const H264Pps& pps, const H264Slice& slice, CUVIDPICPARAMS& picture) {
  CUVIDH264PICPARAMS& h = picture.CodecSpecific.h264;
  h.log2_max_frame_num_minus4 = static_cast<int>(sps.log2_frame_num) - 4;
  h.pic_order_cnt_type = static_cast<int>(sps.poc_type);
  h.log2_max_pic_order_cnt_lsb_minus4 = static_cast<int>(sps.log2_poc_lsb) - 4;
  h.delta_pic_order_always_zero_flag = sps.delta_pic_order_always_zero;
  h.frame_mbs_only_flag = sps.frame_mbs_only;
  h.direct_8x8_inference_flag = sps.direct_8x8;
  h.num_ref_frames = static_cast<int>(sps.num_ref_frames);
  h.bit_depth_luma_minus8 = static_cast<unsigned char>(sps.depth_luma);
  h.bit_depth_chroma_minus8 = static_cast<unsigned char>(sps.depth_chroma);
  h.qpprime_y_zero_transform_bypass_flag = sps.transform_bypass;
  h.entropy_coding_mode_flag = pps.cabac;
  h.pic_order_present_flag = pps.pic_order_present;
  h.num_ref_idx_l0_active_minus1 = static_cast<int>(pps.num_ref_l0) - 1;
  h.num_ref_idx_l1_active_minus1 = static_cast<int>(pps.num_ref_l1) - 1;
  h.weighted_pred_flag = pps.weighted_pred;
  h.weighted_bipred_idc = static_cast<int>(pps.weighted_bipred);
  h.pic_init_qp_minus26 = pps.init_qp;
  h.pic_init_qs_minus26 = static_cast<signed char>(pps.init_qs);
  h.deblocking_filter_control_present_flag = pps.deblocking_control;
  h.redundant_pic_cnt_present_flag = pps.redundant_pic_cnt;
  h.transform_8x8_mode_flag = pps.transform_8x8;
  h.MbaffFrameFlag = sps.mbaff && !slice.field;
  h.constrained_intra_pred_flag = pps.constrained_intra;
  h.chroma_qp_index_offset = pps.chroma_qp_offset;
  h.second_chroma_qp_index_offset = pps.second_chroma_qp_offset;
  h.ref_pic_flag = slice.nal_ref_idc != 0;
  h.frame_num = static_cast<int>(slice.frame_num);
  for (auto& entry : h.dpb) entry.PicIdx = -1;
  for (size_t i = 0; i < 6; ++i) unscan(pps.lists.l4[i], h.WeightScale4x4[i]);
  for (size_t i = 0; i < 2; ++i) unscan(pps.lists.l8[i], h.WeightScale8x8[i]);
}

}  // namespace emu
