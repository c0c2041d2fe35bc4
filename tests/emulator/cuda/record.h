// What the emulator remembers about its client: counters, violations, objects that are alive. The rest is in driver.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "driver.h"

namespace emu {

// From the first call on: when the process ends, before what the client registered with atexit earlier, leaks and
// counters are written, and the driver is gone.
void watch_for_the_end();
bool has_ended();

bool set_trace_path(const std::string& path);

int64_t counter(const std::string& name);
std::vector<std::string> counter_names();
std::vector<std::string> violations();
// Forgets violations and sets all counters to 0, except those of what is alive now.
void reset_record();

// Reports, as leniency, the objects that their client did not destroy before the context went: those of `context`, of
// every context if that is null.
void report_leaks(CUcontext context, const char* occasion);

}  // namespace emu
