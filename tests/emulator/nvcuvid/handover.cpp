#include "handover.h"

#include <map>

namespace emu {
namespace {

struct Registry {
  std::mutex mutex;
  std::map<const void*, Offer> offers;  // an offer without picture is a retired one
};

Registry& registry() {
  static auto* only = new Registry;  // outlives every client thread
  return *only;
}

}  // namespace

void offer_bitstream(const void* address, Offer offer) {
  std::lock_guard lock(registry().mutex);
  registry().offers[address] = std::move(offer);
}

void retire_bitstream(const void* address) { offer_bitstream(address, {}); }

void forget_bitstream(const void* address) {
  std::lock_guard lock(registry().mutex);
  registry().offers.erase(address);
}

BitstreamAddress find_bitstream(const void* address, Offer& offer) {
  std::lock_guard lock(registry().mutex);
  auto found = registry().offers.find(address);
  if (found == registry().offers.end()) return BitstreamAddress::unknown;
  if (!found->second.picture) return BitstreamAddress::retired;
  offer = found->second;
  return BitstreamAddress::offered;
}

}  // namespace emu
