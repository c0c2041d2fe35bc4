#pragma once

#include <cstddef>
#include <cstdint>

namespace frametap {

/// One plane of a decoded picture, borrowed: the address of its first row and the bytes from one row to the next.
struct Plane {
  const uint8_t* data = nullptr;
  ptrdiff_t pitch = 0;  // negative for a picture stored bottom-up
};

}  // namespace frametap
