// Two ways to lay a horizontal filter out for vectors; which is faster depends on how far apart the outputs read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "kernels/filter.h"
#include "kernels/row_kernels.h"

namespace frametap {

/// Memory that starts on a cache line: a vector that straddles two of them is loaded twice.
template <class Value>
struct LineAllocator {
  using value_type = Value;
  static constexpr std::align_val_t kLine{64};

  LineAllocator() = default;
  template <class Other>
  explicit LineAllocator(const LineAllocator<Other>&) {}
  Value* allocate(size_t count) { return static_cast<Value*>(::operator new(count * sizeof(Value), kLine)); }
  void deallocate(Value* p, size_t) { ::operator delete(p, kLine); }
  bool operator==(const LineAllocator&) const = default;
};

template <class Value>
using LineVector = std::vector<Value, LineAllocator<Value>>;

/// 8 taps of one output per 128-bit lane, summed across at the end: suits long filters (strong downscaling).
class ChunkedRows {
 public:
  ChunkedRows() = default;
  ChunkedRows(const Filter& filter, int begin, int end, const RowKernels& kernels);

  void run(const RowKernels& kernels, const int16_t* in, int16_t* out) const;
  int extent() const { return extent_; }  // elements of the input it may read
  double cost() const { return cost_; }   // instructions, roughly

 private:
  int output_ = 0, extent_ = 0;
  double cost_ = 0;
  std::vector<int32_t> start_, chunks_;
  LineVector<int16_t> weights_;
};

/// One output per 32-bit element, two taps at a time picked from a window by a permutation: no sum across, so it suits
/// short filters; not possible when a group of outputs reads further apart than the window.
class PermutedRows {
 public:
  PermutedRows() = default;
  PermutedRows(const Filter& filter, int begin, int end, const RowKernels& kernels);

  void run(const RowKernels& kernels, const int16_t* in, int16_t* out) const;
  int extent() const { return extent_; }
  double cost() const { return cost_; }
  bool possible() const { return windows_ > 0; }

 private:
  void pack_group(const Filter& filter, int begin, int end, int group);

  int output_ = 0, extent_ = 0;
  int32_t windows_ = 0;
  double cost_ = 0;
  std::vector<int32_t> base_, pairs_;
  LineVector<int32_t> index_;
  LineVector<int16_t> weights_;
};

}  // namespace frametap
