#include "cuda_copy.hpp"

#include <dlfcn.h>
#include <link.h>

#include <string>

#include <deploy_snn/errors.hpp>

namespace deploy_snn {

namespace {

using Memcpy = int (*)(void*, const void*, std::size_t, int);
constexpr int kAnyDirection = 4;  // cudaMemcpyDefault

// The copy function of the loaded CUDA runtime, of any version. ONNX Runtime has a function for it only since 1.23.
Memcpy find_memcpy() {
  std::string library;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* found) {
        const std::string path = info->dlpi_name;
        if (path.find("/libcudart.so") == std::string::npos) return 0;
        *static_cast<std::string*>(found) = path;
        return 1;
      },
      &library);
  void* handle = library.empty() ? nullptr : dlopen(library.c_str(), RTLD_NOW | RTLD_NOLOAD);
  const auto copy = handle ? reinterpret_cast<Memcpy>(dlsym(handle, "cudaMemcpy")) : nullptr;
  if (!copy) throw Unavailable("device cuda: ONNX Runtime has loaded no CUDA runtime (libcudart.so)");
  return copy;
}

}  // namespace

void cuda_copy(void* to, const void* from, std::size_t bytes) {
  static const Memcpy copy = find_memcpy();
  if (const int status = copy(to, from, bytes, kAnyDirection))
    throw Unavailable("device cuda: a copy of " + std::to_string(bytes) + " bytes failed with CUDA error " +
                      std::to_string(status));
}

}  // namespace deploy_snn
