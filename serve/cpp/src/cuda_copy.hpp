// Copies between the host and a CUDA device, with the CUDA runtime that a provider of this process has loaded.
#pragma once

#include <cstddef>

namespace deploy_snn {

// Copy bytes between any two memories, and wait for the copy. Throws Unavailable if no CUDA runtime is loaded, or if it
// reports an error.
void cuda_copy(void* to, const void* from, std::size_t bytes);

}  // namespace deploy_snn
