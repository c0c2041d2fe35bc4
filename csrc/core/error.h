// The only place that throws. Each type becomes the Python exception of the same name (csrc/bindings/errors.cpp).
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace frametap {

/// Valid input that uses something frametap does not handle.
class UnsupportedError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A packet or picture that is damaged or incomplete.
class DecodeError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A device or driver that cannot be used.
class DeviceError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A device whose memory does not suffice; Python sees a DeviceError.
class DeviceMemoryError : public DeviceError {
  using DeviceError::DeviceError;
};

/// A number or name that makes no sense; Python sees a plain ValueError.
class ArgumentError : public std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// Message parts are concatenated: gcc 12 has no <format>, and fmt is not worth a dependency.
template <class Error, class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw Error(message.str());
}

template <class Error, class... Parts>
void check(bool condition, const Parts&... parts) {
  if (!condition) [[unlikely]] {
    fail<Error>(parts...);
  }
}

}  // namespace frametap
