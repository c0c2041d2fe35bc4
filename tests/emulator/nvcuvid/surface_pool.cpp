#include "surface_pool.h"

#include "switches.h"

namespace emu {

bool SurfacePool::is_free(const Slot& slot) {
  return !slot.picture || (!slot.picture->in_dpb && !slot.picture->queued);
}

void SurfacePool::resize(size_t count) {
  collect();
  if (count > slots_.size()) slots_.resize(count);
  while (slots_.size() > count && is_free(slots_.back())) slots_.pop_back();
}

void SurfacePool::clear() {
  for (Slot& slot : slots_) slot = {};
  last_ = -1;
}

void SurfacePool::collect() {
  for (Slot& slot : slots_)
    if (slot.picture && is_free(slot)) {
      slot.freed = slot.picture->released;
      slot.picture.reset();
    }
}

void SurfacePool::snapshot() {
  collect();
  for (Slot& slot : slots_) slot.free_at_snapshot = !slot.picture;
}

int SurfacePool::pick(bool late) {
  // A picture nothing refers to is gone once it was shown, whenever that happens.
  for (Slot& slot : slots_)
    if (slot.picture && is_free(slot) && !slot.picture->reference) slot.free_at_snapshot = true;
  collect();
  IndexPolicy policy = switches().index_policy;
  bool by_age = policy == IndexPolicy::least_recently_freed || policy == IndexPolicy::most_recently_freed;
  int best = -1;
  auto count = static_cast<int>(slots_.size());
  for (int step = 0; step < count; ++step) {
    int index = policy == IndexPolicy::round_robin ? (last_ + 1 + step) % count : step;
    const Slot& slot = slots_[static_cast<size_t>(index)];
    if (slot.picture || !(late || slot.free_at_snapshot)) continue;
    if (!by_age) return index;
    uint64_t freed = best < 0 ? 0 : slots_[static_cast<size_t>(best)].freed;
    bool better = policy == IndexPolicy::least_recently_freed ? slot.freed < freed : slot.freed > freed;
    if (best < 0 || better) best = index;
  }
  return best;
}

void SurfacePool::assign(int index, PicturePtr picture) {
  slots_[static_cast<size_t>(index)].picture = std::move(picture);
  last_ = index;
}

std::vector<PicturePtr> SurfacePool::waiting() const {
  std::vector<PicturePtr> result;
  for (const Slot& slot : slots_)
    if (slot.picture && !slot.picture->queued && !slot.picture->displayed && !slot.picture->skipped)
      result.push_back(slot.picture);
  return result;
}

}  // namespace emu
