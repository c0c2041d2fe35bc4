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

// What was installed before, for SIGSEGV and for SIGILL.
struct sigaction previous_segv, previous_ill;

// Only async-signal-safe calls.
void on_fault(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<CUdeviceptr>(info->si_addr);
  if (way_out) {
    fault_address = address;
    siglongjmp(*way_out, signal);
  }
  if (signal == SIGSEGV && is_device_address(address)) {
    char message[160];
    const int length =
        std::snprintf(message, sizeof message,
                      "emulated CUDA driver: violation: host code touched device memory at %p\n", info->si_addr);
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, message, static_cast<size_t>(length));
  }
  const struct sigaction& previous = signal == SIGSEGV ? previous_segv : previous_ill;
  if (previous.sa_flags & SA_SIGINFO) {
    previous.sa_sigaction(signal, info, context);
  } else {
    sigaction(signal, &previous, nullptr);  // and the instruction is tried again
  }
}

void watch_for(int signal, struct sigaction& previous) {
  struct sigaction current{};
  sigaction(signal, nullptr, &current);
  if (current.sa_flags & SA_SIGINFO && current.sa_sigaction == on_fault) return;
  previous = current;
  struct sigaction action{};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(signal, &action, nullptr);
}

// Runs the twin: 0, or the signal that ended it. A function of its own, so that no object lives across the jump.
int signal_from(const Launch& launch, void** params) {
  sigjmp_buf buffer;
  if (const int signal = sigsetjmp(buffer, 1)) {
    way_out = nullptr;
    return signal;
  }
  way_out = &buffer;
  launch.twin(params, launch.grid.data(), launch.block.data());
  way_out = nullptr;
  return 0;
}

bool is_mapped(uint64_t address) { return msync(reinterpret_cast<void*>(address & ~uint64_t{4095}), 1, MS_ASYNC) == 0; }

// Whether a word of an argument can only be an address of the host. Two 32-bit numbers side by side seldom look like
// one.
bool is_host_address(uint64_t word) {
  constexpr uint64_t lowest = uint64_t{1} << 44, highest = uint64_t{1} << 47;  // where Linux puts heaps and stacks
  return word >= lowest && word < highest && is_mapped(word);
}

}  // namespace

void watch_for_faults() {
  watch_for(SIGSEGV, previous_segv);
  watch_for(SIGILL, previous_ill);
}

void run_kernel(const Launch& launch, CUdevice device) {
  watch_for_faults();  // again: a client may have installed its own handler since
  std::vector<std::byte> argument = launch.argument;
  void* params[] = {argument.data()};
  open_window(device);
  const int signal = signal_from(launch, params);
  close_window();
  if (signal == SIGILL) {  // what the twin's -fsanitize=alignment raises
    violation("kernel ", launch.name, " touched a misaligned address");
    lose_device(device, CUDA_ERROR_MISALIGNED_ADDRESS);
  } else if (signal == SIGSEGV) {
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
