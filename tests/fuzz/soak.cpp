// Feeds the fuzz target random inputs, where there is no libFuzzer or Valgrind watches: kernels_fuzz [inputs].
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  const long inputs = argc > 1 ? std::atol(argv[1]) : 1000;
  std::mt19937 random(1);
  for (long n = 0; n < inputs; ++n) {
    uint8_t bytes[160];
    for (uint8_t& byte : bytes) {
      byte = static_cast<uint8_t>(random());
    }
    LLVMFuzzerTestOneInput(bytes, sizeof bytes);
  }
  std::printf("%ld conversions, all the same on every instruction set and on the twin\n", inputs);
}
