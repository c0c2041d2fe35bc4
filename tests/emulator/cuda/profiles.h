// The GPUs that can be emulated.
#pragma once

#include <string_view>

#include "driver.h"

namespace emu {

// Null for a key that is not in the table.
const DeviceProfile* find_profile(std::string_view key);
// As cuDeviceGetAttribute.
CUresult device_attribute(const DeviceProfile& profile, CUdevice device, CUdevice_attribute attribute, int* value);

}  // namespace emu
