// Conversions between our tensors and libtorch's.
#pragma once

#include <torch/script.h>

#include <deploy_snn/errors.hpp>
#include <deploy_snn/tensor.hpp>

namespace deploy_snn {

inline at::ScalarType type_of(DType dtype) { return dtype == DType::float32 ? at::kFloat : at::kBool; }

// A tensor that refers to our memory, which must outlive it.
inline at::Tensor view_of(const Tensor& tensor) {
  return at::from_blob(const_cast<std::byte*>(tensor.data.data()), tensor.shape, type_of(tensor.dtype));
}

// Copy a tensor into ours, which has its type and shape.
inline void copy_into(const at::Tensor& from, Tensor& to) { view_of(to).copy_(from); }

inline Tensor to_ours(const at::Tensor& from, DType dtype) {
  auto tensor = Tensor::zeros(dtype, from.sizes().vec());
  copy_into(from, tensor);
  return tensor;
}

// The first line of an error message of libtorch; the rest is a stack trace.
inline std::string first_line(const std::exception& error) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  const std::string text = torch_error ? torch_error->what_without_backtrace() : error.what();
  return text.substr(0, text.find('\n'));
}

}  // namespace deploy_snn
