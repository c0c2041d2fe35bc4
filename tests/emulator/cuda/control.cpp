#include "control.h"

#include <algorithm>
#include <cstring>

#include "context.h"
#include "memory.h"
#include "record.h"
#include "settings.h"

using namespace emu;

int emu_set(const char* name, const char* value) { return change_setting(name, value) ? 0 : -1; }

int64_t emu_counter(const char* name) { return counter(name); }

size_t emu_list(const char* what, char* buffer, size_t size) {
  std::string lines;
  for (const std::string& line : std::string_view(what) == "violations" ? violations() : counter_names()) {
    lines += line + '\n';
  }
  if (size > 0) {
    const size_t copied = std::min(lines.size(), size - 1);
    std::memcpy(buffer, lines.data(), copied);
    buffer[copied] = 0;
  }
  return lines.size() + 1;
}

void emu_reset() {
  change_setting("faults", "");
  recover_devices();
  reset_record();
}

void emu_check_memory() { check_canaries("a check"); }
