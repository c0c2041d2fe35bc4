#include "kernels/scratch.h"

#include <algorithm>

namespace frametap {
namespace {

constexpr size_t kLine = 64;  // rows start on a cache line, and one line apart so that equal sizes do not share a set

size_t padded(size_t bytes) { return (bytes + kLine - 1) / kLine * kLine + kLine; }

}  // namespace

Scratch::Scratch(const ScratchSizes& sizes) {
  const auto elements = static_cast<size_t>(sizes.elements), columns = static_cast<size_t>(sizes.columns);
  const size_t row = padded(std::max(elements, columns) * sizeof(int16_t));
  const size_t bytes = padded(columns), words = padded(columns * sizeof(int32_t));
  memory_.resize(kLine + rows_.size() * row + bytes_.size() * bytes + (mixes_.size() + 1) * words);
  auto* next = memory_.data();
  next += (kLine - reinterpret_cast<uintptr_t>(next) % kLine) % kLine;
  for (int16_t*& r : rows_) {
    r = reinterpret_cast<int16_t*>(std::exchange(next, next + row));
  }
  for (uint8_t*& b : bytes_) {
    b = reinterpret_cast<uint8_t*>(std::exchange(next, next + bytes));
  }
  for (int32_t*& m : mixes_) {
    m = reinterpret_cast<int32_t*>(std::exchange(next, next + words));
  }
  staging_ = next;
}

std::unique_ptr<Scratch> ScratchPool::take(const ScratchSizes& sizes) {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<Scratch> scratch = std::move(idle_.back());
      idle_.pop_back();
      return scratch;
    }
  }
  return std::make_unique<Scratch>(sizes);
}

void ScratchPool::give_back(std::unique_ptr<Scratch> scratch) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(scratch));
  } catch (...) {
    // Out of memory for the list itself: the rows are simply freed.
  }
}

}  // namespace frametap
