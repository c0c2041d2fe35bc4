// HEVC headers (ITU-T H.265, 7.3): parameter sets, the first part of slice headers, and access units.
#pragma once

#include <map>

#include "start_codes.h"

namespace emu {

struct HevcSps {
  unsigned chroma_format = 1, width = 0, height = 0;
  unsigned window[4] = {};                    // conformance window: left, right, top, bottom in luma samples
  unsigned depth_luma = 0, depth_chroma = 0;  // minus 8
  unsigned log2_poc_lsb = 4, max_dec_pic_buffering = 1, max_sub_layers = 1;
  unsigned sar_width = 0, sar_height = 0;
  unsigned video_format = 5, primaries = 2, transfer = 2, matrix = 2;
  bool full_range = false;
  unsigned time_scale = 0, units_in_tick = 0;
};

struct HevcPps {
  unsigned sps = 0;
  bool dependent_slices = false;
  unsigned extra_slice_header_bits = 0;
};

class HevcStream : public StartCodeStream {
 protected:
  bool opens_picture(Bytes unit) const override;
  bool read_unit(Bytes unit) override;
  bool is_slice(Bytes unit) const override;
  void complete(AccessUnit& unit) override;

 private:
  bool read_slice(Bytes unit);
  void describe(const HevcSps& sps, unsigned type);

  std::map<unsigned, HevcSps> sps_;
  std::map<unsigned, HevcPps> pps_;
  bool at_start_ = true;     // the next IRAP picture starts the sequence: first one, or after end of sequence
  bool skips_rasl_ = false;  // the last IRAP picture was such a CRA or a BLA
};

// Null payload fields stay at their inferred values; false if the payload ends early.
bool read_hevc_sps(Bytes payload, unsigned& id, HevcSps& sps);

}  // namespace emu
