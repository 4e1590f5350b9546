#include <openssl/evp.h>

#include <deploy_snn/bundle.hpp>
#include <deploy_snn/errors.hpp>

#include "files.hpp"
#include "json.hpp"

namespace deploy_snn {

namespace {

constexpr int kSchema = 2;  // the newest manifest schema that this host reads; it also reads all earlier ones

std::string sha256(std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest, &length, EVP_sha256(), nullptr) != 1)
    throw std::runtime_error("this OpenSSL does not support SHA-256");
  std::string hex;
  for (unsigned int i = 0; i < length; ++i) {
    hex += "0123456789abcdef"[digest[i] >> 4];
    hex += "0123456789abcdef"[digest[i] & 15];
  }
  return hex;
}

// A tensor of one row, repeated for `batch` rows.
Tensor repeated(const Tensor& row, const TensorSpec& spec, std::int64_t batch) {
  const auto axis = spec.batch_axis();
  if (!axis) return row;
  auto tensor = Tensor::zeros(row.dtype, spec.shape({{"batch", batch}}));
  const auto outer =
      static_cast<std::size_t>(count(Shape(row.shape.begin(), row.shape.begin() + static_cast<long>(*axis))));
  const auto inner = row.data.size() / outer;
  auto to = tensor.data.begin();
  for (std::size_t i = 0; i < outer; ++i)
    for (std::int64_t copy = 0; copy < batch; ++copy)
      to = std::copy_n(row.data.begin() + static_cast<long>(i * inner), inner, to);
  return tensor;
}

// The section of format c, if there is a valid one.
std::optional<CompiledModel> compiled_in(const nlohmann::json& manifest) {
  const auto formats = manifest.find("formats");
  if (formats == manifest.end() || !formats->is_object()) return std::nullopt;
  const auto section = formats->find("c");
  if (section == formats->end() || !section->is_object()) return std::nullopt;
  const auto prefix = section->find("prefix"), weights = section->find("weights");
  if (prefix == section->end() || !prefix->is_string() || weights == section->end() || !weights->is_string())
    return std::nullopt;
  return CompiledModel{prefix->get<std::string>(), weights->get<std::string>()};
}

}  // namespace

Bundle::Bundle(std::filesystem::path path) : path_(std::move(path)) {
  if (!std::filesystem::is_directory(path_))
    throw InvalidInput(path_.string() + " is not a bundle: the folder does not exist");
  const auto manifest = path_ / "manifest.json";
  if (!std::filesystem::exists(manifest))
    throw InvalidInput(path_.string() + " is not a bundle: it has no manifest.json");
  nlohmann::json json;
  try {
    json = parse_json(read_file(manifest));
    const auto& schema = json.at("schema_version");
    if (!schema.is_number_integer() || schema < 1)
      throw std::runtime_error("schema_version is not a whole number of at least 1");
    if (schema > kSchema)
      throw InvalidInput(manifest.string() + " has schema " + schema.dump() + ", and this host reads schemas up to " +
                         std::to_string(kSchema) + ": build a newer host");
    name_ = json.at("name").get<std::string>();
    const auto& golden = json.at("golden");
    if (!golden.is_null() && !golden.is_object()) throw std::runtime_error("golden is neither an object nor null");
    has_golden_ = golden.is_object();
    for (const auto& [file, recorded] : json.at("files").items()) {
      if (std::filesystem::path(file).filename() != file || file == "..")
        throw std::runtime_error("it names a file outside the bundle: " + file);
      files_[file] = {recorded.at("bytes").get<std::uintmax_t>(), recorded.at("sha256").get<std::string>()};
    }
    compiled_ = compiled_in(json);
    json = json.at("contract");
  } catch (const InvalidInput&) {
    throw;
  } catch (const std::exception& error) {
    throw InvalidInput(manifest.string() + " is damaged: " + error.what());
  }
  try {
    contract_ = contract_from(json);
  } catch (const std::exception& error) {
    throw InvalidInput(manifest.string() + " holds no valid contract: " + error.what());
  }
}

std::filesystem::path Bundle::file(const std::string& name) const {
  const auto recorded = files_.find(name);
  if (recorded == files_.end()) {
    std::string held;
    for (const auto& [file, _] : files_) held += (held.empty() ? "" : ", ") + file;
    throw InvalidInput(path_.string() + " has no " + name + ", only " + held + ": export the model with that format");
  }
  const auto path = path_ / name;
  if (!std::filesystem::exists(path))
    throw InvalidInput(path.string() + " is missing, but the manifest lists it: export the model again");
  const auto bytes = read_file(path);
  if (bytes.size() != recorded->second.bytes)
    throw InvalidInput(path.string() + " has " + std::to_string(bytes.size()) + " bytes, not " +
                       std::to_string(recorded->second.bytes) + ": truncated or changed; export the model again");
  if (sha256(bytes) != recorded->second.sha256)
    throw InvalidInput(path.string() + " has changed since the export (SHA-256 differs): export the model again");
  return path;
}

const CompiledModel& Bundle::compiled() const {
  if (!compiled_)
    throw InvalidInput(path_.string() + ": the manifest has no valid section 'c': export the model again");
  return *compiled_;
}

void Bundle::check_contract(const Contract& inside, const std::filesystem::path& file) const {
  std::string found;
  for (const auto& difference : differences(contract_, inside)) found += (found.empty() ? "" : "; ") + difference;
  if (!found.empty()) throw InvalidInput("the contract of " + file.string() + " differs from the manifest: " + found);
}

State Bundle::initial_state(std::int64_t batch) const {
  if (batch < 1) throw InvalidInput("batch " + std::to_string(batch) + ": expected at least 1");
  const auto row = State::load(contract_, file("initial_state.safetensors"));
  Tensors tensors;
  for (const auto& spec : contract_.states) tensors[spec.name] = repeated(row.tensors().at(spec.name), spec, batch);
  return {contract_, std::move(tensors), batch};
}

Golden Bundle::golden() const {
  if (!has_golden_)
    throw InvalidInput(path_.string() + " has no golden trace: export it again with one, to check a host with it");
  const auto path = file("golden.safetensors");
  Golden golden;
  std::map<std::string, Tensors*> groups = {
      {"start", &golden.start}, {"inputs", &golden.inputs}, {"outputs", &golden.outputs}, {"states", &golden.states}};
  for (auto& [name, tensor] : read_tensors(path)) {
    const auto slash = name.find('/');
    const auto group = groups.find(name.substr(0, slash));
    if (slash == std::string::npos || group == groups.end())
      throw InvalidInput(path.string() + " contains '" + name +
                         "'; expected names such as inputs/x: this is not a recorded run");
    group->second->emplace(name.substr(slash + 1), std::move(tensor));
  }
  auto sizes = check(in_time(contract_.inputs), golden.inputs, "golden input");
  sizes = check(contract_.states, golden.start, "golden start", sizes);
  sizes = check(in_time(contract_.outputs), golden.outputs, "golden output", sizes);
  check(in_time(contract_.states), golden.states, "golden state", sizes);
  return golden;
}

}  // namespace deploy_snn
