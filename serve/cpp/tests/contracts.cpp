// Parse or compare contract files, and print the results as JSON, a line each. A test compares them with Python's.
//   contracts parse FILE...                        {"contract": {...}}, without prose, or {"refused": "why"}
//   contracts differences EXPECTED ACTUAL ...      ["what differs", ...] for each pair
#include <cstdio>
#include <string>

#include <deploy_snn/contract.hpp>
#include <deploy_snn/errors.hpp>

#include "../src/files.hpp"
#include "../src/json.hpp"

using namespace deploy_snn;
using Json = nlohmann::ordered_json;

namespace {

Json json_of(const TensorSpec& spec) {
  auto axes = Json::array();
  for (const auto& axis : spec.axes)
    axes.push_back({{"name", axis.name}, {"size", axis.size ? Json(*axis.size) : Json()}});
  return {{"name", spec.name},
          {"role", to_string(spec.role)},
          {"kind", spec.kind ? Json(to_string(*spec.kind)) : Json()},
          {"dtype", to_string(spec.dtype)},
          {"axes", axes},
          {"owner", spec.owner}};
}

Json json_of(const std::vector<TensorSpec>& specs) {
  auto all = Json::array();
  for (const auto& spec : specs) all.push_back(json_of(spec));
  return all;
}

Json json_of(const Contract& contract) {
  auto rounding = Json::array();
  for (const auto& [tensor, operation] : contract.rounding)
    rounding.push_back({{"tensor", tensor}, {"operation", to_string(operation)}});
  return {{"contract_version", kContractVersion}, {"dt", contract.dt},
          {"tensors", json_of(contract.tensors)}, {"rounding", rounding},
          {"inputs", json_of(contract.inputs)},   {"states", json_of(contract.states)},
          {"outputs", json_of(contract.outputs)}};
}

Json parsed(const char* path) {
  try {
    return {{"contract", json_of(Contract::parse(read_file(path), path))}};
  } catch (const InvalidInput& error) {
    return {{"refused", error.what()}};
  }
}

// A message may quote bytes that are not UTF-8.
void print(const Json& json) { std::puts(json.dump(-1, ' ', false, Json::error_handler_t::replace).c_str()); }

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "";
  if (command == "parse") {
    for (int i = 2; i < argc; ++i) print(parsed(argv[i]));
  } else if (command == "differences" && argc % 2 == 0) {
    for (int i = 2; i < argc; i += 2)
      print(differences(Contract::parse(read_file(argv[i]), argv[i]),
                        Contract::parse(read_file(argv[i + 1]), argv[i + 1])));
  } else {
    return 2;
  }
}
