// The few words of CUDA C++ that our kernels use, for g++: a kernel becomes a function that is called once per thread
// of the grid, one after the other. That is all it takes, because kernels here have no barriers, shared memory or warp
// operations.
#pragma once

#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)

struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};

struct dim3 {
  uint32_t x, y, z;
};

// Per thread of the host: several may run a kernel at once.
inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace frametap::on_host {

/// Calls the kernel for every thread of the grid. `params[0]` points to its one argument, as for cuLaunchKernel.
template <class Argument, void (*kKernel)(Argument)>
void launch(void** params, const uint32_t* grid, const uint32_t* block) {
  alignas(16) unsigned char copy[sizeof(Argument)];  // by value: the caller may reuse its own as soon as we return
  std::memcpy(copy, params[0], sizeof(Argument));
  const Argument& argument = *reinterpret_cast<const Argument*>(copy);
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {block[0], block[1], block[2]};
  for (blockIdx.z = 0; blockIdx.z < grid[2]; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x)
        for (threadIdx.z = 0; threadIdx.z < block[2]; ++threadIdx.z)
          for (threadIdx.y = 0; threadIdx.y < block[1]; ++threadIdx.y)
            for (threadIdx.x = 0; threadIdx.x < block[0]; ++threadIdx.x) kKernel(argument);
}

}  // namespace frametap::on_host

/// Exports `name`_on_host(params, grid, block) and the size of the argument, `name`_param_bytes.
#define FRAMETAP_ON_HOST(name, Argument)                                                                     \
  extern "C" __attribute__((visibility("default"))) void name##_on_host(void** params, const uint32_t* grid, \
                                                                        const uint32_t* block) {             \
    frametap::on_host::launch<Argument, frametap::name>(params, grid, block);                                \
  }                                                                                                          \
  extern "C" __attribute__((visibility("default"))) const uint32_t name##_param_bytes;                       \
  const uint32_t name##_param_bytes = sizeof(Argument);
