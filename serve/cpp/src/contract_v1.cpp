// Contracts of version 1, as JSON, to version 2: the counterpart of deploy_snn/contract_v1.py.
//
// Version 1 had no version number, no kinds and no owners, and its `rounding` was prose. They are derived from
// the names and texts of version 1, here and nowhere else.
#include <map>

#include "json.hpp"

namespace deploy_snn {

namespace {

using Json = nlohmann::json;

const std::map<std::string, const char*> kKindByName = {
    {"v", "potential"},       {"i", "current"},          {"u", "recovery"},        {"refrac_count", "counter"},
    {"theta", "threshold"},   {"trace", "trace"},        {"rates", "trace"},       {"summed", "sum"},
    {"previous", "previous"}, {"last_spikes", "window"}, {"past_drives", "window"}};
constexpr std::string_view kRecorded = "record.";

// The text before the last separator ("" if there is none), and the text after it.
std::pair<std::string, std::string> split(const std::string& text, std::string_view separator) {
  const auto place = text.rfind(separator);
  if (place == std::string::npos) return {"", text};
  return {text.substr(0, place), text.substr(place + separator.size())};
}

Json tensor(const Json& given, const std::string& place) {
  auto spec = given;
  if (!spec.is_object()) return spec;
  for (const auto* field : {"kind", "owner"})
    if (spec.contains(field)) throw std::runtime_error(place + "." + field + ": contract version 1 has no such field");
  if (!spec.contains("name") || !spec["name"].is_string()) return spec;
  auto name = spec["name"].get<std::string>();
  const auto role = spec.value("role", Json());
  if (role == "record" && name.starts_with(kRecorded)) name.erase(0, kRecorded.size());
  const auto [owner, leaf] = split(name, ".");
  spec["owner"] = owner;
  const auto kind = kKindByName.find(leaf);
  if (role == "state")
    spec["kind"] = kind == kKindByName.end() ? "other" : kind->second;
  else
    spec["kind"] = nullptr;
  return spec;
}

// "X_to_exc: a dense connection's sum", "out: the two exponentials of the spike probability", or one without an owner.
Json rounding(const Json& text, const std::string& place) {
  if (!text.is_string()) throw std::runtime_error(place + ": contract version 1 has a string here");
  const auto [owner, sentence] = split(text.get<std::string>(), ": ");
  const auto of_owner = [&owner = owner](const char* name) { return owner.empty() ? name : owner + "." + name; };
  if (sentence.find("exponential") != std::string::npos) return {{"tensor", of_owner("s")}, {"operation", "exp"}};
  if (sentence.find("recurrent sum") != std::string::npos) return {{"tensor", of_owner("v")}, {"operation", "sum"}};
  return {{"tensor", owner.empty() ? "s" : owner}, {"operation", "sum"}};
}

Json upgraded(const Json& entries, const char* field, Json (*upgrade)(const Json&, const std::string&)) {
  auto all = Json::array();
  for (std::size_t i = 0; i < entries.size(); ++i)
    all.push_back(upgrade(entries[i], field + ("." + std::to_string(i))));
  return all;
}

}  // namespace

Json upgrade_contract(Json json, int newest) {
  if (!json.is_object()) return json;
  if (const auto version = json.find("contract_version"); version != json.end()) {
    if (!version->is_number_integer()) throw std::runtime_error("contract_version: it is not a whole number");
    if (*version > newest)
      throw std::runtime_error("it has contract version " + version->dump() + ", and this host reads versions 1 to " +
                               std::to_string(newest) + ": build a newer host");
    return json;
  }
  json["contract_version"] = newest;
  if (json.contains("tensors") && json["tensors"].is_array())
    json["tensors"] = upgraded(json["tensors"], "tensors", tensor);
  if (json.contains("rounding") && json["rounding"].is_array())
    json["rounding"] = upgraded(json["rounding"], "rounding", rounding);
  return json;
}

}  // namespace deploy_snn
