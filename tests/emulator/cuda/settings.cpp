#include "settings.h"

#include <atomic>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <optional>

#include "driver.h"
#include "record.h"

namespace emu {
namespace {

struct Fault {
  std::string entry;
  CUresult result;
  uint64_t at;  // which call, from 1
  uint64_t calls = 0;
};

struct Settings {
  std::mutex mutex;
  std::atomic<bool> strict = false, abort = false;
  std::vector<std::string> devices = {"h100"};
  std::atomic<uint64_t> seed = 0;
  std::atomic<size_t> budget = std::numeric_limits<size_t>::max();
  std::vector<Fault> faults;
  std::atomic<CUresult> lost = CUDA_SUCCESS;
  std::map<std::string, std::string, std::less<>> switches;
  std::string report;
};

template <class Number>
std::optional<Number> parse(std::string_view digits) {
  Number number{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return number;
}

// "cuMemAlloc:2@5"
std::optional<Fault> parse_fault(const std::string& setting) {
  const size_t colon = setting.find(':'), at = setting.find('@');
  if (colon == std::string::npos || at == std::string::npos || at < colon) return std::nullopt;
  const auto result = parse<int>(setting.substr(colon + 1, at - colon - 1));
  const auto call = parse<uint64_t>(setting.substr(at + 1));
  if (!result || !call || *call == 0) return std::nullopt;
  return Fault{setting.substr(0, colon), static_cast<CUresult>(*result), *call};
}

bool set_faults(Settings& s, std::string_view value) {
  std::vector<Fault> faults;
  for (const std::string& one : split(value, ',')) {
    const auto fault = parse_fault(one);
    if (!fault) return false;
    faults.push_back(*fault);
  }
  const std::lock_guard lock(s.mutex);
  s.faults = std::move(faults);
  s.lost = CUDA_SUCCESS;
  return true;
}

bool set_switches(Settings& s, std::string_view value) {
  std::map<std::string, std::string, std::less<>> switches;
  for (const std::string& one : split(value, ',')) {
    const size_t equals = one.find('=');
    if (equals == std::string::npos) return false;
    switches[one.substr(0, equals)] = one.substr(equals + 1);
  }
  const std::lock_guard lock(s.mutex);
  s.switches = std::move(switches);
  return true;
}

bool change(Settings& s, std::string_view name, std::string_view value) {
  if (name == "profile") {
    s.strict = value == "strict";
    return value == "strict" || value == "driver";
  }
  if (name == "seed" || name == "budget") {
    const auto number = parse<uint64_t>(value);
    if (!number) return false;
    if (name == "seed") s.seed = *number;
    if (name == "budget") s.budget = *number;
    return true;
  }
  if (name == "faults") return set_faults(s, value);
  if (name == "switches") return set_switches(s, value);
  if (name == "trace") return set_trace_path(std::string(value));
  if (name == "abort") {
    s.abort = value == "1";
    return value == "0" || value == "1";
  }
  const std::lock_guard lock(s.mutex);
  if (name == "devices") {
    s.devices = value == "none" ? std::vector<std::string>{} : split(value, ',');
    return true;
  }
  if (name == "report") {
    s.report = value;
    return true;
  }
  if (name.starts_with("switch.")) {
    s.switches[std::string(name.substr(7))] = value;
    return true;
  }
  return false;
}

Settings& settings() {
  // Never destroyed: clients call the driver from their own destructors at exit.
  static Settings& instance = [&]() -> Settings& {
    auto& s = *new Settings;
    for (const char* name :
         {"profile", "devices", "seed", "faults", "budget", "switches", "trace", "report", "abort"}) {
      std::string variable = "FRAMETAP_EMU_";
      for (const char* c = name; *c; ++c) variable += static_cast<char>(std::toupper(*c));
      const char* value = std::getenv(variable.c_str());
      if (value && *value && !change(s, name, value)) {
        std::fprintf(stderr, "emulated CUDA driver: %s=%s makes no sense\n", variable.c_str(), value);
        std::abort();
      }
    }
    return s;
  }();
  return instance;
}

// When the library is loaded, so that the first call is traced too.
[[maybe_unused]] const Settings& loaded = settings();

}  // namespace

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::vector<std::string> device_keys() {
  Settings& s = settings();
  const std::lock_guard lock(s.mutex);
  return s.devices;
}

uint64_t seed() { return settings().seed; }
size_t memory_budget() { return settings().budget; }
bool is_strict() { return settings().strict; }
bool aborts_on_violation() { return settings().abort; }
CUresult injected_loss() { return settings().lost; }

std::string report_path() {
  Settings& s = settings();
  const std::lock_guard lock(s.mutex);
  return s.report;
}

CUresult injected_fault(std::string_view entry) {
  Settings& s = settings();
  const std::lock_guard lock(s.mutex);
  CUresult result = CUDA_SUCCESS;
  for (Fault& fault : s.faults) {
    if (fault.entry == "lost") {
      if (++fault.calls == fault.at) s.lost = fault.result;
    } else if (fault.entry == entry && ++fault.calls == fault.at) {
      result = fault.result;
    }
  }
  return result;
}

std::string switch_value(std::string_view name, std::string_view otherwise) {
  Settings& s = settings();
  const std::lock_guard lock(s.mutex);
  const auto found = s.switches.find(name);
  return std::string(found == s.switches.end() ? otherwise : found->second);
}

bool change_setting(std::string_view name, std::string_view value) { return change(settings(), name, value); }

}  // namespace emu
