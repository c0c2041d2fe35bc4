// The three kinds of entry points of libcuda, each a function that runs a body once enter() has let it in:
//
//   CUresult cuStreamCreate(CUstream* stream, unsigned flags) {
//     return in_context(__func__, [&](Context& context) -> CUresult { ... });
//   }
#pragma once

#include "context.h"
#include "driver.h"

namespace emu {

template <class Body>
CUresult anywhere(const char* entry, Body body) {
  if (const CUresult refused = enter(entry, Need::nothing)) return refused;
  return body();
}

template <class Body>
CUresult after_init(const char* entry, Body body) {
  if (const CUresult refused = enter(entry, Need::init)) return refused;
  return body();
}

template <class Body>
CUresult in_context(const char* entry, Body body) {
  if (const CUresult refused = enter(entry, Need::context)) return refused;
  const std::shared_ptr<Context> context = find_context(current_context());
  return context ? body(*context) : CUDA_ERROR_CONTEXT_IS_DESTROYED;  // by another thread, just now
}

// For what gives something back: an injected fault is returned after the body has run.
template <class Body>
CUresult releasing(const char* entry, Need need, Body body) {
  CUresult fault = CUDA_SUCCESS;
  if (const CUresult refused = enter(entry, need, &fault)) return refused;
  const CUresult result = body();
  return fault ? fault : result;
}

}  // namespace emu
