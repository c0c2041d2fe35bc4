// The matrix as kernels of every backend read it. Kept apart from color.h because those files may include <cstdint>
// only.
#pragma once

#include <cstdint>

namespace frametap {

constexpr int kMatrixBits = 13;  // the largest coefficient, 2.14 (BT.2020 limited), still fits int16

/// Output channel i = (sum_j weight[i][j] * component[j] + bias[i]) in Q19 of 8 bits; components are Q6 of 8 bits.
/// Plain data: kernels of every backend read it.
struct ColorMatrix {
  int16_t weight[3][3];
  int32_t bias[3];
  int32_t outputs;     // 1 (gray) or 3 (R, G, B)
  int32_t components;  // how many source components are read: 1 or 3
};

}  // namespace frametap
