// A horizontal filter in the form the row kernels read: cut into segments, weights packed for the vector width.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/filter.h"
#include "kernels/row_kernels.h"

namespace frametap {

/// How far past its last output a row kernel may write, and past the last tap it may read, in elements.
constexpr int kRowSlack = 128;

class HorizontalStage {
 public:
  HorizontalStage() = default;
  HorizontalStage(const Filter& filter, int lanes);

  /// The row itself, when nothing has to be resampled; else `out`, filled. Both need the slack.
  const int16_t* run(const RowKernels& kernels, const int16_t* in, int16_t* out) const;

  /// Elements of `in` that run() may touch.
  int input_extent() const { return input_extent_; }

 private:
  struct Packed {
    int output = 0;
    std::vector<int32_t> start, chunks;
    std::vector<int16_t> weights;
  };
  struct Phases {
    int output = 0, pairs = 0;
    int32_t start[2]{}, count[2]{};
    std::vector<int16_t> weights[2];
  };

  void pack(const Filter& filter, int begin, int end, int lanes, Packed& packed);
  static Phases find_phases(const Filter& filter);

  bool identity_ = false;
  int input_extent_ = 0;
  Packed left_, right_;  // right_ only where phases_ leaves outputs over
  Phases phases_;
};

}  // namespace frametap
