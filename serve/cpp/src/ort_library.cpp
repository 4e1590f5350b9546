#include "ort_library.hpp"

#include <dlfcn.h>

#include <deploy_snn/errors.hpp>

namespace deploy_snn {

void load_onnxruntime(const std::string& library) {
  static std::string loaded;
  if (!loaded.empty()) {
    if (loaded != library)
      throw Unavailable("ONNX Runtime is already loaded from " + loaded + "; this process cannot load it from " +
                        library);
    return;
  }
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) throw Unavailable(std::string("ONNX Runtime cannot be loaded: ") + dlerror());
  const auto base = reinterpret_cast<const OrtApiBase* (*)()>(dlsym(handle, "OrtGetApiBase"));
  if (!base) throw Unavailable(library + " is not ONNX Runtime: it has no OrtGetApiBase");
  const auto* api = base()->GetApi(ORT_API_VERSION);
  if (!api)
    throw Unavailable(library + " is ONNX Runtime " + base()->GetVersionString() + "; this host needs 1." +
                      std::to_string(ORT_API_VERSION) + " or newer");
  Ort::InitApi(api);
  loaded = library;
}

const Ort::Env& ort_environment() {
  static const Ort::Env environment(ORT_LOGGING_LEVEL_FATAL, "deploy_snn");
  return environment;
}

}  // namespace deploy_snn
