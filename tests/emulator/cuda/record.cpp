#include "record.h"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>

#include "settings.h"

namespace emu {
namespace {

struct Live {
  std::string kind;
  CUcontext context;
};

struct Record {
  std::mutex mutex;  // nothing else is locked while it is held
  std::map<std::string, int64_t> counters;
  std::vector<std::string> violations;
  std::map<const LiveObject*, Live> live;
  std::atomic<std::FILE*> trace = nullptr;
  std::string trace_path;
};

Record& record() {
  static Record& instance = *new Record;
  return instance;
}

void print_report() {
  const std::string path = report_path();
  std::FILE* file = path.empty() ? nullptr : std::fopen(path.c_str(), "a");
  if (!file) return;
  std::fprintf(file, "process %d\n", static_cast<int>(getpid()));
  for (const std::string& name : counter_names()) {
    std::fprintf(file, "%-40s %lld\n", name.c_str(), static_cast<long long>(counter(name)));
  }
  for (const std::string& message : violations()) std::fprintf(file, "violation: %s\n", message.c_str());
  std::fclose(file);
}

std::atomic<bool> ended = false;

struct AtEnd {
  pid_t owner = getpid();
  ~AtEnd() {
    if (getpid() != owner) return;
    report_leaks(nullptr, "the process ended");
    print_report();
    ended = true;
  }
};

bool is_gauge(const std::string& name) { return name.starts_with("live."); }

}  // namespace

void watch_for_the_end() { static const AtEnd at_end; }

bool has_ended() { return ended; }

bool set_trace_path(const std::string& path) {
  Record& r = record();
  const std::lock_guard lock(r.mutex);
  std::FILE* file = path.empty() ? nullptr : path == "-" ? stderr : std::fopen(path.c_str(), "a");
  if (!path.empty() && !file) return false;
  r.trace = file;  // the old one stays open: another thread may be writing to it
  return true;
}

bool is_tracing() { return record().trace != nullptr; }

void write_trace(const std::string& message) {
  Record& r = record();
  const std::lock_guard lock(r.mutex);
  if (std::FILE* file = r.trace) {
    std::fprintf(file, "%d %s\n", static_cast<int>(gettid()), message.c_str());
    std::fflush(file);
  }
}

void report_violation(const std::string& message) {
  trace("VIOLATION ", message);
  std::fprintf(stderr, "emulated CUDA driver: violation: %s\n", message.c_str());
  {
    Record& r = record();
    const std::lock_guard lock(r.mutex);
    r.violations.push_back(message);
    ++r.counters["violations"];
  }
  if (aborts_on_violation()) std::abort();
}

void report_leniency(const std::string& message) { report_violation(message + " (the real driver tolerates this)"); }

void count(const char* counter, int64_t n) {
  Record& r = record();
  const std::lock_guard lock(r.mutex);
  r.counters[counter] += n;
}

void count_live(const char* name, int64_t change) {
  Record& r = record();
  const std::lock_guard lock(r.mutex);
  const int64_t now = r.counters[std::string("live.") + name] += change;
  int64_t& peak = r.counters[std::string("peak.") + name];
  peak = std::max(peak, now);
}

int64_t counter(const std::string& name) {
  Record& r = record();
  const std::lock_guard lock(r.mutex);
  const auto found = r.counters.find(name);
  return found == r.counters.end() ? 0 : found->second;
}

std::vector<std::string> counter_names() {
  Record& r = record();
  const std::lock_guard lock(r.mutex);
  std::vector<std::string> names;
  for (const auto& [name, value] : r.counters) names.push_back(name);
  return names;
}

std::vector<std::string> violations() {
  Record& r = record();
  const std::lock_guard lock(r.mutex);
  return r.violations;
}

void reset_record() {
  Record& r = record();
  const std::lock_guard lock(r.mutex);
  r.violations.clear();
  std::erase_if(r.counters, [](const auto& entry) { return !is_gauge(entry.first); });
  for (auto [name, value] : std::map(r.counters)) r.counters["peak." + name.substr(5)] = value;
}

void report_leaks(CUcontext context, const char* occasion) {
  std::map<std::string, int> kinds;
  {
    Record& r = record();
    const std::lock_guard lock(r.mutex);
    for (const auto& [object, live] : r.live) {
      if (!context || live.context == context) ++kinds[live.kind];
    }
  }
  for (const auto& [kind, number] : kinds) leniency(occasion, " with ", number, " ", kind, " not destroyed");
}

LiveObject::LiveObject(const char* kind, CUcontext context) : kind_(kind) {
  Record& r = record();
  {
    const std::lock_guard lock(r.mutex);
    r.live[this] = {kind, context};
  }
  count_live(kind, 1);
}

LiveObject::~LiveObject() {
  Record& r = record();
  {
    const std::lock_guard lock(r.mutex);
    r.live.erase(this);
  }
  count_live(kind_, -1);
}

}  // namespace emu
