// Streams: queues of work, and the scheduler that decides when which of it runs.
//
// With seed 0 work runs inside the call that enqueues it. With another seed it waits, and every call that synchronises,
// asks for progress or enqueues something runs work of any stream whose turn may have come, in random order, until what
// it waits for is done. So a client that forgot an event, or to wait, sees an order that a GPU could choose as well.
//
// A piece of work comes after the one before it on its stream, after the events its stream waits for, and as the legacy
// default stream says: its work after all earlier work of blocking streams, and theirs after its.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "driver.h"

namespace emu {

struct Completion {
  bool done = false;  // under the scheduler's mutex
  std::chrono::steady_clock::time_point when;
};

struct Work {
  std::string what;
  std::function<void()> run;
  std::vector<std::shared_ptr<Completion>> after;
  bool even_when_lost = false;  // what gives memory back; a lost device does nothing else
  std::shared_ptr<Completion> completion = std::make_shared<Completion>();
};

struct Stream {
  CUcontext context;
  CUdevice device;
  unsigned flags;
  int priority;
  bool legacy = false;
  std::shared_ptr<Completion> last;  // of the work enqueued last; null before any
  std::deque<Work> queue;
  bool running = false;  // a thread is running its first piece of work

  bool blocking() const { return !(flags & CU_STREAM_NON_BLOCKING); }
};

CUstream create_stream(CUcontext context, unsigned flags, int priority);
// What is enqueued still runs. False for what is no stream.
bool destroy_stream(CUstream handle);
// A stream by its handle, or a default stream of `context`. Null, and a violation of `entry`, if there is none.
std::shared_ptr<Stream> find_stream(CUcontext context, CUstream handle, const char* entry);
// The context of a stream that was created, not a default one; null, and a violation, if there is none.
CUcontext context_of_created(CUstream handle, const char* entry);

// Enqueues, and returns what tells when it was done.
std::shared_ptr<Completion> submit(const std::shared_ptr<Stream>& stream, Work work);
// What `stream` was given until now.
std::shared_ptr<Completion> last_of(const std::shared_ptr<Stream>& stream);

bool is_done(const std::shared_ptr<Completion>& completion);
void wait_for(const std::shared_ptr<Completion>& completion);
// Time passes: some work may run. For calls that poll.
void let_time_pass();

// Runs all work of the context's streams; forgets the streams, leaving handles that are destroyed.
void settle_streams_of(CUcontext context);
void forget_streams_of(CUcontext context);
// The same for all contexts of a device: what cuMemFree waits for.
void settle_device(CUdevice device);

}  // namespace emu
