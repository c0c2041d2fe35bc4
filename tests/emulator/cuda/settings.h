// How this process's emulator is set: by the environment when it is loaded, by control.h at any time.
//
//   FRAMETAP_EMU_PROFILE=driver|strict      strict also reports what the real driver tolerates
//   FRAMETAP_EMU_DEVICES=h100,tiny          profiles of the devices; "none" for a machine without
//   FRAMETAP_EMU_SEED=7                     order of work on streams: 0 runs it at once, n > 0 late, in the n-th random
//   order FRAMETAP_EMU_FAULTS=cuMemAlloc:2@5,...  the fifth cuMemAlloc returns CUresult 2; "lost:700@40": so does
//   everything
//                                           from the fortieth call on, whatever it calls
//   FRAMETAP_EMU_BUDGET=67108864            bytes of device memory there are, where that is less than the profile's
//   FRAMETAP_EMU_SWITCHES=name=value,...    open questions about real hardware
//   FRAMETAP_EMU_TRACE=FILE                 every call, one a line; "-" is stderr
//   FRAMETAP_EMU_REPORT=FILE                counters and violations, appended when the process ends
//   FRAMETAP_EMU_ABORT=1                    the first violation ends the process, for a debugger to look at
#pragma once

#include <cuda.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace emu {

std::vector<std::string> split(std::string_view text, char separator);

// Profiles of the devices, in order.
std::vector<std::string> device_keys();
uint64_t seed();
size_t memory_budget();
std::string report_path();
bool aborts_on_violation();

// What this call of `entry` has to return, or CUDA_SUCCESS. Counts the call.
CUresult injected_fault(std::string_view entry);
// What the whole machine returns since "lost" struck, or CUDA_SUCCESS.
CUresult injected_loss();

// By the names above, in lower case: profile, devices, seed, faults, budget, switches, trace, report, abort; and
// "switch.NAME" for one switch. False when there is no such setting or the value is no good. `devices` counts only
// before cuInit.
bool change_setting(std::string_view name, std::string_view value);

}  // namespace emu
