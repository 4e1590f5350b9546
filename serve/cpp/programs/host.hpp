// The commands, options and exit statuses that all hosts share.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <deploy_snn/program.hpp>

namespace deploy_snn {

// The parsed command line.
struct Arguments {
  std::string command, bundle;
  std::string input, output, state_in, state_out;
  std::int64_t steps = 100'000, batch = 1;
  std::int64_t normalise_every = 0;  // steps; 0 for never
  bool json = false;
  bool aoti = false;  // snn-torch only: run the step that was compiled ahead of time
  float tolerance = 0;
  Options options;
};

// An option of the command line. `value` names its value in the usage; an option without a value has nullptr.
struct Option {
  const char* name;
  const char* value;
  std::function<void(Arguments&, const std::string&)> set;
};

struct Host {
  std::string name;
  std::vector<Option> own;  // options that only this host has
  std::function<std::unique_ptr<Program>(const Bundle&, const Arguments&)> open;
};

// Run a program's command line and return its exit status. 0: all equal, or done; 1: a mismatch; 2: wrong usage, or an
// input or file that breaks the contract; 3: a requested runtime, provider or CPU is missing.
int main_of(const Host& host, int argc, char** argv);

int check(Program& program, const Bundle& bundle, const Arguments& arguments);
int run(Program& program, const Bundle& bundle, const Arguments& arguments);
int bench(Program& program, const Bundle& bundle, const Arguments& arguments);

}  // namespace deploy_snn
