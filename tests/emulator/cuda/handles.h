// Handles that clients hold: numbers that are no addresses, say what kind they are and are never given out twice, so
// that use after destroy, and a stream where an event belongs, are told apart from a good handle.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "driver.h"

namespace emu {

// Handle is the driver's type, e.g. CUstream; `noun` is for messages: "stream".
template <class Handle, class Object>
class Handles {
 public:
  Handles(const char* noun, uint64_t kind) : noun_(noun), next_((kind << 40) + 0x10) {}

  Handle add(std::shared_ptr<Object> object) {
    const std::lock_guard lock(mutex_);
    const auto handle = reinterpret_cast<Handle>(next_);
    next_ += 0x10;
    live_[handle] = std::move(object);
    return handle;
  }

  // Null for what is no live handle.
  std::shared_ptr<Object> find(Handle handle) {
    const std::lock_guard lock(mutex_);
    const auto found = live_.find(handle);
    return found == live_.end() ? nullptr : found->second;
  }

  // The same, and a violation by `entry` if there is none.
  std::shared_ptr<Object> get(Handle handle, const char* entry) {
    std::shared_ptr<Object> object = find(handle);
    if (!object) violation(entry, ": ", describe(handle));
    return object;
  }

  std::shared_ptr<Object> remove(Handle handle) {
    const std::lock_guard lock(mutex_);
    const auto node = live_.extract(handle);
    return node.empty() ? nullptr : node.mapped();
  }

  std::vector<std::pair<Handle, std::shared_ptr<Object>>> all() {
    const std::lock_guard lock(mutex_);
    return {live_.begin(), live_.end()};
  }

 private:
  std::string describe(Handle handle) {
    const std::lock_guard lock(mutex_);
    const auto number = reinterpret_cast<uint64_t>(handle);
    const bool was_ours = number >> 40 == next_ >> 40 && number < next_ && number % 0x10 == 0;
    return text(static_cast<const void*>(handle), was_ours ? " is a destroyed " : " is no ", noun_);
  }

  const char* noun_;
  std::mutex mutex_;
  uint64_t next_;
  std::map<Handle, std::shared_ptr<Object>> live_;
};

}  // namespace emu
