// The questions about NVDEC that only hardware can answer, each a switch with its possible answers.
//
// Set like every switch of the emulator, FRAMETAP_EMU_SWITCHES="discontinuity=drain,index_policy=lowest" or at run
// time. docs/emulator.md explains them.
#pragma once

#include "abi.h"

namespace emu {

enum class Discontinuity { none, drain, nvp };
enum class CallbackFailure { propagate, skip };
enum class Rasl { drop, show };
enum class H264Start { any, idr };
enum class IndexPolicy { least_recently_freed, round_robin, lowest, most_recently_freed };

struct Switches {
  Discontinuity discontinuity = Discontinuity::nvp;
  CallbackFailure callback_failure = CallbackFailure::propagate;
  Rasl rasl = Rasl::drop;
  H264Start h264_start = H264Start::any;  // idr: what comes before the first IDR picture is dropped
  IndexPolicy index_policy = IndexPolicy::least_recently_freed;
  bool report_min_surfaces = true;   // false: min_num_decode_surfaces is 0
  unsigned h264_extra_surfaces = 3;  // min_num_decode_surfaces of H.264 beyond its decoded picture buffer
  bool timestamp_resorting = true;
  bool eos_forgets_headers = true;
  unsigned hevc_size_multiple = 16;  // what HEVC coded sizes are rounded up to
  unsigned vp9_size_multiple = 8;    // and those of VP9 and AV1
  unsigned pitch_alignment = 512;
  CUresult over_map_error = CUDA_ERROR_INVALID_VALUE;
  CUresult undecoded_map_error = CUDA_ERROR_INVALID_VALUE;  // 0: hands out whatever the surface holds
  bool unmap_needs_context = false;
  bool destroy_needs_context = false;
  bool odd_targets = true;                          // accepts odd target sizes
  int min_size = -1;                                // smallest coded width and height of every codec; -1: the profile's
  unsigned cleared_luma = 0, cleared_chroma = 128;  // 8-bit value outside target_rect
  int engines = -1;                                 // nNumNVDECs; -1: the profile's
  bool round_10_to_8 = false;                       // rounds when 10-bit pictures are read as NV12; else truncates
  bool bilinear_scaling = false;                    // nearest sample otherwise
  int damaged_picture = -1;  // the n-th picture decoded, from 0, reports `damaged_status` and loses its pixels
  int damaged_status = 8;
  int in_progress = 0;               // so often cuvidGetDecodeStatus says of a picture that it is not decoded yet
  unsigned decode_microseconds = 0;  // latency of cuvidDecodePicture
  unsigned create_milliseconds = 0;  // latency of cuvidCreateDecoder
};

// As they are set now. A value that a switch does not have ends the process with a message.
Switches switches();

}  // namespace emu
