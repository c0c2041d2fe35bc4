#include "kernels/horizontal_stage.h"

#include <algorithm>
#include <utility>

namespace frametap {
namespace {

constexpr int kPhaseWorth = 32;  // shorter runs are not worth a segment of their own

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

HorizontalStage::HorizontalStage(const Filter& filter, const RowKernels& kernels)
    : identity_(filter.is_identity()), input_extent_(filter.end_sample()) {
  if (identity_) {
    return;
  }
  phases_ = find_phases(filter);
  if (phases_.pairs > 0) {
    chunked_ = ChunkedRows(filter, 0, phases_.output, kernels);
    tail_ = ChunkedRows(filter, phases_.output + 2 * phases_.pairs, filter.outputs(), kernels);
  } else {
    chunked_ = ChunkedRows(filter, 0, filter.outputs(), kernels);
    PermutedRows permuted(filter, 0, filter.outputs(), kernels);
    if (permuted.possible() && permuted.cost() < chunked_.cost()) {
      permuted_ = std::move(permuted);
    }
  }
  input_extent_ = std::max({input_extent_, permuted_.extent(), chunked_.extent(), tail_.extent()});
}

const int16_t* HorizontalStage::run(const RowKernels& kernels, const int16_t* in, int16_t* out) const {
  if (identity_) {
    return in;
  }
  if (permuted_.possible()) {
    permuted_.run(kernels, in, out);
    return out;
  }
  // In order of output: each segment overwrites what the one before wrote past its end.
  chunked_.run(kernels, in, out);
  if (phases_.pairs > 0) {
    const PhaseFilter filter{{phases_.start[0], phases_.start[1]},
                             {phases_.count[0], phases_.count[1]},
                             {phases_.weights[0].data(), phases_.weights[1].data()},
                             phases_.pairs};
    kernels.upsample2(filter, in, out + phases_.output);
  }
  tail_.run(kernels, in, out);
  return out;
}

}  // namespace frametap
