// Kinds of CPU, by the names that bundles use for compiled code.
#pragma once

#include <string>
#include <vector>

namespace deploy_snn {

// The kinds of CPU whose code runs here, the fastest first: "x86-64-v3" (AVX2 and FMA), "x86-64", "aarch64".
std::vector<std::string> cpus_here();

// Whether code for this kind of CPU runs here.
bool runs_here(const std::string& cpu);

}  // namespace deploy_snn
