#include "timestamps.h"

#include "switches.h"

namespace emu {
namespace {

constexpr size_t max_queued = 16;
constexpr uint64_t start_code_tolerance = 3;

}  // namespace

void Timestamps::packet_starts(uint64_t position, int64_t value) {
  queued_.push_back({position, value});
  if (queued_.size() > max_queued) queued_.pop_front();
}

std::optional<int64_t> Timestamps::take(uint64_t position) {
  std::optional<int64_t> value;
  while (!queued_.empty() && queued_.front().position <= position + start_code_tolerance) {
    value = queued_.front().value;
    queued_.pop_front();
  }
  return value;
}

// Timestamps must rise in display order. Where they do not, decoding timestamps were sent: from then on the smallest
// one pending goes to the picture displayed next.
void Timestamps::resort(Picture& picture, const std::vector<PicturePtr>& waiting) {
  if (!picture.has_timestamp || (!sorting_ && checks_left_ == 0)) return;
  Picture* earliest = &picture;
  for (const PicturePtr& other : waiting)
    if (other->has_timestamp && other->timestamp < earliest->timestamp) earliest = other.get();
  if (earliest != &picture) {
    if (checks_left_) sorting_ = true;
    std::swap(earliest->timestamp, picture.timestamp);
  }
  if (checks_left_) --checks_left_;
}

void Timestamps::display(Picture& picture, const std::vector<PicturePtr>& waiting, const CUVIDEOFORMAT& format) {
  if (switches().timestamp_resorting) resort(picture, waiting);
  if (!picture.has_timestamp) picture.timestamp = expected_.value_or(0);
  auto rate = format.frame_rate;
  if (!rate.numerator || !rate.denominator) rate = {30, 1};
  int fields = 2 + std::max(picture.repeat_first_field, 0);
  auto duration =
      static_cast<int64_t>(clock_rate_) * rate.denominator * fields / (2 * static_cast<int64_t>(rate.numerator));
  expected_ = picture.timestamp + duration;
}

}  // namespace emu
