// libnvidia-encode.so.1: there is no encoder here. PyNvVideoCodec asks for the version when it is imported.
#include <cstdint>

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT int NvEncodeAPIGetMaxSupportedVersion(uint32_t* version) {
  constexpr uint32_t major = 13, minor = 0;
  *version = major << 4 | minor;
  return 0;
}

EXPORT int NvEncodeAPICreateInstance(void*) {
  constexpr int no_encode_device = 1;  // NV_ENC_ERR_NO_ENCODE_DEVICE
  return no_encode_device;
}
