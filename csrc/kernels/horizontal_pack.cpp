#include "kernels/horizontal_pack.h"

#include <algorithm>

namespace frametap {
namespace {

constexpr int kChunk = 8;  // taps in a 128-bit lane

int16_t weight_at(const Filter& filter, int output, int tap) {
  const auto o = static_cast<size_t>(output);
  return tap >= 0 && tap < filter.count[o]
             ? filter.weights[o * static_cast<size_t>(filter.taps) + static_cast<size_t>(tap)]
             : int16_t{0};
}

int start_of(const Filter& filter, int output) { return filter.start[static_cast<size_t>(output)]; }
int count_of(const Filter& filter, int output) { return filter.count[static_cast<size_t>(output)]; }

}  // namespace

ChunkedRows::ChunkedRows(const Filter& filter, int begin, int end, const RowKernels& kernels) : output_(begin) {
  const int lanes = kernels.lanes, group = 4 * lanes;
  for (int g = begin; g < end; g += group) {
    const auto output_at = [&](int i) { return std::min(g + i, end - 1); };  // the last group repeats the last output
    int taps = 0, furthest = 0;
    for (int i = 0; i < group; ++i) {
      start_.push_back(start_of(filter, output_at(i)));
      taps = std::max(taps, count_of(filter, output_at(i)));
      furthest = std::max(furthest, start_.back());
    }
    const int chunks = (taps + kChunk - 1) / kChunk;
    chunks_.push_back(chunks);
    for (int i = 0; i < chunks * group * kChunk; ++i) {
      const int tap = i / (group * kChunk) * kChunk + i % kChunk;
      const int j = i / (lanes * kChunk) % 4, lane = i / kChunk % lanes;
      weights_.push_back(weight_at(filter, output_at(lane * 4 + j), tap));
    }
    extent_ = std::max(extent_, furthest + chunks * kChunk);
    cost_ += 4.0 * chunks * (lanes + 2) + 20.0;
  }
}

void ChunkedRows::run(const RowKernels& kernels, const int16_t* in, int16_t* out) const {
  if (!chunks_.empty()) {
    kernels.horizontal({start_.data(), chunks_.data(), weights_.data(), static_cast<int32_t>(chunks_.size())}, in,
                       out + output_);
  }
}

PermutedRows::PermutedRows(const Filter& filter, int begin, int end, const RowKernels& kernels) : output_(begin) {
  if (kernels.window == 0) {
    return;
  }
  for (int g = begin; g < end; g += 4 * kernels.lanes) {
    pack_group(filter, g, end, 4 * kernels.lanes);
  }
  const int reach = 2 * (index_.empty() ? 0 : *std::max_element(index_.begin(), index_.end())) + 2;
  const int windows = (reach + kernels.window - 1) / kernels.window;
  if (windows > 2) {
    return;
  }
  windows_ = windows;
  for (size_t g = 0; g < pairs_.size(); ++g) {
    extent_ = std::max(extent_, base_[g] + 2 * (pairs_[g] - 1) + windows * kernels.window);
    cost_ += pairs_[g] * (windows == 1 ? 4.5 : 7.5) + 6.0;
  }
}

void PermutedRows::pack_group(const Filter& filter, int begin, int end, int group) {
  const auto output_at = [&](int i) { return std::min(begin + i, end - 1); };
  // Not always that of the first output: zero weights are trimmed, so starts may step back by one.
  const int base = *std::min_element(filter.start.begin() + begin, filter.start.begin() + std::min(begin + group, end));
  std::vector<int>
      first;  // tap that the first pair of each output begins with: -1 where its start is odd from the base
  int pairs = 0;
  for (int i = 0; i < group; ++i) {
    const int distance = start_of(filter, output_at(i)) - base;
    first.push_back(-(distance & 1));
    index_.push_back(distance / 2);
    pairs = std::max(pairs, (count_of(filter, output_at(i)) - first.back() + 1) / 2);
  }
  for (int pair = 0; pair < pairs; ++pair) {
    for (int i = 0; i < group; ++i) {
      const int tap = first[static_cast<size_t>(i)] + 2 * pair;
      weights_.push_back(weight_at(filter, output_at(i), tap));
      weights_.push_back(weight_at(filter, output_at(i), tap + 1));
    }
  }
  base_.push_back(base);
  pairs_.push_back(pairs);
}

void PermutedRows::run(const RowKernels& kernels, const int16_t* in, int16_t* out) const {
  kernels.horizontal_permuted(
      {base_.data(), index_.data(), pairs_.data(), weights_.data(), static_cast<int32_t>(pairs_.size()), windows_}, in,
      out + output_);
}

}  // namespace frametap
