#include "memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "context.h"
#include "pools.h"
#include "profiles.h"
#include "settings.h"

namespace emu {
namespace {

constexpr size_t window_bytes = size_t{1} << 39;  // addresses only: what was never used costs nothing
constexpr size_t page = 4096, alignment = 256;

struct Freed {
  size_t bytes;
};

struct Memory {
  std::mutex mutex;
  int file = -1;
  std::byte* window = nullptr;
  std::byte* alias = nullptr;
  size_t next = page;  // so that there is a guard before the first allocation
  std::map<CUdeviceptr, Allocation> live;
  std::map<CUdeviceptr, Freed> freed;
  std::map<CUdevice, size_t> used;
  int open_windows = 0;

  Memory() {
    file = memfd_create("emulated device memory", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, window_bytes)) give_up("memfd_create");
    window = map(PROT_NONE);
    alias = map(PROT_READ | PROT_WRITE);
  }

  std::byte* map(int protection) const {
    void* at = mmap(nullptr, window_bytes, protection, MAP_SHARED | MAP_NORESERVE, file, 0);
    if (at == MAP_FAILED) give_up("mmap");
    madvise(at, window_bytes, MADV_DONTDUMP);
    return static_cast<std::byte*>(at);
  }

  [[noreturn]] static void give_up(const char* call) {
    std::perror(call);
    std::abort();
  }

  // Puts pages of a file at an offset of both mappings.
  bool place(size_t offset, size_t span, int from, size_t from_offset) const {
    const int flags = MAP_SHARED | MAP_NORESERVE | MAP_FIXED;
    const auto at = static_cast<off_t>(from_offset);
    return mmap(window + offset, span, PROT_NONE, flags, from, at) != MAP_FAILED &&
           mmap(alias + offset, span, PROT_READ | PROT_WRITE, flags, from, at) != MAP_FAILED;
  }

  CUdeviceptr address_of(size_t offset) const { return reinterpret_cast<CUdeviceptr>(window + offset); }
  std::byte* alias_of(CUdeviceptr address) const { return alias + (address - address_of(0)); }

  // The allocation that starts at or before an address.
  Allocation* before(CUdeviceptr address) {
    auto next = live.upper_bound(address);
    return next == live.begin() ? nullptr : &std::prev(next)->second;
  }

  Allocation* covering(CUdeviceptr address, size_t bytes) {
    Allocation* one = before(address);
    const bool inside = one && address - one->address <= one->bytes && bytes <= one->bytes - (address - one->address);
    return inside && (address < one->address + one->bytes || one->bytes == 0) ? one : nullptr;
  }

  std::string describe(CUdeviceptr address) {
    const std::string hex = text("0x", std::hex, address);
    if (!is_device_address(address)) return hex + ", which is no device memory";
    const Allocation* one = before(address);
    if (one && address < one->address + one->bytes) {
      return hex + text(", ", address - one->address, " bytes into ", one->bytes, " bytes",
                        one->owner.empty() ? "" : " of " + one->owner);
    }
    auto next = freed.upper_bound(address);
    if (next != freed.begin() &&
        address < std::prev(next)->first + std::max<size_t>(std::prev(next)->second.bytes, 1)) {
      return hex + text(", in ", std::prev(next)->second.bytes, " bytes that were freed");
    }
    if (!one) return hex + ", which was never allocated";
    return hex + text(", ", address - one->address - one->bytes, " bytes past the end of ", one->bytes, " bytes");
  }
};

Memory& memory() {
  static Memory& instance = *new Memory;
  return instance;
}

void protect(const Memory& m, Allocation& one, int protection) {
  mprotect(m.window + one.offset, one.span - page, protection);
  one.open = protection != PROT_NONE;
}

bool is_poison(const std::byte* first, const std::byte* last) {
  return std::all_of(first, last, [](std::byte b) { return b == std::byte{poison}; });
}

// What is wrong with the bytes around an allocation; empty if nothing is.
std::string damage(const Memory& m, const Allocation& one) {
  const std::byte* bytes = m.alias_of(one.address);
  const std::byte* first = m.alias + one.offset;
  const std::byte* last = first + one.span - page;
  if (!is_poison(first, bytes)) return text("the bytes before an allocation of ", one.bytes, " bytes were overwritten");
  if (!is_poison(bytes + one.bytes, last))
    return text("the bytes after an allocation of ", one.bytes, " were overwritten");
  return {};
}

void repair(const Memory& m, const Allocation& one) {
  std::byte* bytes = m.alias_of(one.address);
  std::byte* first = m.alias + one.offset;
  std::memset(first, poison, static_cast<size_t>(bytes - first));
  std::memset(bytes + one.bytes, poison, static_cast<size_t>(first + one.span - page - bytes) - one.bytes);
}

// Why a range that is all inside `one` may not be used; null if it may.
const char* objection(const Allocation& one, When when) {
  if (when == When::call && !one.visible) return "memory that is the driver's own";
  if (when == When::call && one.given_back) return "memory that was given to cuMemFreeAsync";
  if (when == When::run && !one.ready) return "memory before its cuMemAllocAsync ran: an event is missing";
  return nullptr;
}

}  // namespace

bool is_device_address(CUdeviceptr address) {
  return address >= memory().address_of(0) && address < memory().address_of(window_bytes);
}

std::shared_ptr<const Allocation> find_allocation(CUdeviceptr address, size_t bytes) {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  const Allocation* one = m.covering(address, bytes);
  return one ? std::make_shared<const Allocation>(*one) : nullptr;
}

std::string describe_address(CUdeviceptr address) {
  const std::lock_guard lock(memory().mutex);
  return memory().describe(address);
}

std::byte* host_alias(CUdeviceptr address, size_t bytes) {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  return m.covering(address, bytes) ? m.alias_of(address) : nullptr;
}

std::byte* checked_alias(const std::string& what, CUdeviceptr address, size_t bytes, When when) {
  Memory& m = memory();
  std::string reason;
  {
    const std::lock_guard lock(m.mutex);
    const Allocation* one = m.covering(address, bytes);
    const char* problem = one ? objection(*one, when) : nullptr;
    if (one && !problem) return m.alias_of(address);
    reason = problem ? text(problem, " (", m.describe(address), ")") : text(bytes, " bytes from ", m.describe(address));
  }
  violation(what, when == When::run ? " ran on " : ": ", reason);
  return nullptr;
}

size_t capacity(CUdevice device) { return std::min(profile_of(device).memory_bytes, memory_budget()); }

size_t used_bytes(CUdevice device) {
  const std::lock_guard lock(memory().mutex);
  return memory().used[device];
}

bool reserve(CUdevice device, size_t bytes) {
  const std::lock_guard lock(memory().mutex);
  size_t& used = memory().used[device];
  if (bytes > capacity(device) || used > capacity(device) - bytes) return false;
  used += bytes;
  return true;
}

void unreserve(CUdevice device, size_t bytes) {
  const std::lock_guard lock(memory().mutex);
  memory().used[device] -= bytes;
}

CUresult allocate_in(CUcontext context, size_t bytes, const std::string& owner, const std::shared_ptr<Pool>& pool,
                     bool ready, CUdeviceptr* address) {
  Memory& m = memory();
  Allocation one{0, bytes, context, device_of(context), owner, pool, 0, 0};
  const size_t aligned = (bytes + alignment - 1) / alignment * alignment;
  one.span = (aligned + page - 1) / page * page + page;
  one.ready = ready;
  one.visible = true;
  std::byte* first = nullptr;
  {
    const std::lock_guard lock(m.mutex);
    if (one.span > window_bytes - m.next) return CUDA_ERROR_OUT_OF_MEMORY;
    one.offset = m.next;
    m.next += one.span;
    one.address = m.address_of(one.offset + one.span - page - aligned);
    first = m.alias + one.offset;
  }
  std::memset(first, poison, one.span - page);
  {
    const std::lock_guard lock(m.mutex);
    m.live[one.address] = one;
  }
  count("allocations");
  count_live("allocations", 1);
  count_live("bytes", static_cast<int64_t>(bytes));
  *address = one.address;
  return CUDA_SUCCESS;
}

CUresult allocate(CUcontext context, size_t bytes, const char* owner, CUdeviceptr* address) {
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (!reserve(device_of(context), bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = allocate_in(context, bytes, owner, nullptr, true, address);
  if (result) unreserve(device_of(context), bytes);
  return result;
}

void release(CUdeviceptr address) {
  Memory& m = memory();
  std::string problem;
  Allocation one;
  {
    const std::lock_guard lock(m.mutex);
    const auto found = m.live.find(address);
    if (found == m.live.end()) return;
    one = found->second;
    m.live.erase(found);
    m.freed[address] = {one.bytes};
    if (!one.foreign) problem = damage(m, one);
    if (one.open) protect(m, one, PROT_NONE);
    if (one.foreign) {
      m.place(one.offset, one.span, m.file, one.offset);
    } else {
      fallocate(m.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(one.offset),
                static_cast<off_t>(one.span));
    }
  }
  if (one.foreign) return;
  if (one.pool) {
    pool_took_back(*one.pool, one.bytes);
  } else {
    unreserve(one.device, one.bytes);
  }
  count_live("allocations", -1);
  count_live("bytes", -static_cast<int64_t>(one.bytes));
  if (!problem.empty()) violation(problem, ", seen when it was freed");
}

Extent extent_of(const Allocation& one) {
  return {getpid(), memory().file, one.offset, one.span, one.address - memory().address_of(one.offset), one.bytes};
}

CUresult map_foreign(CUcontext context, const Extent& extent, CUdeviceptr* address) {
  Memory& m = memory();
  const std::string path = text("/proc/", extent.process, "/fd/", extent.file);
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(m.mutex);
  Allocation one{0, extent.bytes, context, device_of(context), "another process", nullptr, m.next, extent.span};
  one.foreign = true;
  const bool placed = extent.span <= window_bytes - m.next && m.place(m.next, extent.span, file, extent.offset);
  close(file);
  if (!placed) return CUDA_ERROR_INVALID_VALUE;
  m.next += extent.span;
  one.address = m.address_of(one.offset) + extent.first_byte;
  m.live[one.address] = one;
  *address = one.address;
  return CUDA_SUCCESS;
}

void show_to_client(CUdeviceptr address, bool visible) {
  const std::lock_guard lock(memory().mutex);
  if (Allocation* one = memory().covering(address, 1)) one->visible = visible;
}

void make_ready(CUdeviceptr address) {
  const std::lock_guard lock(memory().mutex);
  if (Allocation* one = memory().covering(address, 1)) one->ready = true;
}

void mark_given_back(CUdeviceptr address) {
  const std::lock_guard lock(memory().mutex);
  if (Allocation* one = memory().covering(address, 1)) one->given_back = true;
}

void check_canaries(const std::string& culprit) {
  Memory& m = memory();
  std::vector<std::string> problems;
  {
    const std::lock_guard lock(m.mutex);
    for (const auto& [address, one] : m.live) {
      std::string problem = one.foreign ? "" : damage(m, one);
      if (problem.empty()) continue;
      repair(m, one);  // so that it is reported once
      problems.push_back(std::move(problem));
    }
  }
  for (const std::string& problem : problems) violation(problem, ", seen after ", culprit);
}

void free_memory_of(CUcontext context) {
  std::vector<CUdeviceptr> addresses;
  int of_client = 0;  // the others belong to objects that are reported themselves
  {
    const std::lock_guard lock(memory().mutex);
    for (const auto& [address, one] : memory().live) {
      if (one.context != context) continue;
      addresses.push_back(address);
      of_client += one.owner.empty();
    }
  }
  if (of_client > 0) leniency("a context was destroyed with ", of_client, " allocations not freed");
  for (const CUdeviceptr address : addresses) release(address);
}

void open_window(CUdevice device) {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  ++m.open_windows;
  for (auto& [address, one] : m.live) {
    if (one.device == device && one.ready && !one.open) protect(m, one, PROT_READ | PROT_WRITE);
  }
}

void close_window() {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  if (--m.open_windows > 0) return;
  for (auto& [address, one] : m.live) {
    if (one.open) protect(m, one, PROT_NONE);
  }
}

}  // namespace emu
