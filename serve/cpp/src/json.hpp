#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include <deploy_snn/contract.hpp>

namespace deploy_snn {

// Parse JSON. Throws std::runtime_error with the place of the first mistake, and not with the bytes that stand there:
// they may be anything.
template <class Json = nlohmann::json>
Json parse_json(std::string_view text) {
  try {
    return Json::parse(text);
  } catch (const typename Json::parse_error& error) {
    throw std::runtime_error("no JSON, from byte " + std::to_string(error.byte) + " on");
  }
}

// A contract from its JSON. Throws std::exception for what is none.
Contract contract_from(const nlohmann::json& json);

}  // namespace deploy_snn
