#include "kernels/horizontal_stage.h"

#include <algorithm>

namespace frametap {
namespace {

constexpr int kChunk = 8;       // taps in a 128-bit lane
constexpr int kPhaseWorth = 32; // shorter runs are not worth a segment of their own

const int16_t* weights_of(const Filter& filter, int output) {
  return filter.weights.data() + static_cast<ptrdiff_t>(output) * filter.taps;
}

/// Output o + 2 uses the weights of output o, one sample further on.
bool repeats(const Filter& filter, int o) {
  const auto a = static_cast<size_t>(o), b = a + 2;
  return filter.start[b] == filter.start[a] + 1 && filter.count[b] == filter.count[a] &&
         std::equal(weights_of(filter, o), weights_of(filter, o) + filter.taps, weights_of(filter, o + 2));
}

}  // namespace

HorizontalStage::Phases HorizontalStage::find_phases(const Filter& filter) {
  Phases best;
  for (int o = 0; o + 2 < filter.outputs();) {
    int end = o;
    while (end + 2 < filter.outputs() && repeats(filter, end)) {
      ++end;
    }
    const int pairs = (end - o + 2) / 2;
    if (end > o && pairs > best.pairs) {
      best.output = o;
      best.pairs = pairs;
    }
    o = end + 1;
  }
  if (best.pairs < kPhaseWorth) {
    return {};
  }
  for (int p = 0; p < 2; ++p) {
    const auto row = static_cast<size_t>(best.output + p);
    best.start[p] = filter.start[row];
    best.count[p] = filter.count[row];
    const int16_t* weights = weights_of(filter, best.output + p);
    best.weights[p].assign(weights, weights + filter.count[row]);
    best.weights[p].push_back(0);  // taps are multiplied in pairs
  }
  return best;
}

void HorizontalStage::pack(const Filter& filter, int begin, int end, int lanes, Packed& packed) {
  packed.output = begin;
  const int group = 4 * lanes;
  for (int g = begin; g < end; g += group) {
    const auto output_at = [&](int i) { return std::min(g + i, end - 1); };
    int taps = 0;
    for (int i = 0; i < group; ++i) {
      packed.start.push_back(filter.start[static_cast<size_t>(output_at(i))]);
      taps = std::max(taps, filter.count[static_cast<size_t>(output_at(i))]);
    }
    const int chunks = (taps + kChunk - 1) / kChunk;
    packed.chunks.push_back(chunks);
    for (int i = 0; i < chunks * group * kChunk; ++i) {
      const int tap = i / (group * kChunk) * kChunk + i % kChunk;
      const int j = i / (lanes * kChunk) % 4, lane = i / kChunk % lanes;
      const int output = output_at(lane * 4 + j);
      packed.weights.push_back(tap < filter.count[static_cast<size_t>(output)] ? weights_of(filter, output)[tap]
                                                                              : int16_t{0});
    }
    const int furthest = *std::max_element(packed.start.end() - group, packed.start.end());
    input_extent_ = std::max(input_extent_, furthest + chunks * kChunk);
  }
}

HorizontalStage::HorizontalStage(const Filter& filter, int lanes)
    : identity_(filter.is_identity()), input_extent_(filter.end_sample()) {
  if (identity_) {
    return;
  }
  phases_ = find_phases(filter);
  if (phases_.pairs == 0) {
    pack(filter, 0, filter.outputs(), lanes, left_);
    return;
  }
  pack(filter, 0, phases_.output, lanes, left_);
  pack(filter, phases_.output + 2 * phases_.pairs, filter.outputs(), lanes, right_);
}

const int16_t* HorizontalStage::run(const RowKernels& kernels, const int16_t* in, int16_t* out) const {
  if (identity_) {
    return in;
  }
  // In order of output: each segment overwrites what the one before wrote past its end.
  const auto run_packed = [&](const Packed& packed) {
    if (!packed.start.empty()) {
      const HorizontalFilter filter{packed.start.data(), packed.chunks.data(), packed.weights.data(),
                                    static_cast<int32_t>(packed.chunks.size())};
      kernels.horizontal(filter, in, out + packed.output);
    }
  };
  run_packed(left_);
  if (phases_.pairs > 0) {
    const PhaseFilter filter{{phases_.start[0], phases_.start[1]},
                             {phases_.count[0], phases_.count[1]},
                             {phases_.weights[0].data(), phases_.weights[1].data()},
                             phases_.pairs};
    kernels.upsample2(filter, in, out + phases_.output);
  }
  run_packed(right_);
  return out;
}

}  // namespace frametap
