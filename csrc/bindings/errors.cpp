#include "bindings/bindings.h"
#include "core/error.h"

namespace py = pybind11;

namespace frametap {
namespace {

/// The classes live in Python, so that users can read and subclass them; they are looked up when first needed.
void raise_as(const char* name, const std::exception& error) {
  const py::object type = py::module_::import("frametap.errors").attr(name);
  py::set_error(type, error.what());
}

void translate(std::exception_ptr pending) {
  try {
    if (pending) {
      std::rethrow_exception(pending);
    }
  } catch (const UnsupportedError& error) {
    raise_as("UnsupportedError", error);
  } catch (const DecodeError& error) {
    raise_as("DecodeError", error);
  } catch (const DeviceError& error) {
    raise_as("DeviceError", error);
  }
}

}  // namespace

void register_errors(py::module_&) { py::register_local_exception_translator(translate); }

}  // namespace frametap
