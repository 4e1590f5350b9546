#pragma once

#include <nlohmann/json_fwd.hpp>

#include <deploy_snn/contract.hpp>

namespace deploy_snn {

// A contract from its JSON. Throws std::exception for what is none.
Contract contract_from(const nlohmann::json& json);

}  // namespace deploy_snn
