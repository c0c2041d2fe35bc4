// cuModule*, cuFunc*, cuLaunchKernel.
#include <dlfcn.h>

#include "entry.h"
#include "fatbin.h"
#include "handles.h"
#include "kernel_run.h"
#include "streams.h"

namespace emu {
namespace {

struct Module {
  CUcontext context;
  LiveObject live;
};

struct Function {
  std::string name;
  CUcontext context;
  std::weak_ptr<Module> module;
  Twin twin;
  uint32_t argument_bytes;
};

Handles<CUmodule, Module>& modules() {
  static auto& instance = *new Handles<CUmodule, Module>("module", 0x55);
  return instance;
}

Handles<CUfunction, Function>& functions() {
  static auto& instance = *new Handles<CUfunction, Function>("function", 0x56);
  return instance;
}

// What tests/cuda_host exports.
void* find_in_twin(const std::string& name) {
  static void* library = dlopen("libframetap_cuda_host.so", RTLD_NOW | RTLD_NOLOAD);
  return library ? dlsym(library, name.c_str()) : nullptr;
}

CUresult load(Context& context, CUmodule* module, const void* image) {
  const DeviceProfile& profile = profile_of(context.device);
  const Image kind = identify(image, profile.compute_major, profile.compute_minor);
  if (kind != Image::ours) {
    trace(kind == Image::other ? "  an image that is not the one this emulator was built with"
                               : "  no code for this GPU in the image");
    count("modules.refused");
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  count("modules");
  *module = modules().add(std::shared_ptr<Module>(new Module{context.handle, {"modules", context.handle}}));
  return CUDA_SUCCESS;
}

CUresult get_function(CUfunction* function, CUmodule handle, const char* name) {
  const auto module = modules().get(handle, "cuModuleGetFunction");
  if (!module) return CUDA_ERROR_INVALID_HANDLE;
  const std::string kernel = name;
  const auto twin = reinterpret_cast<Twin>(find_in_twin(kernel + "_on_host"));
  const auto* bytes = static_cast<const uint32_t*>(find_in_twin(kernel + "_param_bytes"));
  if (!twin || !bytes) return CUDA_ERROR_NOT_FOUND;
  *function = functions().add(std::make_shared<Function>(Function{kernel, module->context, module, twin, *bytes}));
  return CUDA_SUCCESS;
}

bool is_valid(const std::array<uint32_t, 3>& grid, const std::array<uint32_t, 3>& block, unsigned shared_bytes) {
  const bool any = grid[0] && grid[1] && grid[2] && block[0] && block[1] && block[2];
  return any && grid[0] <= 2147483647 && grid[1] <= 65535 && grid[2] <= 65535 && block[0] <= 1024 && block[1] <= 1024 &&
         block[2] <= 64 && uint64_t{block[0]} * block[1] * block[2] <= 1024 && shared_bytes <= 48 * 1024;
}

CUresult launch(Context& context, CUfunction handle, Launch job, unsigned shared_bytes, CUstream stream_handle,
                void** params) {
  const auto function = functions().get(handle, "cuLaunchKernel");
  if (!function) return CUDA_ERROR_INVALID_HANDLE;
  if (function->module.expired() || function->context != context.handle) {
    violation("cuLaunchKernel of ", function->name, ", whose module ",
              function->module.expired() ? "was unloaded" : "belongs to another context");
    return CUDA_ERROR_INVALID_HANDLE;
  }
  const auto stream = find_stream(context.handle, stream_handle, "cuLaunchKernel");
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  if (!params || !params[0] || !is_valid(job.grid, job.block, shared_bytes)) return CUDA_ERROR_INVALID_VALUE;
  job.name = function->name;
  job.twin = function->twin;
  const auto* argument = static_cast<const std::byte*>(params[0]);
  job.argument.assign(argument, argument + function->argument_bytes);
  check_addresses(job);
  count("launches");
  count(("launches." + job.name).c_str());
  submit(stream, {"kernel " + job.name, [job, device = context.device] { run_kernel(job, device); }, {}});
  return CUDA_SUCCESS;
}

}  // namespace
}  // namespace emu

using namespace emu;

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  return in_context(__func__, [&](Context& context) { return load(context, module, image); });
}

CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned, CUjit_option*, void**) {
  return in_context(__func__, [&](Context& context) { return load(context, module, image); });
}

CUresult cuModuleLoadFatBinary(CUmodule* module, const void* image) {
  return in_context(__func__, [&](Context& context) { return load(context, module, image); });
}

CUresult cuModuleUnload(CUmodule module) {
  return releasing(__func__, Need::context, [&]() -> CUresult {
    if (!modules().get(module, "cuModuleUnload")) return CUDA_ERROR_INVALID_HANDLE;
    modules().remove(module);
    return CUDA_SUCCESS;
  });
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  return in_context(__func__, [&](Context&) { return get_function(function, module, name); });
}

CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction function) {
  return in_context(__func__, [&](Context& context) -> CUresult {
    if (!functions().get(function, "cuFuncGetAttribute")) return CUDA_ERROR_INVALID_HANDLE;
    const DeviceProfile& profile = profile_of(context.device);
    switch (attribute) {
      case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *value = 1024;
        break;
      case CU_FUNC_ATTRIBUTE_NUM_REGS:
        *value = 32;
        break;
      case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
        *value = 10 * profile.compute_major + profile.compute_minor;
        break;
      default:
        *value = 0;
    }
    return CUDA_SUCCESS;
  });
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute, int) {
  return in_context(__func__, [&](Context&) {
    return functions().get(function, "cuFuncSetAttribute") ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUresult cuFuncSetCacheConfig(CUfunction function, CUfunc_cache) {
  return in_context(__func__, [&](Context&) {
    return functions().get(function, "cuFuncSetCacheConfig") ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                        unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void** params,
                        void** extra) {
  return in_context(__func__, [&](Context& context) -> CUresult {
    if (extra) return CUDA_ERROR_NOT_SUPPORTED;
    return launch(context, function, {{}, {}, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, {}}, shared_bytes,
                  stream, params);
  });
}
