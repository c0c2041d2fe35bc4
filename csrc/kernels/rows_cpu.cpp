// The row loops as one table, built once per instruction set; FRAMETAP_ISA names the namespace.
//
// Only plain structs and anonymous-namespace code is included here: see pixel.h.
#include "kernels/row_kernels.h"
#include "kernels/rows_interleave.h"
#include "kernels/rows_normalize.h"
#include "kernels/rows_tone.h"
#include "kernels/vec.h"

#if defined(FRAMETAP_VECTOR)
#include "kernels/rows_color.h"
#include "kernels/rows_vector.h"
#else
#include "kernels/rows_portable.h"
#endif

#define FRAMETAP_STRING_(x) #x
#define FRAMETAP_STRING(x) FRAMETAP_STRING_(x)

namespace frametap {
namespace {

template <int32_t kStep>
void split_by(const int16_t* in, int32_t count, int16_t* out) {
  for (int32_t i = 0; i < count; ++i) {
    out[i] = in[i * kStep];
  }
}

void split(const int16_t* in, int32_t step, int32_t count, int16_t* out) {
  switch (step) {  // known steps become shuffles
    case 2:
      return split_by<2>(in, count, out);
    case 3:
      return split_by<3>(in, count, out);
    default:
      return split_by<4>(in, count, out);
  }
}

}  // namespace

namespace FRAMETAP_ISA {
extern const RowKernels kTable;
const RowKernels kTable = {.name = FRAMETAP_STRING(FRAMETAP_ISA),
                           .lanes = kLanes,
                           .window = kWindow,
                           .vertical = vertical,
                           .split = split,
                           .horizontal = horizontal,
                           .horizontal_permuted = horizontal_permuted,
                           .upsample2 = upsample2,
                           .color_u8 = color_u8,
                           .color_mix = color_mix,
                           .tone_map = tone_map_rows,
                           .round_mix = round_mix,
                           .interleave_u8 = interleave_u8,
                           .normalize_u8 = normalize_u8,
                           .normalize_mix = normalize_mix};
}  // namespace FRAMETAP_ISA

}  // namespace frametap
