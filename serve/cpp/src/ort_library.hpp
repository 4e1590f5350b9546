// ONNX Runtime, loaded while the program runs: one binary for many releases of it.
#pragma once

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>
#undef ORT_API_MANUAL_INIT

#include <string>

namespace deploy_snn {

// Load the library, once in a process. Throws Unavailable if there is none, or if it is older than our headers.
void load_onnxruntime(const std::string& library);

// The environment that all sessions share; it keeps quiet, as errors reach the caller anyway.
const Ort::Env& ort_environment();

}  // namespace deploy_snn
