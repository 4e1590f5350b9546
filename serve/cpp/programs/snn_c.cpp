// snn-c: a bundle compiled to machine code, without any framework.
#include "host.hpp"

int main(int argc, char** argv) {
  using namespace deploy_snn;
  const Host host{
      "snn-c",
      {{"library", "FILE", [](Arguments& a, const std::string& text) { a.options.library = text; }}},
      [](const Bundle& bundle, const Arguments& a) { return open_c(bundle, a.options); },
  };
  return main_of(host, argc, argv);
}
