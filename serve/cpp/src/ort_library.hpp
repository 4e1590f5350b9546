// ONNX Runtime, loaded at run time: one binary works with many releases of it.
#pragma once

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>
#undef ORT_API_MANUAL_INIT

#include <string>

namespace deploy_snn {

// Load the library, once in a process. Throws Unavailable if it is missing or older than our headers.
void load_onnxruntime(const std::string& library);

// The environment that all sessions share. It logs nothing, because errors reach the caller as exceptions.
const Ort::Env& ort_environment();

}  // namespace deploy_snn
