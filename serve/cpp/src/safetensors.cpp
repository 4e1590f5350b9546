// The safetensors format: eight bytes with the length of a JSON header, the header, and the data of all tensors.
#include <algorithm>
#include <cstring>
#include <span>
#include <stdexcept>

#include <deploy_snn/errors.hpp>
#include <deploy_snn/tensor.hpp>

#include "files.hpp"
#include "json.hpp"

namespace deploy_snn {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kLength = sizeof(std::uint64_t);

DType dtype_of(const std::string& name) {
  if (name == "F32") return DType::float32;
  if (name == "BOOL") return DType::boolean;
  throw std::runtime_error("element type " + name + "; expected F32 or BOOL");
}

struct Entry {
  std::string name;
  std::size_t begin, end;
};

// Read one tensor. `data` are the data of all tensors in the file.
Tensor parse_tensor(const Json& described, const std::string& name, std::span<const char> data,
                    std::vector<Entry>& entries) {
  const auto dtype = dtype_of(described.at("dtype").get<std::string>());
  Shape shape;
  for (const auto& size : described.at("shape")) {
    if (!size.is_number_unsigned() || size.get<std::uint64_t>() > INT64_MAX)
      throw std::runtime_error("tensor '" + name + "' has an invalid shape");
    shape.push_back(size.get<std::int64_t>());
  }
  const auto& offsets = described.at("data_offsets");
  if (offsets.size() != 2 || !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned())
    throw std::runtime_error("tensor '" + name + "' has invalid offsets");
  const auto begin = offsets[0].get<std::size_t>(), end = offsets[1].get<std::size_t>();
  std::int64_t bytes = 0;
  if (begin > end || end > data.size() || __builtin_mul_overflow(count(shape), size_of(dtype), &bytes) ||
      static_cast<std::size_t>(bytes) != end - begin)
    throw std::runtime_error("tensor '" + name + "' has offsets for another number of bytes");
  const auto held = std::as_bytes(data.subspan(begin, end - begin));
  Tensor tensor{dtype, std::move(shape), std::vector<std::byte>(held.begin(), held.end())};
  if (dtype == DType::boolean && std::ranges::any_of(held, [](std::byte b) { return b > std::byte{1}; }))
    throw std::runtime_error("tensor '" + name + "' is bool and has bytes that are neither 0 nor 1");
  entries.push_back({name, begin, end});
  return tensor;
}

Tensors parse(std::span<const char> file) {
  std::uint64_t length = 0;
  if (file.size() < kLength) throw std::runtime_error("it is too short");
  std::memcpy(&length, file.data(), kLength);
  if (length > file.size() - kLength) throw std::runtime_error("its header is longer than the file");
  const auto header = file.subspan(kLength, length), data = file.subspan(kLength + length);
  Tensors tensors;
  std::vector<Entry> entries;
  const auto described = parse_json<Json>({header.data(), header.size()});
  if (!described.is_object()) throw std::runtime_error("its header is not an object");
  for (const auto& [name, entry] : described.items())
    if (name != "__metadata__" && !tensors.emplace(name, parse_tensor(entry, name, data, entries)).second)
      throw std::runtime_error("tensor '" + name + "' occurs twice");
  // The tensors cover all data, without gaps and overlaps.
  std::ranges::sort(entries, {}, [](const Entry& entry) { return std::pair(entry.begin, entry.end); });
  std::size_t covered = 0;
  for (const auto& entry : entries) {
    if (entry.begin != covered)
      throw std::runtime_error("tensor '" + entry.name + "' does not begin where the previous one ends");
    covered = entry.end;
  }
  if (covered != data.size()) throw std::runtime_error("it has bytes after its last tensor");
  return tensors;
}

}  // namespace

Tensors read_tensors(const std::filesystem::path& path) {
  const auto bytes = read_file(path);
  try {
    return parse(bytes);
  } catch (const std::exception& error) {
    throw InvalidInput(path.string() + " cannot be read as .safetensors: " + error.what());
  }
}

void write_tensors(const std::filesystem::path& path, const Tensors& tensors) {
  // In the order of Python's safetensors: larger elements first, then by name.
  std::vector<const Tensors::value_type*> ordered;
  for (const auto& entry : tensors) ordered.push_back(&entry);
  std::ranges::stable_sort(ordered, std::greater{}, [](const auto* entry) { return size_of(entry->second.dtype); });
  Json header = Json::object();
  std::size_t offset = 0;
  for (const auto* entry : ordered) {
    const auto& [name, tensor] = *entry;
    header[name] = {{"dtype", tensor.dtype == DType::float32 ? "F32" : "BOOL"},
                    {"shape", tensor.shape},
                    {"data_offsets", {offset, offset + tensor.data.size()}}};
    offset += tensor.data.size();
  }
  std::string text = header.dump();
  text.resize((text.size() + kLength - 1) / kLength * kLength, ' ');
  const std::uint64_t length = text.size();
  std::string bytes(reinterpret_cast<const char*>(&length), kLength);
  bytes += text;
  for (const auto* entry : ordered)
    bytes.append(reinterpret_cast<const char*>(entry->second.data.data()), entry->second.data.size());
  write_file(path, bytes);
}

}  // namespace deploy_snn
