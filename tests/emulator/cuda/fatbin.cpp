#include "fatbin.h"

#include <cstdint>
#include <cstring>

#include "kernels/cuda_fatbin.h"

namespace emu {
namespace {

struct FatbinHeader {
  uint32_t magic;
  uint16_t version, header_bytes;
  uint64_t bytes;  // of the entries after it
};

struct FatbinEntry {
  uint16_t kind;  // 1: PTX, 2: machine code
  uint16_t version;
  uint32_t header_bytes;
  uint64_t bytes;
  uint32_t stored_bytes, reserved[2];
  uint32_t architecture;  // 90 for compute capability 9.0
};

template <class Header>
Header read(const unsigned char* from) {
  Header header;
  std::memcpy(&header, from, sizeof header);
  return header;
}

// Machine code runs on its own major version from its minor version on; PTX on every GPU from its version on.
bool runs_on(const FatbinEntry& entry, unsigned gpu) {
  if (entry.architecture > gpu) return false;
  return entry.kind == 1 || entry.architecture / 10 == gpu / 10;
}

}  // namespace

Image identify(const void* image, int major, int minor) {
  const auto ours = frametap::cuda_fatbin();
  // Headers first, so that a shorter image is not read past its end.
  if (ours.empty() || std::memcmp(image, ours.data(), sizeof(FatbinHeader)) != 0) return Image::other;
  if (std::memcmp(image, ours.data(), ours.size()) != 0) return Image::other;
  const unsigned char* const end = ours.data() + ours.size();
  for (const unsigned char* at = ours.data() + read<FatbinHeader>(ours.data()).header_bytes; at < end;) {
    const auto entry = read<FatbinEntry>(at);
    if (runs_on(entry, static_cast<unsigned>(10 * major + minor))) return Image::ours;
    at += entry.header_bytes + entry.bytes;
  }
  return Image::ours_for_other_gpus;
}

}  // namespace emu
