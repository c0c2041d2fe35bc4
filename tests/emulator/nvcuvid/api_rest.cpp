// Entry points that exist so that every client's loader finds them: 32-bit mapping, context locks, video sources.
#include <map>
#include <memory>
#include <mutex>

#include "abi.h"
#include "driver.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using namespace emu;

std::mutex locks_mutex;
auto& locks = *new std::map<CUvideoctxlock, std::shared_ptr<std::recursive_mutex>>;

std::shared_ptr<std::recursive_mutex> find_lock(CUvideoctxlock handle, const char* entry) {
  std::lock_guard guard(locks_mutex);
  auto found = locks.find(handle);
  if (found != locks.end()) return found->second;
  violation(entry, ": no such context lock");
  return nullptr;
}

}  // namespace

EXPORT CUresult cuvidCtxLockCreate(CUvideoctxlock* lock, CUcontext context) {
  if (CUresult error = enter(__func__, Need::init)) return error;
  if (!lock || !is_alive(context)) return CUDA_ERROR_INVALID_VALUE;
  auto mutex = std::make_shared<std::recursive_mutex>();
  *lock = reinterpret_cast<CUvideoctxlock>(mutex.get());
  std::lock_guard guard(locks_mutex);
  locks[*lock] = std::move(mutex);
  return CUDA_SUCCESS;
}

EXPORT CUresult cuvidCtxLockDestroy(CUvideoctxlock lock) {
  if (CUresult error = enter(__func__, Need::init)) return error;
  if (!find_lock(lock, __func__)) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard guard(locks_mutex);
  locks.erase(lock);
  return CUDA_SUCCESS;
}

EXPORT CUresult cuvidCtxLock(CUvideoctxlock lock, unsigned) {
  if (CUresult error = enter(__func__, Need::init)) return error;
  auto mutex = find_lock(lock, __func__);
  if (!mutex) return CUDA_ERROR_INVALID_VALUE;
  mutex->lock();
  return CUDA_SUCCESS;
}

EXPORT CUresult cuvidCtxUnlock(CUvideoctxlock lock, unsigned) {
  if (CUresult error = enter(__func__, Need::init)) return error;
  auto mutex = find_lock(lock, __func__);
  if (!mutex) return CUDA_ERROR_INVALID_VALUE;
  mutex->unlock();
  return CUDA_SUCCESS;
}

// 32-bit device pointers do not exist here, and files are the business of a demultiplexer.
#define REFUSED(name)                                \
  EXPORT CUresult name() {                           \
    CUresult error = enter(#name, Need::nothing);    \
    return error ? error : CUDA_ERROR_NOT_SUPPORTED; \
  }

REFUSED(cuvidMapVideoFrame)
REFUSED(cuvidUnmapVideoFrame)
REFUSED(cuvidCreateVideoSource)
REFUSED(cuvidCreateVideoSourceW)
REFUSED(cuvidDestroyVideoSource)
REFUSED(cuvidSetVideoSourceState)
REFUSED(cuvidGetVideoSourceState)
REFUSED(cuvidGetSourceVideoFormat)
REFUSED(cuvidGetSourceAudioFormat)
REFUSED(cuvidPrivateOp)
