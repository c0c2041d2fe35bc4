// The DLPack ABI, version 1.1 (https://dmlc.github.io/dlpack/latest/): its few structs, as every producer declares
// them.
#pragma once

#include <cstdint>

namespace frametap::dlpack {

struct Version {
  uint32_t major, minor;
};

struct Device {
  int32_t device_type, device_id;
};

struct DataType {
  uint8_t code, bits;
  uint16_t lanes;
};

constexpr uint8_t kUint = 1, kFloat = 2, kBfloat = 4;

struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements
  uint64_t byte_offset;
};

struct ManagedTensor {
  Tensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(ManagedTensor*);
};

constexpr uint64_t kFlagReadOnly = 1;

struct ManagedTensorVersioned {
  Version version;
  void* manager_ctx;
  void (*deleter)(ManagedTensorVersioned*);
  uint64_t flags;
  Tensor dl_tensor;
};

static_assert(sizeof(Tensor) == 48 && sizeof(ManagedTensor) == 64 && sizeof(ManagedTensorVersioned) == 80);

}  // namespace frametap::dlpack
