// Packets in the form that decoders without a container take them: NAL units behind start codes, AV1 as plain OBUs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bitstream/bit_reader.h"

namespace frametap {

/// Immutable once made. Takes FFmpeg's codec name and extradata.
class ElementaryStream {
 public:
  ElementaryStream(const std::string& codec, Bytes extradata);

  /// One packet of the container; the first one that a decoder gets must carry the parameter sets too. The result lies
  /// in the packet itself or in `storage`. A damaged packet is passed on up to the damage.
  Bytes packet(Bytes packet, bool first, std::vector<std::uint8_t>& storage) const;

 private:
  bool starts_with_temporal_delimiter(Bytes packet) const;

  int length_size_ = 0;
  bool is_av1_ = false;
  std::vector<std::uint8_t> headers_;
};

}  // namespace frametap
