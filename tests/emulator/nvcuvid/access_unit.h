// What a bitstream parser hands to the video parser: one coded picture (a frame or a field) and what its headers say.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "abi.h"
#include "bits.h"

namespace emu {

struct AccessUnit {
  std::vector<uint8_t> data;    // for the software decoder: every NAL unit, or the frame
  std::vector<uint8_t> slices;  // for CUVIDPICPARAMS: slices with 3-byte start codes, or the frame
  std::vector<unsigned> slice_offsets;
  uint64_t position = 0;         // where in the stream the first slice starts
  CUVIDEOFORMATEX format{};      // of the active sequence header
  int width = 0, height = 0;     // coded size before rounding
  bool starts_sequence = false;  // decoding can start here: nothing before it is referred to
  bool intra = false;
  bool reference = true;
  bool undecodable = false;    // RASL picture whose CRA starts the sequence
  bool discard_prior = false;  // no_output_of_prior_pics_flag
  bool field = false, bottom_field = false;
  bool shows_existing = false;  // display without decode (VP9, AV1)
  bool shown = true;            // hidden frames of VP8, VP9 and AV1 are decoded only
  int shown_slot = -1;          // AV1: reference slot that a show_existing_frame shows
  uint32_t refreshes = 0;       // AV1: reference slots that this frame replaces
  CUVIDPICPARAMS picture{};     // codec-specific part, as far as this parser fills it
};

using UnitSink = std::function<void(AccessUnit&&)>;

// Cuts a stream into access units. Parameter sets that it has seen are forgotten with the object.
class Bitstream {
 public:
  virtual ~Bitstream() = default;
  // `end_of_picture`: the packet holds exactly one picture; whatever follows the first picture in it is dropped.
  virtual void write(Bytes packet, bool end_of_picture, const UnitSink& sink) = 0;
  // No more bytes belong to the current picture: pass it on, complete or not.
  virtual void finish(const UnitSink& sink) = 0;
  uint64_t position() const { return position_; }
  // Something that is no stream of this codec was met: parsing fails from then on.
  bool corrupt() const { return corrupt_; }
  // Slices ignored since the last call because no parameter set describes them.
  size_t take_dropped() { return std::exchange(dropped_, 0); }

 protected:
  size_t dropped_ = 0;
  bool corrupt_ = false;
  uint64_t position_ = 0;  // bytes written so far
};

// Null for a codec that this parser does not know. `annexb`: AV1 in length-delimited form.
std::unique_ptr<Bitstream> open_bitstream(cudaVideoCodec codec, bool annexb);

}  // namespace emu
