// JSON, and the contract in it.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include <deploy_snn/contract.hpp>

namespace deploy_snn {

// Parse JSON. Throws std::runtime_error with the position of the first error. The message does not quote the bytes
// there, because they may be anything.
template <class Json = nlohmann::json>
Json parse_json(std::string_view text) {
  // The parser skips a byte order mark, which JSON does not allow (RFC 8259, section 8.1).
  if (text.starts_with("\xef\xbb\xbf")) throw std::runtime_error("invalid JSON at byte 1");
  try {
    return Json::parse(text);
  } catch (const typename Json::parse_error& error) {
    throw std::runtime_error("invalid JSON at byte " + std::to_string(error.byte));
  }
}

// A contract from its JSON, of this version or an earlier one. Throws std::runtime_error for a newer version and for an
// invalid contract.
Contract contract_from(const nlohmann::json& json);

// The JSON of a contract of any version up to `newest`, as version `newest` (contract_v1.cpp). Throws
// std::runtime_error for a newer version, a version that is not a whole number, and JSON of version 1 with fields of
// version 2. Other errors are left for `contract_from` to report.
nlohmann::json upgrade_contract(nlohmann::json json, int newest);

}  // namespace deploy_snn
