#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "kernels/row_kernels.h"

namespace frametap {

namespace base {
extern const RowKernels kTable;
}
#if defined(FRAMETAP_X86)
namespace avx2 {
extern const RowKernels kTable;
}
namespace avx512 {
extern const RowKernels kTable;
}
#endif

namespace {

struct Available {
  const RowKernels* tables[3] = {&base::kTable, nullptr, nullptr};
  int count = 1;

  Available() {
#if defined(FRAMETAP_X86)
    __builtin_cpu_init();
    // Every CPU with AVX2 has F16C, too; clang 14 does not know its name.
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      tables[count++] = &avx2::kTable;
      if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni")) {
        tables[count++] = &avx512::kTable;
      }
    }
#endif
  }
};

const Available& available() {
  static const Available tables;
  return tables;
}

}  // namespace

const RowKernels* const* available_cpu_kernels(int* count) {
  *count = available().count;
  return available().tables;
}

const RowKernels& cpu_kernels() {
  const Available& all = available();
  // Read at every call: tests change it between two converters of one process.
  const char* forced = std::getenv("FRAMETAP_CPU");
  if (forced == nullptr || *forced == '\0') {
    return *all.tables[all.count - 1];
  }
  const std::string_view name = forced;
  for (int i = 0; i < all.count; ++i) {
    if (name == all.tables[i]->name) {
      return *all.tables[i];
    }
  }
  check<ArgumentError>(name == "base" || name == "avx2" || name == "avx512", "FRAMETAP_CPU=", name,
                       " is not one of base, avx2, avx512");
  fail<UnsupportedError>("FRAMETAP_CPU=", name, ": this CPU cannot run that instruction set; use FRAMETAP_CPU=base");
}

}  // namespace frametap
