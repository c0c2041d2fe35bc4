#include <vector>

#include "hevc.h"

namespace emu {
namespace {

void skip_profile_tier_level(BitReader& in, unsigned sub_layers) {
  in.skip(88 + 8);  // general profile, tier, flags, level
  std::vector<std::pair<bool, bool>> present(sub_layers);
  for (auto& [profile, level] : present) profile = in.flag(), level = in.flag();
  if (sub_layers) in.skip(2 * (8 - sub_layers));
  for (auto& [profile, level] : present) in.skip((profile ? 88 : 0) + (level ? 8 : 0));
}

void skip_scaling_lists(BitReader& in) {
  for (unsigned size = 0; size < 4; ++size)
    for (unsigned matrix = 0; matrix < 6; matrix += size == 3 ? 3 : 1) {
      if (!in.flag()) {
        in.ue();
        continue;
      }
      if (size > 1) in.se();
      for (unsigned i = 0; i < (size ? 64u : 16u); ++i) in.se();
    }
}

// Returns NumDeltaPocs of set `index`; `counts` has those of the sets before it.
unsigned skip_reference_set(BitReader& in, unsigned index, const std::vector<unsigned>& counts) {
  if (index && in.flag()) {
    in.bit();
    in.ue();
    unsigned count = 0;
    for (unsigned i = 0; i <= counts.back(); ++i) {
      bool used = in.flag();
      if (used || in.flag()) ++count;
    }
    return count;
  }
  unsigned negative = in.ue(), positive = in.ue();
  if (negative > 16 || positive > 16) return 0;
  for (unsigned i = 0; i < negative + positive; ++i) in.ue(), in.bit();
  return negative + positive;
}

void read_vui(BitReader& in, HevcSps& sps) {
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
  in.u(3);                          // neutral chroma, field_seq, frame_field_info
  if (in.flag())                    // default display window
    for (int i = 0; i < 4; ++i) in.ue();
  if (in.flag()) sps.units_in_tick = in.u(32), sps.time_scale = in.u(32);
}

void read_sizes(BitReader& in, HevcSps& sps) {
  sps.chroma_format = in.ue();
  if (sps.chroma_format == 3) in.bit();
  sps.width = in.ue();
  sps.height = in.ue();
  if (in.flag()) {
    unsigned x = sps.chroma_format == 1 || sps.chroma_format == 2 ? 2 : 1, y = sps.chroma_format == 1 ? 2 : 1;
    for (unsigned i = 0; i < 4; ++i) sps.window[i] = in.ue() * (i < 2 ? x : y);
  }
  sps.depth_luma = in.ue();
  sps.depth_chroma = in.ue();
}

}  // namespace

bool read_hevc_sps(Bytes payload, unsigned& id, HevcSps& sps) {
  BitReader in(payload);
  in.u(4);
  sps.max_sub_layers = in.u(3) + 1;
  in.bit();
  skip_profile_tier_level(in, sps.max_sub_layers - 1);
  id = in.ue();
  read_sizes(in, sps);
  sps.log2_poc_lsb = in.ue() + 4;
  bool each_layer = in.flag();
  for (unsigned i = each_layer ? 0 : sps.max_sub_layers - 1; i < sps.max_sub_layers; ++i) {
    sps.max_dec_pic_buffering = in.ue() + 1;
    in.ue(), in.ue();
  }
  for (int i = 0; i < 6; ++i) in.ue();  // block sizes and depths
  if (in.flag() && in.flag()) skip_scaling_lists(in);
  in.u(2);                                             // amp, sao
  if (in.flag()) in.u(8), in.ue(), in.ue(), in.bit();  // pcm
  std::vector<unsigned> counts;
  unsigned sets = in.ue();
  for (unsigned i = 0; i < sets && i < 64 && !in.overrun(); ++i) counts.push_back(skip_reference_set(in, i, counts));
  if (in.flag())
    for (unsigned count = in.ue(); count && !in.overrun(); --count) in.u(static_cast<int>(sps.log2_poc_lsb)), in.bit();
  in.u(2);  // temporal mvp, strong intra smoothing
  bool vui = in.flag();
  if (in.overrun() || id > 15) return false;
  if (vui) read_vui(in, sps);
  return true;
}

}  // namespace emu
