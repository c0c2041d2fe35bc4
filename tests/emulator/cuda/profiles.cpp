#include "profiles.h"

#include <array>

namespace emu {
namespace {

constexpr size_t gib = size_t{1} << 30, mib = size_t{1} << 20;

// Engines and compute capabilities as NVIDIA's tables have them. `tiny` is no GPU: it makes streams too large for it
// and memory run out.
constexpr std::array<DeviceProfile, 6> profiles = {{
    {"t4", "Tesla T4 (emulated)", 7, 5, 40, 15 * gib, 2},
    {"a10", "NVIDIA A10 (emulated)", 8, 6, 72, 22 * gib, 2},
    {"l4", "NVIDIA L4 (emulated)", 8, 9, 58, 22 * gib, 4},
    {"h100", "NVIDIA H100 80GB HBM3 (emulated)", 9, 0, 132, 79 * gib, 7},
    {"b200", "NVIDIA B200 (emulated)", 10, 0, 148, 178 * gib, 7},
    {"tiny", "Tiny (emulated)", 9, 0, 1, 64 * mib, 1},
}};

}  // namespace

const DeviceProfile* find_profile(std::string_view key) {
  for (const DeviceProfile& profile : profiles) {
    if (profile.key == key) return &profile;
  }
  return nullptr;
}

CUresult device_attribute(const DeviceProfile& profile, CUdevice device, CUdevice_attribute attribute, int* value) {
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      *value = profile.compute_major;
      break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      *value = profile.compute_minor;
      break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      *value = profile.multiprocessors;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
      *value = 1024;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
      *value = 64;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
      *value = 2147483647;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
      *value = 65535;
      break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
      *value = 32;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
      *value = 48 * 1024;
      break;
    case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT:
      *value = 512;
      break;
    case CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT:
      *value = 32;
      break;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
      *value = 1 + device;
      break;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
      *value = 2;
      break;
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
      *value = 1;
      break;
    default:
      // Everything else is a feature that is not there, or a size that nobody asked about yet.
      trace("  attribute ", static_cast<int>(attribute), " is 0");
      *value = 0;
  }
  return CUDA_SUCCESS;
}

}  // namespace emu
