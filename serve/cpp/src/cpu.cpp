#include "cpu.hpp"

#include <algorithm>

namespace deploy_snn {

std::vector<std::string> cpus_here() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v3")) return {"x86-64-v3", "x86-64"};
  return {"x86-64"};
#elif defined(__aarch64__)
  return {"aarch64", "arm64"};  // arm64 is macOS's name for it
#else
  return {};
#endif
}

bool runs_here(const std::string& cpu) {
  const auto here = cpus_here();
  return std::ranges::find(here, cpu) != here.end();
}

}  // namespace deploy_snn
