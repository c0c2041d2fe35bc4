// What each emulated GPU's NVDEC decodes.
#pragma once

#include "abi.h"
#include "driver.h"

namespace emu {

// Fills the OUT fields; all zero for what the device cannot decode.
void fill_caps(const DeviceProfile& profile, CUVIDDECODECAPS& caps);

}  // namespace emu
