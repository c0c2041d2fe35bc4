// The row loops over vec.h. Every sum is the integer sum of pixel.h, two taps per multiply.
#pragma once

#include "kernels/pixel.h"
#include "kernels/row_kernels.h"
#include "kernels/vec.h"

namespace frametap {
namespace {

// Two int16 in the two halves of every 32 bits.
inline Vec all_pairs(int32_t low, int32_t high) {
  return all32(static_cast<int32_t>((static_cast<uint32_t>(high) << 16) | (static_cast<uint32_t>(low) & 0xffffu)));
}

// ---- vertical
// -----------------------------------------------------------------------------------------------------------

// How the elements of a row become int16 values: bytes are widened in the loop, words here.
struct Bytes {
  using Element = uint8_t;
  static constexpr int32_t kSums = 4;  // int32 vectors one loaded vector turns into
  explicit Bytes(const VerticalRow&) {}
  void accumulate(Vec a, Vec b, Vec w, Vec* sum) const {
    const Vec low = unpack_low8(a, b), high = unpack_high8(a, b);
    sum[0] = multiply_add16(sum[0], unpack_low8(low, zero()), w);
    sum[1] = multiply_add16(sum[1], unpack_high8(low, zero()), w);
    sum[2] = multiply_add16(sum[2], unpack_low8(high, zero()), w);
    sum[3] = multiply_add16(sum[3], unpack_high8(high, zero()), w);
  }
  int32_t initial() const { return 1 << 7; }
  void write(const Vec* sum, int16_t* out) const {
    store_pairs(out, pack16(shift_right32(sum[0], 8), shift_right32(sum[1], 8)),
                pack16(shift_right32(sum[2], 8), shift_right32(sum[3], 8)));
  }
};

struct Words {
  using Element = uint16_t;
  static constexpr int32_t kSums = 2;
  explicit Words(const VerticalRow& row)
      : shift(row.shift), depth(row.depth), sign(all16(static_cast<int16_t>(row.depth == 16 ? -32768 : 0))) {}
  // 16-bit values are made signed by taking 32768 off; weights sum to 1 << 14, so initial() gives it back exactly.
  Vec value(Vec v) const { return xor_bits(shift_right_unsigned16(v, shift), sign); }
  void accumulate(Vec a, Vec b, Vec w, Vec* sum) const {
    const Vec x = value(a), y = value(b);
    sum[0] = multiply_add16(sum[0], unpack_low16(x, y), w);
    sum[1] = multiply_add16(sum[1], unpack_high16(x, y), w);
  }
  int32_t initial() const { return (1 << (depth - 1)) + (depth == 16 ? 32768 << kWeightBits : 0); }
  void write(const Vec* sum, int16_t* out) const {
    store(out, pack16(shift_right32(sum[0], depth), shift_right32(sum[1], depth)));
  }
  int32_t shift, depth;
  Vec sign;
};

// Source rows are short and many, too short for hardware prefetchers to catch on by themselves: ask for the next ones
// by hand, a part with every block of the current row. Rows of a page and more are followed side by side; shorter ones,
// of which several share a page, are asked for one after the other, in the order of memory, or hardware loses track.
class NextRows {
 public:
  NextRows(const VerticalRow& row, ptrdiff_t row_bytes)
      : first_(row.next),
        pitch_(row.pitch),
        row_bytes_(row_bytes),
        rows_(row.next_rows),
        line_(row.next),
        row_end_(row.next + row_bytes),
        rows_left_(row.next_rows) {}

  // For `bytes` of the current row, from byte `at` of it.
  void fetch(ptrdiff_t at, int32_t bytes) {
    if (rows_ == 1 || pitch_ >= kPage) {
      side_by_side(at, bytes);
    } else {
      one_after_the_other(rows_ * ((bytes + kLine - 1) / kLine));
    }
  }

 private:
  static constexpr int32_t kLine = 64, kPage = 4096;

  static void prefetch(const uint8_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }

  void side_by_side(ptrdiff_t at, int32_t bytes) const {
    const uint8_t* p = first_ + at;
    for (int32_t r = 0; r < rows_; ++r, p += pitch_) {
      for (int32_t b = 0; b < bytes; b += kLine) {
        prefetch(p + b);
      }
    }
  }

  void one_after_the_other(int32_t lines) {
    for (; lines > 0 && rows_left_ > 0; --lines) {
      prefetch(line_);
      line_ += kLine;
      if (line_ >= row_end_) {
        line_ = row_end_ - row_bytes_ + pitch_;
        row_end_ += pitch_;
        --rows_left_;
      }
    }
  }

  const uint8_t* first_;
  ptrdiff_t pitch_, row_bytes_;
  int32_t rows_;
  const uint8_t *line_, *row_end_;  // where one_after_the_other has come to
  int32_t rows_left_;
};

// kVectors vectors of columns starting at byte `at`, all taps, in registers.
template <class Samples, int32_t kVectors>
void vertical_block(const VerticalRow& row, const Samples& samples, ptrdiff_t at, int16_t* out) {
  Vec sum[kVectors][Samples::kSums];
  for (auto& vectors : sum) {
    for (Vec& s : vectors) {
      s = all32(samples.initial());
    }
  }
  const uint8_t* p = row.first + at;
  for (int32_t k = 0; k < row.count; k += 2, p += 2 * row.pitch) {
    const bool pair = k + 1 < row.count;
    const Vec w = all_pairs(row.weights[k], pair ? row.weights[k + 1] : 0);
    const uint8_t* q = pair ? p + row.pitch : p;
    for (int32_t v = 0; v < kVectors; ++v) {
      samples.accumulate(load(p + v * kVecBytes), load(q + v * kVecBytes), w, sum[v]);
    }
  }
  constexpr int32_t kElements = kVecBytes / static_cast<int32_t>(sizeof(typename Samples::Element));
  for (int32_t v = 0; v < kVectors; ++v) {
    samples.write(sum[v], out + v * kElements);
  }
}

// Rows shorter than a vector: copied, because nothing may be read past the last element.
template <class Samples>
void vertical_short(const VerticalRow& row, const Samples& samples) {
  alignas(64) uint8_t line[2][kVecBytes] = {};
  const auto bytes = static_cast<uint64_t>(row.elements) * sizeof(typename Samples::Element);
  Vec sum[Samples::kSums];
  for (Vec& s : sum) {
    s = all32(samples.initial());
  }
  for (int32_t k = 0; k < row.count; k += 2) {
    const bool pair = k + 1 < row.count;
    __builtin_memcpy(line[0], row.first + k * row.pitch, bytes);
    __builtin_memcpy(line[1], row.first + (pair ? k + 1 : k) * row.pitch, bytes);
    samples.accumulate(load(line[0]), load(line[1]), all_pairs(row.weights[k], pair ? row.weights[k + 1] : 0), sum);
  }
  alignas(64) int16_t result[kVecBytes];
  samples.write(sum, result);
  __builtin_memcpy(row.out, result, static_cast<uint64_t>(row.elements) * sizeof(int16_t));
}

template <class Samples>
void vertical_samples(const VerticalRow& row) {
  using Element = typename Samples::Element;
  constexpr int32_t kElements = kVecBytes / static_cast<int32_t>(sizeof(Element));
  const Samples samples(row);
  if (row.elements < kElements) {
    return vertical_short(row, samples);
  }
  const auto byte_of = [](int32_t element) {
    return static_cast<ptrdiff_t>(element) * static_cast<ptrdiff_t>(sizeof(Element));
  };
  NextRows next(row, byte_of(row.elements));
  int32_t i = 0;
  for (; i + 2 * kElements <= row.elements; i += 2 * kElements) {
    next.fetch(byte_of(i), 2 * kVecBytes);
    vertical_block<Samples, 2>(row, samples, byte_of(i), row.out + i);
  }
  for (; i < row.elements; i += kElements) {
    const int32_t at = i + kElements <= row.elements ? i : row.elements - kElements;  // the last one overlaps
    next.fetch(byte_of(at), kVecBytes);
    vertical_block<Samples, 1>(row, samples, byte_of(at), row.out + at);
  }
}

// A single tap of weight 1: the values themselves, in Q6.
void copy_bytes(const VerticalRow& row) {
  const auto widen = [&](int32_t i) {
    const Vec v = load(row.first + i);
    store_pairs(row.out + i, shift_left16(unpack_low8(v, zero()), kSampleBits),
                shift_left16(unpack_high8(v, zero()), kSampleBits));
  };
  NextRows next(row, row.elements);
  int32_t i = 0;
  for (; i + kVecBytes <= row.elements; i += kVecBytes) {
    next.fetch(i, kVecBytes);
    widen(i);
  }
  if (i < row.elements) {
    widen(row.elements - kVecBytes);
  }
}

void vertical(const VerticalRow& row) {
  if (row.depth > 8) {
    vertical_samples<Words>(row);
  } else if (row.count == 1 && row.elements >= kVecBytes) {
    copy_bytes(row);
  } else {
    vertical_samples<Bytes>(row);
  }
}

// ---- horizontal
// ---------------------------------------------------------------------------------------------------------

inline Vec round_words(Vec sum) { return shift_right32(add32(sum, all32(1 << (kWeightBits - 1))), kWeightBits); }

// In each lane, the sums of a, b, c and d side by side.
inline Vec reduce4(Vec a, Vec b, Vec c, Vec d) {
  const Vec ab = add32(unpack_low32(a, b), unpack_high32(a, b));
  const Vec cd = add32(unpack_low32(c, d), unpack_high32(c, d));
  return add32(unpack_low64(ab, cd), unpack_high64(ab, cd));
}

void horizontal(const HorizontalFilter& filter, const int16_t* in, int16_t* out) {
  constexpr int32_t kGroup = 4 * kLanes, kWords = kVecBytes / 2;
  const int16_t* weights = filter.weights;
  for (int32_t g = 0; g < filter.groups; ++g) {
    const int32_t* start = filter.start + g * kGroup;
    Vec a = zero(), b = a, c = a, d = a;
    for (int32_t chunk = 0; chunk < filter.chunks[g]; ++chunk, weights += 4 * kWords) {
      const int16_t* source = in + chunk * 8;
      a = multiply_add16(a, load_lanes(source, start), load(weights));
      b = multiply_add16(b, load_lanes(source, start + 1), load(weights + kWords));
      c = multiply_add16(c, load_lanes(source, start + 2), load(weights + 2 * kWords));
      d = multiply_add16(d, load_lanes(source, start + 3), load(weights + 3 * kWords));
    }
    store_words(out + g * kGroup, round_words(reduce4(a, b, c, d)));
  }
}

template <int32_t kWindows>
void permuted_rows(const PermutedFilter& filter, const int16_t* in, int16_t* out) {
  constexpr int32_t kGroup = 4 * kLanes, kWords = kVecBytes / 2;
  const int16_t* weights = filter.weights;
  for (int32_t g = 0; g < filter.groups; ++g) {
    const Picker<kWindows> picker(filter.index + g * kGroup);
    const int16_t* source = in + filter.base[g];
    Vec even = zero(), odd = even;  // two sums, so that multiplies need not wait for each other
    int32_t pair = 0;
    for (; pair + 1 < filter.pairs[g]; pair += 2, source += 4, weights += 2 * kWords) {
      even = multiply_add16(even, picker.pick(source), load(weights));
      odd = multiply_add16(odd, picker.pick(source + 2), load(weights + kWords));
    }
    if (pair < filter.pairs[g]) {
      even = multiply_add16(even, picker.pick(source), load(weights));
      weights += kWords;
    }
    store_words(out + g * kGroup, round_words(add32(even, odd)));
  }
}

void horizontal_permuted(const PermutedFilter& filter, const int16_t* in, int16_t* out) {
  if (filter.windows == 1) {
    permuted_rows<1>(filter, in, out);
  } else {
    permuted_rows<2>(filter, in, out);
  }
}

inline Vec phase_at(const PhaseFilter& filter, int32_t phase, const int16_t* in) {
  const int16_t* source = in + filter.start[phase];
  const int16_t* weights = filter.weights[phase];
  if (filter.count[phase] == 1) {
    return load(source);
  }
  Vec low = zero(), high = low;
  for (int32_t k = 0; k < filter.count[phase]; k += 2) {
    const Vec a = load(source + k), b = load(source + k + 1), w = all_pairs(weights[k], weights[k + 1]);
    low = multiply_add16(low, unpack_low16(a, b), w);
    high = multiply_add16(high, unpack_high16(a, b), w);
  }
  return pack16(round_words(low), round_words(high));
}

void upsample2(const PhaseFilter& filter, const int16_t* in, int16_t* out) {
  constexpr int32_t kWords = kVecBytes / 2;
  for (int32_t i = 0; i < filter.pairs; i += kWords) {
    const Vec even = phase_at(filter, 0, in + i), odd = phase_at(filter, 1, in + i);
    store_pairs(out + 2 * i, unpack_low16(even, odd), unpack_high16(even, odd));
  }
}

}  // namespace
}  // namespace frametap
