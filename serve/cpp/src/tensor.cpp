#include <stdexcept>

#include <deploy_snn/tensor.hpp>

namespace deploy_snn {

std::size_t size_of(DType dtype) { return dtype == DType::float32 ? sizeof(float) : sizeof(bool); }

std::string to_string(DType dtype) { return dtype == DType::float32 ? "float32" : "bool"; }

std::int64_t count(const Shape& shape) {
  std::int64_t product = 1;
  for (auto size : shape)
    if (__builtin_mul_overflow(product, size, &product)) throw std::length_error("a shape has too many elements");
  return product;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (auto size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

Tensor Tensor::zeros(DType dtype, Shape shape) {
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(count(shape), size_of(dtype), &bytes))
    throw std::length_error("a shape has too many elements");
  return {dtype, std::move(shape), std::vector<std::byte>(bytes)};
}

namespace {

template <class T>
auto elements(auto& data, DType dtype, DType wanted) {
  if (dtype != wanted) throw std::logic_error("a " + to_string(dtype) + " tensor is read as " + to_string(wanted));
  return std::span(reinterpret_cast<T*>(data.data()), data.size() / sizeof(T));
}

}  // namespace

std::span<float> Tensor::floats() { return elements<float>(data, dtype, DType::float32); }
std::span<const float> Tensor::floats() const { return elements<const float>(data, dtype, DType::float32); }
std::span<bool> Tensor::bools() { return elements<bool>(data, dtype, DType::boolean); }
std::span<const bool> Tensor::bools() const { return elements<const bool>(data, dtype, DType::boolean); }

Tensor at(const Tensor& sequence, std::int64_t step) {
  Tensor now = Tensor::zeros(sequence.dtype, Shape(sequence.shape.begin() + 1, sequence.shape.end()));
  const auto begin = sequence.data.begin() + static_cast<std::ptrdiff_t>(now.data.size()) * step;
  now.data.assign(begin, begin + static_cast<std::ptrdiff_t>(now.data.size()));
  return now;
}

}  // namespace deploy_snn
