// Decoder configuration records of ISO media files: avcC (ISO/IEC 14496-15 5.3.3.1) and hvcC (8.3.3.1).
#pragma once

#include <vector>

#include "bitstream/bit_reader.h"

namespace frametap {

/// How a stream's NAL units are packed, and the parameter sets that come with the container.
struct NalConfiguration {
  int length_size = 0;       // bytes of the length before each NAL unit of a packet; 0 means start codes
  std::vector<Bytes> units;  // parameter sets, inside the extradata they were read from
};

/// Reads extradata that is an avcC record, Annex B, or empty. A damaged record gives the units before the damage.
NalConfiguration read_h264_configuration(Bytes extradata);
/// The same for hvcC.
NalConfiguration read_hevc_configuration(Bytes extradata);

}  // namespace frametap
