// snn-torch: a bundle in libtorch.
#include "host.hpp"

int main(int argc, char** argv) {
  using namespace deploy_snn;
  const Host host{"snn-torch", "aoti", [](const Bundle& bundle, const Arguments& arguments) {
                    return arguments.aoti ? open_aoti(bundle, arguments.options) : open_torch(bundle, arguments.options);
                  }};
  return main_of(host, argc, argv);
}
