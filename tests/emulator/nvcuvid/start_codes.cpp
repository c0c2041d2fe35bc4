#include "start_codes.h"

#include <algorithm>

namespace emu {
namespace {

constexpr size_t start_code = 3;
// A slice header is looked at before its unit is complete once this many bytes of it are here.
constexpr size_t look_ahead = 256;

}  // namespace

void StartCodeStream::write(Bytes packet, bool end_of_picture, const UnitSink& sink) {
  position_ += packet.size();
  started_ = 0;
  only_one_ = end_of_picture;
  pending_.insert(pending_.end(), packet.begin(), packet.end());
  scan(end_of_picture, sink);
  if (end_of_picture) emit(sink);
  only_one_ = false;
}

void StartCodeStream::finish(const UnitSink& sink) {
  scan(true, sink);
  emit(sink);
}

// Takes every unit that ends in pending_; with `whole`, what is left over is a unit too.
void StartCodeStream::scan(bool whole, const UnitSink& sink) {
  for (;;) {
    static constexpr uint8_t code[] = {0, 0, 1};
    auto from = pending_.begin() + static_cast<ptrdiff_t>(in_unit_ ? std::max(scanned_, start_code) : scanned_);
    auto next = std::search(from, pending_.end(), std::begin(code), std::end(code));
    bool found = next != pending_.end();
    size_t end = static_cast<size_t>(next - pending_.begin());
    if (!found && !whole) {
      scanned_ = std::max(pending_.size(), size_t{2}) - 2;  // a start code may be cut in two
      break;
    }
    uint64_t position = position_ - pending_.size();
    if (in_unit_) take_unit(Bytes(pending_).subspan(start_code, end - start_code), position, sink);
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(end));
    in_unit_ = found;
    scanned_ = 0;
    looked_ahead_ = false;
    if (!found) return;
  }
  Bytes tail = Bytes(pending_).subspan(std::min(pending_.size(), start_code));
  bool readable = tail.size() >= look_ahead || (tail.size() >= 2 && !is_slice(tail));
  if (in_unit_ && readable && !looked_ahead_ && !current_.slices.empty() && opens_picture(tail)) emit(sink);
  looked_ahead_ = in_unit_ && readable;
}

void StartCodeStream::take_unit(Bytes unit, uint64_t position, const UnitSink& sink) {
  if (unit.size() < 2) return;
  if (!current_.slices.empty() && opens_picture(unit)) emit(sink);
  if (only_one_ && started_ && current_.slices.empty()) return;
  bool first_slice = is_slice(unit) && current_.slices.empty();
  if (!read_unit(unit)) return;
  current_.data.insert(current_.data.end(), {0, 0, 0, 1});
  current_.data.insert(current_.data.end(), unit.begin(), unit.end());
  if (!is_slice(unit)) return;
  if (first_slice) {
    current_.position = position;
    ++started_;
  }
  current_.slice_offsets.push_back(static_cast<unsigned>(current_.slices.size()));
  current_.slices.insert(current_.slices.end(), {0, 0, 1});
  current_.slices.insert(current_.slices.end(), unit.begin(), unit.end());
}

void StartCodeStream::emit(const UnitSink& sink) {
  if (current_.slices.empty()) return;
  AccessUnit unit = std::move(current_);
  current_ = {};
  complete(unit);
  sink(std::move(unit));
}

}  // namespace emu
