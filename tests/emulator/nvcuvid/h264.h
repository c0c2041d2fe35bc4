// H.264 headers (ITU-T H.264, 7.3): parameter sets, the first part of slice headers, and access units.
#pragma once

#include <array>
#include <map>

#include "start_codes.h"

namespace emu {

struct H264ScalingLists {
  std::array<std::array<uint8_t, 16>, 6> l4;
  std::array<std::array<uint8_t, 64>, 2> l8;  // intra and inter luma, in zigzag order like l4
};

struct H264Sps {
  unsigned profile = 0, constraints = 0, level = 0, chroma_format = 1;
  bool separate_planes = false, transform_bypass = false;
  unsigned depth_luma = 0, depth_chroma = 0;  // minus 8
  bool has_lists = false;
  H264ScalingLists lists;
  unsigned log2_frame_num = 4, poc_type = 0, log2_poc_lsb = 4;
  bool delta_pic_order_always_zero = false;
  unsigned num_ref_frames = 0, width_mbs = 0, height_map_units = 0;
  bool frame_mbs_only = true, mbaff = false, direct_8x8 = false;
  unsigned crop[4] = {};  // left, right, top, bottom in luma samples
  unsigned sar_width = 0, sar_height = 0;
  unsigned video_format = 5, primaries = 2, transfer = 2, matrix = 2;
  bool full_range = false;
  unsigned time_scale = 0, units_in_tick = 0;
  bool restricted = false;  // bitstream_restriction_flag
  unsigned max_dec_frame_buffering = 0;

  unsigned height_mbs() const { return height_map_units * (frame_mbs_only ? 1u : 2u); }
};

struct H264Pps {
  unsigned sps = 0;
  bool cabac = false, pic_order_present = false;
  unsigned num_slice_groups = 1, num_ref_l0 = 1, num_ref_l1 = 1;
  bool weighted_pred = false;
  unsigned weighted_bipred = 0;
  int init_qp = 0, init_qs = 0, chroma_qp_offset = 0, second_chroma_qp_offset = 0;
  bool deblocking_control = false, constrained_intra = false, redundant_pic_cnt = false, transform_8x8 = false;
  bool has_lists = false;
  H264ScalingLists lists;
};

struct H264Slice {
  unsigned first_mb = 0, type = 0, pps = 0, frame_num = 0, idr_pic_id = 0, poc_lsb = 0;
  int delta_poc_bottom = 0, delta_poc[2] = {};
  bool field = false, bottom = false, idr = false;
  unsigned nal_ref_idc = 0, redundant_pic_cnt = 0;
};

struct H264ParameterSets {
  std::map<unsigned, H264Sps> sps;
  std::map<unsigned, H264Pps> pps;

  void read_sps(Bytes payload);
  void read_pps(Bytes payload);
  // False if the parameter sets that the slice names are unknown. `unit` starts with the NAL unit header.
  bool read_slice(Bytes unit, H264Slice& slice) const;
};

class H264Stream : public StartCodeStream {
 protected:
  bool opens_picture(Bytes unit) const override;
  bool read_unit(Bytes unit) override;
  bool is_slice(Bytes unit) const override;

 private:
  void describe(const H264Slice& slice);

  H264ParameterSets sets_;
  H264Slice first_;  // first slice of current_
};

// Where the i-th value of a scaling list stands in its matrix (8.5.6).
template <size_t N>
constexpr std::array<uint8_t, N> zigzag() {
  constexpr int side = N == 16 ? 4 : 8;
  std::array<uint8_t, N> positions{};
  int x = 0, y = 0;
  for (auto& position : positions) {
    position = static_cast<uint8_t>(y * side + x);
    int forward = (x + y) % 2 == 0 ? 1 : -1;  // up and to the right, or down and to the left
    if (forward > 0 ? x == side - 1 : y < side - 1 && x == 0) {
      ++y;
    } else if (forward > 0 ? y == 0 : y == side - 1) {
      ++x;
    } else {
      x += forward;
      y -= forward;
    }
  }
  return positions;
}
static_assert(zigzag<16>()[2] == 4 && zigzag<16>()[13] == 11 && zigzag<64>()[3] == 16 && zigzag<64>()[62] == 62);

CUVIDEOFORMATEX h264_format(const H264Sps& sps);
void fill_picture(const H264Sps& sps, const H264Pps& pps, const H264Slice& slice, CUVIDPICPARAMS& picture);

}  // namespace emu
