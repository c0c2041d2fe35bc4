// The last step of a row: colour, normalise, and put it where orientation, layout and padding want it.
#pragma once

#include <cstdint>

#include "kernels/plan.h"
#include "kernels/scratch.h"

namespace frametap {

class RowStore {
 public:
  RowStore(const ConvertPlan& plan, const RowKernels& kernels, Scratch& scratch, uint8_t* out)
      : plan_(plan), kernels_(kernels), scratch_(scratch), out_(out), tone_(plan.tone.view()) {}

  /// Writes row y (source orientation) of the window from scratch.component.
  void write_row(int y) const;
  /// Writes every canvas pixel outside the window.
  void fill_padding() const;

  /// Makes streamed rows visible to other threads; the last call of a conversion.
  void finish_stores() const;

 private:
  bool streams() const;
  uint8_t* address(int64_t element) const;
  void color(uint8_t* const* byte_rows) const;
  void finish(size_t channel, void* target) const;

  const ConvertPlan& plan_;
  const RowKernels& kernels_;
  Scratch& scratch_;
  uint8_t* out_;
  ToneMap tone_;
};

}  // namespace frametap
