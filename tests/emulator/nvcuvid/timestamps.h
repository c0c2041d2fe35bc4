// Which timestamp a displayed picture gets: the packet's, a re-sorted one, or an interpolated one.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "abi.h"
#include "picture.h"

namespace emu {

class Timestamps {
 public:
  explicit Timestamps(unsigned clock_rate) : clock_rate_(clock_rate ? clock_rate : 10'000'000) {}

  // A packet that starts at `position` of the stream carries `value`.
  void packet_starts(uint64_t position, int64_t value);
  // The timestamp of the picture whose first slice starts at `position`; each belongs to one picture only.
  std::optional<int64_t> take(uint64_t position);
  void drop_queued() { queued_.clear(); }
  // Decides the timestamp of `picture`, the next one in display order. `waiting`: decoded pictures that come later.
  void display(Picture& picture, const std::vector<PicturePtr>& waiting, const CUVIDEOFORMAT& format);

 private:
  struct Queued {
    uint64_t position;
    int64_t value;
  };
  void resort(Picture& picture, const std::vector<PicturePtr>& waiting);

  unsigned clock_rate_;
  std::deque<Queued> queued_;
  int checks_left_ = 16;  // displayed pictures whose order is still compared with their timestamps
  bool sorting_ = false;  // timestamps were found to be in decode order
  std::optional<int64_t> expected_;
};

}  // namespace emu
