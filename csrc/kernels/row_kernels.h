// The row loops behind the CPU converter: one table of functions per instruction set, all giving the same bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/color_matrix.h"

namespace frametap {

struct ToneMap;

enum class SampleType : int32_t { kUint8, kFloat16, kBfloat16, kFloat32 };

/// One output row of the vertical pass: `elements` columns, each the weighted sum of `count` source rows, to Q6.
struct VerticalRow {
  const uint8_t* first;  // source row of the first tap, at the first element
  ptrdiff_t pitch;
  const int16_t* weights;
  int32_t count;
  int32_t elements;
  int32_t shift;        // the value is element >> shift
  int32_t depth;        // 8: bytes; above: 16-bit words in memory order
  int16_t* out;         // `elements` values
  const uint8_t* next;  // rows that an output row to come reads first: fetched into the cache meanwhile
  int32_t next_rows;
};

/// Weights of the horizontal pass in the order the vector loops read them.
///
/// Outputs are taken `4 * lanes` at a time (a group). Taps are cut into chunks of 8, zero-padded; chunks[g] is how many
/// the longest row of group g has. Weights lie as [group][chunk][j < 4][lane][8] for output g * 4 * lanes + lane * 4 +
/// j.
struct HorizontalFilter {
  const int32_t* start;   // padded to whole groups with the last value
  const int32_t* chunks;  // one per group
  const int16_t* weights;
  int32_t groups;
};

/// The same filter for permutations: groups of 4 * lanes outputs; pair k of output i are the two samples at
/// base[g] + 2 * (index[g][i] + k), picked from `windows` (1 or 2) windows. Weights lie as [group][pair][output][2].
struct PermutedFilter {
  const int32_t* base;
  const int32_t* index;
  const int32_t* pairs;
  const int16_t* weights;
  int32_t groups;
  int32_t windows;
};

/// Rows that are the same `period` (2) weight rows over and over, one sample further each time: upsampling by 2.
struct PhaseFilter {
  int32_t start[2];  // first tap of phase p at pair 0
  int32_t count[2];
  const int16_t* weights[2];
  int32_t pairs;  // outputs / 2
};

struct RowKernels {
  const char* name;
  int32_t lanes;   // 128-bit lanes per vector: groups of HorizontalFilter hold 4 * lanes outputs
  int32_t window;  // samples one permutation can pick from; 0: horizontal_permuted must not be called

  void (*vertical)(const VerticalRow& row);
  /// out[i] = in[offset + i * step].
  void (*split)(const int16_t* in, int32_t step, int32_t count, int16_t* out);
  /// Reads up to 8 * chunks values from each start; writes 4 * lanes * groups outputs.
  void (*horizontal)(const HorizontalFilter& filter, const int16_t* in, int16_t* out);
  void (*horizontal_permuted)(const PermutedFilter& filter, const int16_t* in, int16_t* out);
  /// Writes 2 * pairs outputs.
  void (*upsample2)(const PhaseFilter& filter, const int16_t* in, int16_t* out);
  /// Exactly `count` bytes per channel. Components a matrix does not read may be null. `stream` asks for stores past
  /// the caches where alignment allows; the caller then ends with a fence.
  void (*color_u8)(const ColorMatrix& m, const int16_t* const* in, int32_t count, bool stream, uint8_t* const* out);
  /// The same as saturated Q19, for float outputs of deep sources.
  void (*color_mix)(const ColorMatrix& m, const int16_t* const* in, int32_t count, int32_t* const* out);
  /// HDR to SDR in place, on rows of color_mix: 3 channels in the order of the tables, or 1 of gray.
  void (*tone_map)(const ToneMap& t, int32_t channels, int32_t count, int32_t* const* rows);
  /// Q19 to bytes.
  void (*round_mix)(const int32_t* in, int32_t count, uint8_t* out);
  /// The three channels in turn: 3 * count bytes.
  void (*interleave_u8)(const uint8_t* const* in, int32_t count, uint8_t* out);
  /// fma(value, scale, bias), rounded to `type` (never kUint8).
  void (*normalize_u8)(const uint8_t* in, int32_t count, float scale, float bias, SampleType type, void* out);
  void (*normalize_mix)(const int32_t* in, int32_t count, float scale, float bias, SampleType type, void* out);
};

/// The fastest table this CPU can run, or the one FRAMETAP_CPU names (base, avx2, avx512).
/// Throws ArgumentError for an unknown name and UnsupportedError for one this CPU or build lacks.
const RowKernels& cpu_kernels();

/// Tables this CPU can run, slowest first; `count` receives how many.
const RowKernels* const* available_cpu_kernels(int* count);

}  // namespace frametap
