#include "kernel_run.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "host_memory.h"
#include "memory.h"

namespace emu {
namespace {

// Of the kernel that this thread runs, if it runs one.
thread_local sigjmp_buf* way_out = nullptr;
thread_local CUdeviceptr fault_address = 0;

struct sigaction previous_action;

// Only async-signal-safe calls.
void on_segmentation_fault(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<CUdeviceptr>(info->si_addr);
  if (way_out) {
    fault_address = address;
    siglongjmp(*way_out, 1);
  }
  if (is_device_address(address)) {
    char message[160];
    const int length =
        std::snprintf(message, sizeof message,
                      "emulated CUDA driver: violation: host code touched device memory at %p\n", info->si_addr);
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, message, static_cast<size_t>(length));
  }
  if (previous_action.sa_flags & SA_SIGINFO) {
    previous_action.sa_sigaction(signal, info, context);
  } else {
    sigaction(SIGSEGV, &previous_action, nullptr);  // and the access is tried again
  }
}

// Without what a kernel must not have: a function of its own, so that no object lives across the jump.
bool finishes(const Launch& launch, void** params) {
  sigjmp_buf buffer;
  if (sigsetjmp(buffer, 1)) {
    way_out = nullptr;
    return false;
  }
  way_out = &buffer;
  launch.twin(params, launch.grid.data(), launch.block.data());
  way_out = nullptr;
  return true;
}

bool is_mapped(uint64_t address) { return msync(reinterpret_cast<void*>(address & ~uint64_t{4095}), 1, MS_ASYNC) == 0; }

// Whether a word of an argument can only be an address of the host. Two 32-bit numbers side by side seldom look like
// one.
bool is_host_address(uint64_t word) {
  constexpr uint64_t lowest = uint64_t{1} << 44, highest = uint64_t{1} << 47;  // where Linux puts heaps and stacks
  return word >= lowest && word < highest && is_mapped(word);
}

}  // namespace

void watch_for_segmentation_faults() {
  struct sigaction current{};
  sigaction(SIGSEGV, nullptr, &current);
  if (current.sa_flags & SA_SIGINFO && current.sa_sigaction == on_segmentation_fault) return;
  previous_action = current;
  struct sigaction action{};
  action.sa_sigaction = on_segmentation_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr);
}

void run_kernel(const Launch& launch, CUdevice device) {
  watch_for_segmentation_faults();  // again: a client may have installed its own handler since
  std::vector<std::byte> argument = launch.argument;
  void* params[] = {argument.data()};
  open_window(device);
  const bool finished = finishes(launch, params);
  close_window();
  if (!finished) {
    violation("kernel ", launch.name, " touched ", describe_address(fault_address));
    lose_device(device, CUDA_ERROR_ILLEGAL_ADDRESS);
  }
  check_canaries("kernel " + launch.name);
}

void check_addresses(const Launch& launch) {
  for (size_t at = 0; at + sizeof(uint64_t) <= launch.argument.size(); at += sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, &launch.argument[at], sizeof word);
    const std::string what = text("the address at byte ", at, " of the argument of kernel ", launch.name);
    if (is_device_address(word)) {
      checked_alias(what, word, 1, When::call);
    } else if (is_host_address(word) && !find_pinned(reinterpret_cast<const void*>(word), 1)) {
      violation(what, " is host memory");
    }
  }
}

}  // namespace emu
