// Which picture owns which decode surface index, and when an index may be used again.
#pragma once

#include <cstdint>
#include <vector>

#include "picture.h"

namespace emu {

class SurfacePool {
 public:
  void resize(size_t count);
  size_t size() const { return slots_.size(); }
  void clear();

  // Notes which indices are free now: when a picture begins, before it changes what is referred to.
  void snapshot();
  // The index that policy picks among those free at the snapshot and free now; -1 if there is none. `late`: also those
  // that became free since.
  int pick(bool late);
  void assign(int index, PicturePtr picture);
  // Pictures that were decoded and neither shown nor queued yet.
  std::vector<PicturePtr> waiting() const;

 private:
  struct Slot {
    PicturePtr picture;
    uint64_t freed = 0;  // when, see Picture::released
    bool free_at_snapshot = true;
  };
  static bool is_free(const Slot& slot);
  void collect();

  std::vector<Slot> slots_;
  int last_ = -1;
};

}  // namespace emu
