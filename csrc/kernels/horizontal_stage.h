// A horizontal filter in the form the row kernels read: cut into segments, each laid out in the way that is fastest for
// it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/filter.h"
#include "kernels/horizontal_pack.h"
#include "kernels/row_kernels.h"

namespace frametap {

/// How far past its last output a row kernel may write, in elements.
constexpr int kRowSlack = 128;

class HorizontalStage {
 public:
  HorizontalStage() = default;
  HorizontalStage(const Filter& filter, const RowKernels& kernels);

  /// The row itself, when nothing has to be resampled; else `out`, filled. Both need the slack.
  const int16_t* run(const RowKernels& kernels, const int16_t* in, int16_t* out) const;

  /// Elements of `in` that run() may touch, slack not included.
  int input_extent() const { return input_extent_; }

 private:
  struct Phases {
    int output = 0, pairs = 0;
    int32_t start[2]{}, count[2]{};
    std::vector<int16_t> weights[2];
  };

  static Phases find_phases(const Filter& filter);

  bool identity_ = false;
  int input_extent_ = 0;
  PermutedRows permuted_;       // the whole row, where that is fastest
  ChunkedRows chunked_, tail_;  // tail_ only where phases_ leaves outputs over
  Phases phases_;
};

}  // namespace frametap
