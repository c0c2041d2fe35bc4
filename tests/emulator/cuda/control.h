// What tests call in the loaded libcuda.so.1, through ctypes: tests/emulator_control.py wraps it.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

// A setting by the name and in the words of settings.h: 0 if it was accepted.
__attribute__((visibility("default"))) int emu_set(const char* name, const char* value);
__attribute__((visibility("default"))) int64_t emu_counter(const char* name);
// The lines of a list, "counters" or "violations", as bytes with a final zero: how many there are, with `size` 0 or
// more.
__attribute__((visibility("default"))) size_t emu_list(const char* what, char* buffer, size_t size);
// Forgets violations, counters and faults, and finds lost devices again. What is alive stays alive, and counted.
__attribute__((visibility("default"))) void emu_reset();
// Looks for overwritten canaries around every live allocation now.
__attribute__((visibility("default"))) void emu_check_memory();
}
