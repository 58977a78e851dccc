// Two simulated accelerators: memory of their own kind, on which the CPU's kernels work.
//
// A tensor of this device cannot be mixed with the CPU's or the other's, as on a GPU: what is left behind or made in the
// wrong place raises. Operators read the same memory through CPU tensors, without copies. Counted are the times that
// the host would wait for the device, operators, and memory.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_cpu_dispatch.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <pybind11/pybind11.h>
#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <set>
#include <string>

namespace {

constexpr auto KIND = c10::DeviceType::PrivateUse1;
constexpr int DEVICES = 2;

thread_local c10::DeviceIndex current = 0;
std::atomic<int64_t> waits{0}, operators{0}, held[DEVICES], peak[DEVICES];

// Operators whose result, or its shape, the host reads.
const std::set<std::string> WAITING = {"aten::nonzero", "aten::masked_select", "aten::equal", "aten::is_nonzero",
                                       "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive"};

// A block of memory begins with what is needed to give it back.
struct Block {
  size_t bytes;
  c10::DeviceIndex device;
};
constexpr size_t HEAD = 64;

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device(KIND, current);
    if (bytes == 0) return {nullptr, nullptr, &give_back, device};
    void* whole = std::aligned_alloc(HEAD, (bytes + 2 * HEAD - 1) / HEAD * HEAD);
    TORCH_CHECK(whole, "simulated accelerator: out of memory");
    *static_cast<Block*>(whole) = {bytes, current};
    const int64_t now = held[current] += static_cast<int64_t>(bytes);
    if (now > peak[current]) peak[current] = now;
    return {static_cast<char*>(whole) + HEAD, whole, &give_back, device};
  }
  static void give_back(void* whole) {
    if (!whole) return;
    const auto* block = static_cast<Block*>(whole);
    held[block->device] -= static_cast<int64_t>(block->bytes);
    std::free(whole);
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { std::memcpy(to, from, bytes); }
};
Memory memory;

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return KIND; }
  c10::Device exchangeDevice(c10::Device device) const override {
    const c10::Device before(KIND, current);
    if (device.has_index()) current = device.index();
    return before;
  }
  c10::Device getDevice() const override { return {KIND, current}; }
  void setDevice(c10::Device device) const override {
    if (device.has_index()) current = device.index();
  }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    if (device.has_index()) current = device.index();
  }
  c10::Stream getStream(c10::Device device) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream getNewStream(c10::Device device, int) const override {
    return c10::Stream(c10::Stream::DEFAULT, device);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    return c10::Stream(c10::Stream::DEFAULT, stream.device());
  }
  c10::DeviceIndex deviceCount() const noexcept override { return DEVICES; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override { ++waits; }
  void synchronizeEvent(void*) const override { ++waits; }
  void recordDataPtrOnStream(const c10::DataPtr&, const c10::Stream&) const override {}
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return DEVICES; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    static auto generator = at::make_generator<at::CPUGeneratorImpl>();
    return generator;
  }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return at::make_generator<at::CPUGeneratorImpl>(); }
};
Hooks hooks;

bool here(const at::Tensor& x) { return x.defined() && x.device().type() == KIND; }

// The same memory as a CPU tensor; of an empty one another, which can be resized.
at::Tensor as_cpu(const at::Tensor& x) {
  if (!here(x)) return x;
  const auto options = at::TensorOptions().dtype(x.scalar_type()).device(at::kCPU);
  auto made = x.numel() ? at::from_blob(x.data_ptr(), x.sizes(), x.strides(), options)
                        : at::empty_strided(x.sizes(), x.strides(), options);
  if (x.unsafeGetTensorImpl()->is_wrapped_number()) made.unsafeGetTensorImpl()->set_wrapped_number(true);
  return made;
}

at::Tensor empty_strided(c10::IntArrayRef sizes, c10::IntArrayRef strides, std::optional<at::ScalarType> dtype,
                         std::optional<at::Layout>, std::optional<c10::Device> device, std::optional<bool>) {
  const c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_strided_generic(sizes, strides, &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                           c10::dtype_or_default(dtype));
}

at::Tensor empty(c10::IntArrayRef sizes, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                 std::optional<c10::Device> device, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  const c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_generic(sizes, &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                   c10::dtype_or_default(dtype), format);
}

at::Tensor on_device(const at::Tensor& x, c10::Device device) {
  if (!x.defined() || here(x)) return x;
  auto made = empty_strided(x.sizes(), x.strides(), x.scalar_type(), {}, device, {});
  const auto bytes = at::detail::computeStorageNbytes(x.sizes(), x.strides(), x.element_size());
  if (x.numel()) std::memcpy(made.data_ptr(), x.data_ptr(), bytes);
  return made;
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool non_blocking) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  // A copy to the host is waited for; so is one from memory that is not pinned, unless the caller says otherwise.
  if (from.device() != to.device() && !(here(to) && non_blocking)) ++waits;
  ++operators;
  as_cpu(to).copy_(as_cpu(from));
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  to.resize_(from.sizes());
  return copy_from(from, to, false);
}

at::Scalar local_scalar_dense(const at::Tensor& x) {
  ++waits;
  return as_cpu(x).item();
}

at::Tensor view(const at::Tensor& x, c10::SymIntArrayRef sizes) {
  return at::native::view(x, C10_AS_INTARRAYREF_SLOW(sizes));
}

at::Tensor as_strided(const at::Tensor& x, c10::SymIntArrayRef sizes, c10::SymIntArrayRef strides,
                      std::optional<c10::SymInt> offset) {
  const auto start = offset ? std::optional<int64_t>(offset->expect_int()) : std::nullopt;
  return at::native::as_strided_tensorimpl(x, C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides), start);
}

at::Tensor reshape_alias(const at::Tensor& x, c10::SymIntArrayRef sizes, c10::SymIntArrayRef strides) {
  return at::native::_reshape_alias(x, C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides));
}

const at::Tensor& resize(const at::Tensor& x, c10::SymIntArrayRef sizes, std::optional<at::MemoryFormat> format) {
  return at::native::resize_(x, C10_AS_INTARRAYREF_SLOW(sizes), format);
}

at::Tensor& set_storage(at::Tensor& x, at::Storage storage, c10::SymInt offset, c10::SymIntArrayRef sizes,
                        c10::SymIntArrayRef strides) {
  return at::cpu::set_(x, storage, offset.expect_int(), C10_AS_INTARRAYREF_SLOW(sizes),
                       C10_AS_INTARRAYREF_SLOW(strides));
}

at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                       at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed,
                       at::IntArrayRef output_padding, int64_t groups) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  const auto shift = bias && bias->defined() ? std::optional<at::Tensor>(as_cpu(*bias)) : std::nullopt;
  const auto made = at::convolution(as_cpu(x), as_cpu(weight), shift, stride, padding, dilation, transposed,
                                    output_padding, groups);
  ++operators;
  return on_device(made, x.device());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight, at::IntArrayRef stride,
    at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed, at::IntArrayRef output_padding, int64_t groups,
    std::array<bool, 3> wanted) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  const std::vector<int64_t> channels = {weight.size(transposed ? 1 : 0) * (transposed ? groups : 1)};
  const auto made = at::convolution_backward(as_cpu(grad), as_cpu(x), as_cpu(weight), channels, stride, padding,
                                             dilation, transposed, output_padding, groups, wanted);
  ++operators;
  return {on_device(std::get<0>(made), x.device()), on_device(std::get<1>(made), x.device()),
          on_device(std::get<2>(made), x.device())};
}

// The tensors among an argument's values.
std::vector<at::Tensor> tensors_of(const c10::IValue& value) {
  if (value.isTensor()) return {value.toTensor()};
  if (value.isTensorList()) return value.toTensorVector();
  std::vector<at::Tensor> tensors;
  if (value.isOptionalTensorList())
    for (const std::optional<at::Tensor>& one : value.toOptionalTensorVector())
      if (one) tensors.push_back(*one);
  return tensors;
}

// The argument with its tensors as the CPU's.
c10::IValue argument_as_cpu(const c10::IValue& value) {
  if (value.isTensor()) return as_cpu(value.toTensor());
  if (value.isDevice() && value.toDevice().type() == KIND) return c10::Device(c10::kCPU);
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& one : value.toTensorVector()) list.push_back(as_cpu(one));
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> list;
    for (const std::optional<at::Tensor>& one : value.toOptionalTensorVector())
      list.push_back(one ? std::optional<at::Tensor>(as_cpu(*one)) : std::nullopt);
    return list;
  }
  return value;
}

// The device that an operator works on; the CPU's scalars may be mixed in, and its indices.
c10::Device device_of(const std::string& name, const std::vector<c10::IValue>& arguments) {
  std::optional<c10::Device> found;
  for (const auto& argument : arguments) {
    if (argument.isDevice() && argument.toDevice().type() == KIND && !found) found = argument.toDevice();
    for (const auto& one : tensors_of(argument)) {
      if (!here(one)) continue;
      TORCH_CHECK(!found || !found->has_index() || *found == one.device(), name,
                  ": Expected all tensors to be on the same device, but found ", *found, " and ", one.device());
      found = one.device();
    }
  }
  const bool indices = name.rfind("aten::index", 0) == 0 || name.rfind("aten::_index", 0) == 0;
  for (const auto& argument : arguments)
    for (const auto& one : tensors_of(argument))
      TORCH_CHECK(!one.defined() || here(one) || one.dim() == 0 || indices, name,
                  ": Expected all tensors to be on the same device, but found ", found.value_or(c10::Device(KIND)),
                  " and ", one.device());
  return found && found->has_index() ? *found : c10::Device(KIND, current);
}

// A tensor that an operator resized has other memory then.
void take_over(const at::Tensor& own, const at::Tensor& made) {
  if (!here(own) || (own.sizes() == made.sizes() && (own.numel() == 0 || own.data_ptr() == made.data_ptr()))) return;
  own.resize_(made.sizes());
  as_cpu(own).copy_(made);
}

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  const auto& schema = op.schema();
  const auto& name = schema.name();
  const auto count = schema.arguments().size();
  const std::vector<c10::IValue> given(stack->end() - static_cast<int64_t>(count), stack->end());
  const auto device = device_of(name, given);
  ++operators;
  if (WAITING.count(name)) ++waits;
  if (name == "aten::index")
    for (const auto& one : tensors_of(given[1]))
      if (one.scalar_type() == at::kBool || one.scalar_type() == at::kByte) ++waits;
  stack->resize(stack->size() - count);
  std::vector<c10::IValue> read;
  for (const auto& argument : given) read.push_back(argument_as_cpu(argument));
  stack->insert(stack->end(), read.begin(), read.end());
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  for (size_t at = 0; at < count; ++at) {
    const auto* alias = schema.arguments()[at].alias_info();
    if (!alias || !alias->isWrite()) continue;
    const auto own = tensors_of(given[at]), made = tensors_of(read[at]);
    for (size_t one = 0; one < own.size(); ++one) take_over(own[one], made[one]);
  }
  const auto first = stack->size() - schema.returns().size();
  for (size_t at = 0; at < schema.returns().size(); ++at) {
    auto& result = (*stack)[first + at];
    const auto* alias = schema.returns()[at].alias_info();
    if (alias) {
      TORCH_CHECK(alias->isWrite(), name, ": a view that the simulated accelerator does not know");
      for (size_t argument = 0; argument < count; ++argument) {
        const auto* other = schema.arguments()[argument].alias_info();
        if (other && other->isWrite() && other->beforeSets() == alias->beforeSets()) result = given[argument];
      }
    } else if (result.isTensor()) {
      result = on_device(result.toTensor(), device);
    } else if (result.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& one : result.toTensorVector()) list.push_back(on_device(one, device));
      result = list;
    }
  }
}

}  // namespace

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("_local_scalar_dense", &local_scalar_dense);
  m.impl("view", &view);
  m.impl("as_strided", &as_strided);
  m.impl("_reshape_alias", &reshape_alias);
  m.impl("resize_", &resize);
  m.impl("set_.source_Tensor", &at::native::set_tensor_);
  m.impl("set_.source_Storage", &at::native::set_);
  m.impl("set_.source_Storage_storage_offset", &set_storage);
  m.impl("unfold", &at::native::unfold);
  m.impl("alias", &at::native::alias);
  m.impl("convolution_overrideable", &convolution);
  m.impl("convolution_backward_overrideable", &convolution_backward);
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("install", []() {
    c10::SetAllocator(KIND, &memory);
    at::RegisterPrivateUse1HooksInterface(&hooks);
  });
  m.def("device", []() { return static_cast<int>(current); });
  m.def("set_device", [](int number) { current = static_cast<c10::DeviceIndex>(number); });
  m.def("waits", []() { return waits.load(); });
  m.def("operators", []() { return operators.load(); });
  m.def("held", [](int number) { return held[number].load(); });
  m.def("peak", [](int number) { return peak[number].load(); });
}
