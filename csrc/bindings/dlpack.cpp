#include "bindings/dlpack.h"

#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "core/error.h"

namespace py = pybind11;

namespace frametap {
namespace {

using dlpack::ManagedTensor;
using dlpack::ManagedTensorVersioned;

/// What a managed tensor points to, freed by its deleter: the numbers, and the owner of the memory.
template <class Managed>
struct Export {
  Managed managed{};
  std::vector<int64_t> shape, strides;
  PyObject* owner = nullptr;
};

template <class Managed>
struct Capsule;
template <>
struct Capsule<ManagedTensor> {
  static constexpr const char* kName = "dltensor";
};
template <>
struct Capsule<ManagedTensorVersioned> {
  static constexpr const char* kName = "dltensor_versioned";
};

/// Called by the consumer, from any thread, possibly without the GIL, possibly while the interpreter goes away.
template <class Managed>
void release(Managed* managed) {
  auto* exported = static_cast<Export<Managed>*>(managed->manager_ctx);
  if (Py_IsInitialized() != 0) {
    const PyGILState_STATE state = PyGILState_Ensure();
    Py_DECREF(exported->owner);
    PyGILState_Release(state);
  }  // else the owner is leaked with the interpreter: its destructor could no longer run
  delete exported;
}

/// A consumer renames the capsule when it takes the tensor over; an unconsumed one is released here.
template <class Managed>
void destroy_capsule(PyObject* capsule) {
  if (PyCapsule_IsValid(capsule, Capsule<Managed>::kName) != 0) {
    auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, Capsule<Managed>::kName));
    managed->deleter(managed);
  }
}

dlpack::DataType data_type(const std::string& name) {
  if (name == "uint8") return {dlpack::kUint, 8, 1};
  if (name == "float16") return {dlpack::kFloat, 16, 1};
  if (name == "bfloat16") return {dlpack::kBfloat, 16, 1};
  if (name == "float32") return {dlpack::kFloat, 32, 1};
  fail<ArgumentError>("dtype \"", name, "\" is not one of uint8, float16, bfloat16, float32");
}

void set_header(ManagedTensor&, bool) {}
void set_header(ManagedTensorVersioned& managed, bool read_only) {
  managed.version = {1, 1};
  managed.flags = read_only ? dlpack::kFlagReadOnly : 0;
}

template <class Managed>
py::object export_as(const py::object& owner, uintptr_t address, std::vector<int64_t> shape, dlpack::DataType dtype,
                     dlpack::Device device, bool read_only) {
  auto exported = std::make_unique<Export<Managed>>();
  exported->shape = std::move(shape);
  exported->strides.assign(exported->shape.size(), 1);
  for (size_t i = exported->shape.size(); i-- > 1;) {
    exported->strides[i - 1] = exported->strides[i] * exported->shape[i];
  }
  Managed& managed = exported->managed;
  set_header(managed, read_only);
  managed.manager_ctx = exported.get();
  managed.deleter = release<Managed>;
  managed.dl_tensor = {reinterpret_cast<void*>(address),
                       device,
                       static_cast<int32_t>(exported->shape.size()),
                       dtype,
                       exported->shape.data(),
                       exported->strides.data(),
                       0};
  PyObject* capsule = PyCapsule_New(&managed, Capsule<Managed>::kName, destroy_capsule<Managed>);
  if (capsule == nullptr) {
    throw py::error_already_set();
  }
  exported->owner = owner.inc_ref().ptr();
  exported.release();  // the capsule has it now
  return py::reinterpret_steal<py::object>(capsule);
}

py::object export_dlpack(const py::object& owner, uintptr_t address, std::vector<int64_t> shape,
                         const std::string& dtype, std::pair<int, int> device, bool versioned, bool read_only) {
  for (const int64_t size : shape) {
    check<ArgumentError>(size >= 0, "shape holds the negative size ", size);
  }
  check<ArgumentError>(versioned || !read_only, "a legacy DLPack capsule cannot say that it is read-only");
  const dlpack::DataType type = data_type(dtype);
  const dlpack::Device where{device.first, device.second};
  return versioned ? export_as<ManagedTensorVersioned>(owner, address, std::move(shape), type, where, read_only)
                   : export_as<ManagedTensor>(owner, address, std::move(shape), type, where, read_only);
}

/// What a capsule says of its tensor. The capsule is not consumed: the tensor stays the producer's.
struct View {
  uintptr_t address = 0;
  std::vector<int64_t> shape;
  std::string dtype;
  std::pair<int, int> device;
  bool contiguous = true, read_only = false;
};

std::string name_of(dlpack::DataType type) {
  const char* kind = type.code == dlpack::kUint     ? "uint"
                     : type.code == dlpack::kFloat  ? "float"
                     : type.code == dlpack::kBfloat ? "bfloat"
                                                    : "other";
  return kind + std::to_string(type.bits) + (type.lanes == 1 ? "" : "x" + std::to_string(type.lanes));
}

View view_of(const dlpack::Tensor& tensor, bool read_only) {
  View view;
  view.address = reinterpret_cast<uintptr_t>(tensor.data) + tensor.byte_offset;
  view.shape.assign(tensor.shape, tensor.shape + tensor.ndim);
  view.dtype = name_of(tensor.dtype);
  view.device = {tensor.device.device_type, tensor.device.device_id};
  view.read_only = read_only;
  int64_t expected = 1;
  for (int32_t i = tensor.ndim; i-- > 0 && tensor.strides != nullptr;) {
    view.contiguous = view.contiguous && (tensor.shape[i] == 1 || tensor.strides[i] == expected);
    expected *= tensor.shape[i];
  }
  return view;
}

View view_dlpack(const py::capsule& capsule) {
  if (PyCapsule_IsValid(capsule.ptr(), Capsule<ManagedTensorVersioned>::kName) != 0) {
    const auto* managed = static_cast<ManagedTensorVersioned*>(capsule.get_pointer());
    return view_of(managed->dl_tensor, (managed->flags & dlpack::kFlagReadOnly) != 0);
  }
  check<ArgumentError>(PyCapsule_IsValid(capsule.ptr(), Capsule<ManagedTensor>::kName) != 0,
                       "the capsule holds no DLPack tensor, or one that was taken already");
  return view_of(static_cast<ManagedTensor*>(capsule.get_pointer())->dl_tensor, false);
}

}  // namespace

void register_dlpack(py::module_& m) {
  using py::arg;
  py::class_<View>(m, "DlpackView", "What a DLPack capsule says of its tensor.")
      .def_readonly("address", &View::address)
      .def_readonly("shape", &View::shape)
      .def_readonly("dtype", &View::dtype)
      .def_readonly("device", &View::device)
      .def_readonly("contiguous", &View::contiguous)
      .def_readonly("read_only", &View::read_only);
  m.def("view_dlpack", &view_dlpack, arg("capsule"),
        "Looks into a DLPack capsule without consuming it; valid as long as the capsule's producer keeps the tensor.");
  m.def("export_dlpack", &export_dlpack, arg("owner"), arg("address").noconvert(), arg("shape").noconvert(),
        arg("dtype"), arg("device").noconvert(), arg("versioned"), arg("read_only"),
        "Wraps C-contiguous memory that `owner` keeps alive in a DLPack capsule, without copying.\n\n"
        "address: of the first element. dtype: uint8, float16, bfloat16 or float32. device: DLPack's (type, id), (1, "
        "0) for\n"
        "host memory. versioned: DLPack 1.x (\"dltensor_versioned\") instead of the legacy \"dltensor\". The owner is "
        "released\n"
        "when the consumer is done, or with the capsule if nobody consumes it.");
}

}  // namespace frametap
