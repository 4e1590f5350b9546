// Named tensors, in memory and in .safetensors files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace deploy_snn {

enum class DType { float32, boolean };

std::size_t size_of(DType dtype);
std::string to_string(DType dtype);

using Shape = std::vector<std::int64_t>;

// The number of elements of a shape; 1 for a scalar.
std::int64_t count(const Shape& shape);
std::string to_string(const Shape& shape);

// A tensor that owns its memory, row-major.
struct Tensor {
  DType dtype = DType::float32;
  Shape shape;
  std::vector<std::byte> data;

  static Tensor zeros(DType dtype, Shape shape);

  // Its elements. Throws std::logic_error for a tensor of another type.
  std::span<float> floats();
  std::span<const float> floats() const;
  std::span<bool> bools();
  std::span<const bool> bools() const;

  bool operator==(const Tensor&) const = default;
};

using Tensors = std::map<std::string, Tensor>;

// Step `step` of a sequence: the slice at this index of its leading axis.
Tensor at(const Tensor& sequence, std::int64_t step);

// Read every tensor of a file. Throws InvalidInput if it is missing, damaged, or holds other types than float32 and
// bool.
Tensors read_tensors(const std::filesystem::path& path);

// Write tensors under their names, atomically. The bytes are those that Python's safetensors writes.
void write_tensors(const std::filesystem::path& path, const Tensors& tensors);

}  // namespace deploy_snn
