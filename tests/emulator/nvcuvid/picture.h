// A decoded picture: its samples and the life of the surface that holds it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

extern "C" {
#include <libavutil/pixfmt.h>
}

namespace emu {

struct Picture {
  AVPixelFormat format = AV_PIX_FMT_NONE;
  int width = 0, height = 0;
  std::array<uint8_t*, 4> planes{};  // into memory
  std::array<int, 4> pitches{};
  std::unique_ptr<uint8_t[]> memory;

  // The software decoder still refers to it: it is a reference picture or waits for output.
  std::atomic<bool> in_dpb{false};

  // When it was last displayed or let go by libavcodec, on a clock of such events: the older, the safer to reuse.
  std::atomic<uint64_t> released{0};
  void release() {
    static std::atomic<uint64_t> clock{0};
    released = ++clock;
  }

  // The parser's bookkeeping.
  int index = -1;       // CurrPicIdx
  bool queued = false;  // waits for its display callback
  bool displayed = false;
  bool skipped = false;  // the client did not want it: never displayed
  bool reference = true;
  bool intra = false;
  bool interlaced = false, top_field_first = true;
  int repeat_first_field = 0;
  int64_t timestamp = 0;
  bool has_timestamp = false;
  uint64_t number = 0;  // in decode order, per process

  // The decoder's bookkeeping.
  std::shared_ptr<Picture> previous_reference;  // in decode order; null where decoding can start
  std::atomic<uint64_t> decoded_by{0};          // number of the decoder; 0: none yet
  std::atomic<bool> tainted{false};             // decoded without its references
  std::atomic<int> error_status{0};             // cuvidDecodeStatus of a damaged bitstream; 0: none
};

using PicturePtr = std::shared_ptr<Picture>;

}  // namespace emu
