// snn-torch: a bundle in libtorch.
#include "host.hpp"

int main(int argc, char** argv) {
  using namespace deploy_snn;
  const Host host{
      "snn-torch",
      {{"aoti", nullptr, [](Arguments& a, const std::string&) { a.aoti = true; }},
       {"operators", "LIBRARY", [](Arguments& a, const std::string& text) { a.options.operators = text; }}},
      [](const Bundle& bundle, const Arguments& a) {
        return a.aoti ? open_aoti(bundle, a.options) : open_torch(bundle, a.options);
      },
  };
  return main_of(host, argc, argv);
}
