#include "streams.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "context.h"
#include "handles.h"
#include "settings.h"

namespace emu {
namespace {

struct Scheduler {
  std::mutex mutex;
  std::condition_variable changed;
  Handles<CUstream, Stream> handles{"stream", 0x52};
  std::map<CUstream, LiveObject> live;
  std::vector<std::shared_ptr<Stream>> streams;  // every one that exists or still has work
  std::map<std::pair<CUcontext, std::thread::id>, std::shared_ptr<Stream>> defaults;  // no thread: the legacy one
  std::mt19937_64 random;
  uint64_t seeded_with = 0;

  uint64_t roll(uint64_t sides) {
    if (seeded_with != seed()) random.seed(seeded_with = seed());
    return random() % sides;
  }
};

Scheduler& scheduler() {
  static Scheduler& instance = *new Scheduler;
  return instance;
}

bool may_run(const Stream& stream) {
  return !stream.running && !stream.queue.empty() &&
         std::ranges::all_of(stream.queue.front().after, [](const auto& completion) { return completion->done; });
}

// A stream whose first piece of work may run now; null if there is none.
Stream* choose(Scheduler& s) {
  std::vector<Stream*> ready;
  for (const auto& stream : s.streams) {
    if (may_run(*stream)) ready.push_back(stream.get());
  }
  return ready.empty() ? nullptr : ready[s.roll(ready.size())];
}

// Without the lock meanwhile; `running` keeps the stream from being dropped.
void run_first(Scheduler& s, std::unique_lock<std::mutex>& lock, Stream& stream) {
  Work work = std::move(stream.queue.front());
  stream.queue.pop_front();
  stream.running = true;
  lock.unlock();
  trace("  runs ", work.what);
  if (work.run && (work.even_when_lost || device_error(stream.device) == CUDA_SUCCESS)) work.run();
  work.run = nullptr;  // what it captured may call us when it goes
  lock.lock();
  stream.running = false;
  work.completion->when = std::chrono::steady_clock::now();
  work.completion->done = true;
  s.changed.notify_all();
}

template <class Done>
void run_until(Scheduler& s, std::unique_lock<std::mutex>& lock, Done done) {
  while (!done()) {
    if (Stream* stream = choose(s)) {
      run_first(s, lock, *stream);
    } else if (std::ranges::any_of(s.streams, [](const auto& one) { return one->running; })) {
      s.changed.wait(lock);
    } else {
      report_violation("internal error: work that nothing can run");
      std::abort();
    }
  }
}

void drop_idle_streams(Scheduler& s) {
  std::erase_if(s.streams, [](const auto& one) { return one.use_count() == 1 && one->queue.empty() && !one->running; });
}

std::shared_ptr<Stream> default_stream(Scheduler& s, CUcontext context, bool legacy) {
  auto& stream = s.defaults[{context, legacy ? std::thread::id{} : std::this_thread::get_id()}];
  if (!stream) {
    stream = std::make_shared<Stream>(Stream{context, device_of(context), CU_STREAM_DEFAULT, 0, legacy, {}, {}});
    s.streams.push_back(stream);
  }
  return stream;
}

// What work enqueued on `stream` now has to wait for because of the legacy default stream.
std::vector<std::shared_ptr<Completion>> legacy_order(Scheduler& s, const Stream& stream) {
  std::vector<std::shared_ptr<Completion>> after;
  if (!stream.blocking()) return after;
  for (const auto& other : s.streams) {
    const bool ordered = other->context == stream.context && other->blocking() && other->legacy != stream.legacy;
    if (ordered && other->last && (stream.legacy || other->legacy)) after.push_back(other->last);
  }
  return after;
}

template <class Chosen>
void settle(Chosen chosen) {
  Scheduler& s = scheduler();
  std::unique_lock lock(s.mutex);
  run_until(s, lock, [&] {
    return std::ranges::all_of(
        s.streams, [&](const auto& stream) { return !chosen(*stream) || (stream->queue.empty() && !stream->running); });
  });
  drop_idle_streams(s);
}

}  // namespace

CUstream create_stream(CUcontext context, unsigned flags, int priority) {
  Scheduler& s = scheduler();
  auto stream = std::make_shared<Stream>(Stream{context, device_of(context), flags, priority, false, {}, {}});
  const std::lock_guard lock(s.mutex);
  s.streams.push_back(stream);
  const CUstream handle = s.handles.add(std::move(stream));
  s.live.try_emplace(handle, "streams", context);
  return handle;
}

bool destroy_stream(CUstream handle) {
  Scheduler& s = scheduler();
  const std::lock_guard lock(s.mutex);
  s.live.erase(handle);
  return s.handles.remove(handle) != nullptr;
}

std::shared_ptr<Stream> find_stream(CUcontext context, CUstream handle, const char* entry) {
  Scheduler& s = scheduler();
  if (!handle || handle == CU_STREAM_LEGACY || handle == CU_STREAM_PER_THREAD) {
    const std::lock_guard lock(s.mutex);
    return default_stream(s, context, handle != CU_STREAM_PER_THREAD);
  }
  auto stream = s.handles.get(handle, entry);
  if (stream && stream->context != context) {
    violation(entry, ": the stream belongs to another context");
    return nullptr;
  }
  return stream;
}

CUcontext context_of_created(CUstream handle, const char* entry) {
  const auto stream = scheduler().handles.get(handle, entry);
  return stream ? stream->context : nullptr;
}

std::shared_ptr<Completion> submit(const std::shared_ptr<Stream>& stream, Work work) {
  Scheduler& s = scheduler();
  std::unique_lock lock(s.mutex);
  std::ranges::copy(legacy_order(s, *stream), std::back_inserter(work.after));
  const auto completion = stream->last = work.completion;
  stream->queue.push_back(std::move(work));
  if (seed() == 0) {
    run_until(s, lock, [&] { return completion->done; });
  } else if (s.roll(4) == 0) {
    if (Stream* chosen = choose(s)) run_first(s, lock, *chosen);
  }
  drop_idle_streams(s);
  return completion;
}

std::shared_ptr<Completion> last_of(const std::shared_ptr<Stream>& stream) {
  const std::lock_guard lock(scheduler().mutex);
  return stream->last;
}

bool is_done(const std::shared_ptr<Completion>& completion) {
  const std::lock_guard lock(scheduler().mutex);
  return !completion || completion->done;
}

void wait_for(const std::shared_ptr<Completion>& completion) {
  if (!completion) return;
  Scheduler& s = scheduler();
  std::unique_lock lock(s.mutex);
  run_until(s, lock, [&] { return completion->done; });
}

void let_time_pass() {
  Scheduler& s = scheduler();
  std::unique_lock lock(s.mutex);
  if (s.roll(2) == 0) return;
  Stream* chosen = choose(s);
  if (chosen) run_first(s, lock, *chosen);
}

void settle_streams_of(CUcontext context) {
  settle([&](const Stream& stream) { return stream.context == context; });
}

void settle_device(CUdevice device) {
  settle([&](const Stream& stream) { return stream.device == device; });
}

void forget_streams_of(CUcontext context) {
  Scheduler& s = scheduler();
  for (const auto& [handle, stream] : s.handles.all()) {
    if (stream->context == context) destroy_stream(handle);
  }
  const std::lock_guard lock(s.mutex);
  std::erase_if(s.defaults, [&](const auto& entry) { return entry.first.first == context; });
  drop_idle_streams(s);
}

CUresult enqueue(CUcontext context, CUstream handle, const char* what, std::function<void()> run) {
  const auto stream = find_stream(context, handle, what);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  submit(stream, {what, std::move(run), {}});
  return CUDA_SUCCESS;
}

CUresult synchronize(CUcontext context, CUstream handle) {
  const auto stream = find_stream(context, handle, "synchronize");
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  wait_for(last_of(stream));
  return device_error(stream->device);
}

}  // namespace emu
