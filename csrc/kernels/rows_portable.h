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
  for (int32_t p = 0; p < 2; ++p) {
    for (int32_t i = 0; i < filter.pairs; ++i) {
      int32_t sum = 0;
      for (int32_t k = 0; k < filter.count[p]; ++k) {
        sum += filter.weights[p][k] * in[filter.start[p] + i + k];
      }
      out[2 * i + p] = round_horizontal(sum);
    }
  }
}

inline int32_t mix_at(const ColorMatrix& m, int32_t channel, const int16_t* const* in, int32_t i) {
  const bool three = m.components == 3;
  return mix(m, channel, in[0][i], three ? in[1][i] : 0, three ? in[2][i] : 0);
}

void color_u8(const ColorMatrix& m, const int16_t* const* in, int32_t count, bool, uint8_t* const* out) {
  for (int32_t channel = 0; channel < m.outputs; ++channel) {
    for (int32_t i = 0; i < count; ++i) {
      out[channel][i] = mix_to_u8(mix_at(m, channel, in, i));
    }
  }
}

void color_mix(const ColorMatrix& m, const int16_t* const* in, int32_t count, int32_t* const* out) {
  for (int32_t channel = 0; channel < m.outputs; ++channel) {
    for (int32_t i = 0; i < count; ++i) {
      out[channel][i] = saturate_mix(mix_at(m, channel, in, i));
    }
  }
}

}  // namespace
}  // namespace frametap
