// Page-locked host memory: what copies may read and write after the call that enqueued them.
#pragma once

#include <cstddef>
#include <optional>

namespace emu {

struct HostRange {
  const std::byte* first;
  size_t bytes;
  unsigned flags;
  bool registered;  // memory of the client's own
};

// The page-locked range that holds all of these bytes.
std::optional<HostRange> find_pinned(const void* first, size_t bytes);

}  // namespace emu
