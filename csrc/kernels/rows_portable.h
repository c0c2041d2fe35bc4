// The row loops in plain C++, for machines without the vectors of vec.h; written so that compilers vectorise them.
#pragma once

#include "kernels/pixel.h"
#include "kernels/row_kernels.h"

namespace frametap {
namespace {

constexpr int32_t kLanes = 1, kWindow = 0;

template <class Element>
void vertical_elements(const VerticalRow& row) {
  constexpr int32_t kBlock = 64;
  for (int32_t begin = 0; begin < row.elements; begin += kBlock) {
    const int32_t count = row.elements - begin < kBlock ? row.elements - begin : kBlock;
    int32_t sum[kBlock] = {};
    for (int32_t k = 0; k < row.count; ++k) {
      Element line[kBlock];  // a copy, because rows may start at odd addresses
      __builtin_memcpy(line, row.first + k * row.pitch + begin * static_cast<ptrdiff_t>(sizeof(Element)),
                       static_cast<uint64_t>(count) * sizeof(Element));
      for (int32_t i = 0; i < count; ++i) {
        sum[i] += row.weights[k] * sample_value(line[i], row.shift, row.depth);
      }
    }
    for (int32_t i = 0; i < count; ++i) {
      row.out[begin + i] = round_vertical(sum[i], row.depth);
    }
  }
}

void vertical(const VerticalRow& row) {
  row.depth == 8 ? vertical_elements<uint8_t>(row) : vertical_elements<uint16_t>(row);
}

void horizontal(const HorizontalFilter& filter, const int16_t* in, int16_t* out) {
  constexpr int32_t kGroup = 4;
  const int16_t* weights = filter.weights;
  for (int32_t g = 0; g < filter.groups; ++g) {
    int32_t sum[kGroup] = {};
    for (int32_t c = 0; c < filter.chunks[g]; ++c) {
      for (int32_t j = 0; j < kGroup; ++j, weights += 8) {
        const int16_t* source = in + filter.start[g * kGroup + j] + c * 8;
        for (int32_t k = 0; k < 8; ++k) {
          sum[j] += weights[k] * source[k];
        }
      }
    }
    for (int32_t j = 0; j < kGroup; ++j) {
      out[g * kGroup + j] = round_horizontal(sum[j]);
    }
  }
}

void horizontal_permuted(const PermutedFilter&, const int16_t*, int16_t*) {}

void upsample2(const PhaseFilter& filter, const int16_t* in, int16_t* out) {
  constexpr int32_t kBlock = 64;
  for (int32_t p = 0; p < 2; ++p) {
    const int16_t* source = in + filter.start[p];
    for (int32_t begin = 0; begin < filter.pairs; begin += kBlock) {
      const int32_t count = filter.pairs - begin < kBlock ? filter.pairs - begin : kBlock;
      int32_t sum[kBlock] = {};
      for (int32_t k = 0; k < filter.count[p]; ++k) {
        for (int32_t i = 0; i < count; ++i) {
          sum[i] += filter.weights[p][k] * source[begin + i + k];
        }
      }
      for (int32_t i = 0; i < count; ++i) {
        out[2 * (begin + i) + p] = round_horizontal(sum[i]);
      }
    }
  }
}

// Restrict and locals: out may hold bytes, and a byte may alias anything, which would stop the compiler from
// vectorising.
template <class Value, class Finish>
void color_row(const ColorMatrix& matrix, int32_t channel, const int16_t* const* in, int32_t count,
               Value* __restrict out, Finish finish) {
  const ColorMatrix m = matrix;
  const int16_t *a = in[0], *b = in[0], *c = in[0];
  if (m.components == 3) {
    b = in[1];
    c = in[2];
  }
  for (int32_t i = 0; i < count; ++i) {  // a matrix of one component has weight 0 for the others
    out[i] = finish(mix(m, channel, a[i], b[i], c[i]));
  }
}

void color_u8(const ColorMatrix& m, const int16_t* const* in, int32_t count, bool, uint8_t* const* out) {
  for (int32_t channel = 0; channel < m.outputs; ++channel) {
    color_row(m, channel, in, count, out[channel], [](int32_t mixed) { return mix_to_u8(mixed); });
  }
}

void color_mix(const ColorMatrix& m, const int16_t* const* in, int32_t count, int32_t* const* out) {
  for (int32_t channel = 0; channel < m.outputs; ++channel) {
    color_row(m, channel, in, count, out[channel], [](int32_t mixed) { return saturate_mix(mixed); });
  }
}

}  // namespace
}  // namespace frametap
