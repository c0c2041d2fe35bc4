// The few rows a conversion works in, and a pool of them so that threads share a converter without allocating per
// frame.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace frametap {

struct ScratchSizes {
  int elements = 0;  // longest row before the horizontal pass, slack included
  int columns = 0;   // row after it, slack included
};

/// Rows of one running conversion. Zero-filled once: kernels read slack, multiplied by zero.
class Scratch {
 public:
  explicit Scratch(const ScratchSizes& sizes);

  int16_t* plane_row(size_t plane) { return rows_[plane]; }
  int16_t* split_row(size_t component) { return rows_[3 + component]; }
  int16_t* component_row(size_t component) { return rows_[6 + component]; }
  uint8_t* byte_row(size_t channel) { return bytes_[channel]; }
  int32_t* mix_row(size_t channel) { return mixes_[channel]; }
  void* staging_row() { return staging_; }

  std::array<const int16_t*, 3> component{};  // the resampled row of each component: a component_row or an earlier row

 private:
  std::vector<std::byte> memory_;
  std::array<int16_t*, 9> rows_{};
  std::array<uint8_t*, 3> bytes_{};
  std::array<int32_t*, 3> mixes_{};
  void* staging_ = nullptr;
};

/// Thread-safe. Holds at most one Scratch per conversion that ever ran at the same time.
class ScratchPool {
 public:
  class Loan {
   public:
    Loan(ScratchPool& pool, std::unique_ptr<Scratch> scratch) : pool_(pool), scratch_(std::move(scratch)) {}
    ~Loan() { pool_.give_back(std::move(scratch_)); }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    Scratch& scratch() const { return *scratch_; }

   private:
    ScratchPool& pool_;
    std::unique_ptr<Scratch> scratch_;
  };

  /// An idle one, or a new one; give it to a Loan.
  std::unique_ptr<Scratch> take(const ScratchSizes& sizes);

 private:
  void give_back(std::unique_ptr<Scratch> scratch) noexcept;

  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> idle_;
};

}  // namespace frametap
