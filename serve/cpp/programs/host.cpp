#include "host.hpp"

#include <getopt.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <map>

#include <deploy_snn/errors.hpp>

namespace deploy_snn {

namespace {

template <class Number>
Number number(const char* option, const std::string& text, Number least) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !(value >= least))
    throw InvalidInput(std::string("--") + option + " " + text + ": expected a number of at least " +
                       std::to_string(least));
  return value;
}

std::vector<Option> options_of(const Host& host) {
  std::vector<Option> options = {
      {"tolerance", "X", [](auto& a, auto& text) { a.tolerance = number<float>("tolerance", text, 0); }},
      {"input", "FILE", [](auto& a, auto& text) { a.input = text; }},
      {"output", "FILE", [](auto& a, auto& text) { a.output = text; }},
      {"state-in", "FILE", [](auto& a, auto& text) { a.state_in = text; }},
      {"state-out", "FILE", [](auto& a, auto& text) { a.state_out = text; }},
      {"normalise-every", "N",
       [](auto& a, auto& text) { a.normalise_every = number<std::int64_t>("normalise-every", text, 1); }},
      {"steps", "N", [](auto& a, auto& text) { a.steps = number<std::int64_t>("steps", text, 1); }},
      {"batch", "N", [](auto& a, auto& text) { a.batch = number<std::int64_t>("batch", text, 1); }},
      {"json", nullptr, [](auto& a, auto&) { a.json = true; }},
      {"device", "cpu|cuda", [](auto& a, auto& text) { a.options.device = text; }},
      {"threads", "N", [](auto& a, auto& text) { a.options.threads = number<int>("threads", text, 1); }},
  };
  options.insert(options.end(), host.own.begin(), host.own.end());
  return options;
}

std::string usage(const Host& host) {
  std::string own;
  for (const auto& option : host.own) {
    own += std::string(", --") + option.name;
    if (option.value) own += std::string(" ") + option.value;
  }
  return "usage: " + host.name + " check BUNDLE [--tolerance X]\n       " + host.name +
         " run BUNDLE --input FILE --output FILE [--state-in FILE] [--state-out FILE] [--normalise-every N]\n       " +
         host.name + " bench BUNDLE [--steps N] [--batch N] [--json]\noptions: --device cpu|cuda, --threads N" + own +
         "\n";
}

Arguments parse(const Host& host, int argc, char** argv) {
  const auto options = options_of(host);
  std::vector<option> known;
  for (const auto& each : options)
    known.push_back({each.name, each.value ? required_argument : no_argument, nullptr, static_cast<int>(known.size())});
  known.push_back({});
  Arguments arguments;
  opterr = 0;
  for (int found; (found = getopt_long(argc, argv, ":", known.data(), nullptr)) != -1;) {
    if (found == ':') throw InvalidInput(std::string(argv[optind - 1]) + " needs a value");
    if (found == '?') throw InvalidInput(std::string("unknown option ") + argv[optind - 1]);
    options[static_cast<std::size_t>(found)].set(arguments, optarg ? optarg : "");
  }
  if (argc - optind != 2) throw InvalidInput("expected a command and a bundle; see " + host.name + " --help");
  arguments.command = argv[optind];
  arguments.bundle = argv[optind + 1];
  return arguments;
}

// Print one line on stderr. The further lines of a runtime's message, often a stack trace, are left out.
int report(const Host& host, const std::exception& error, int status) {
  std::string line = error.what();
  line.resize(std::min(line.find('\n'), line.size()));
  std::ranges::replace_if(
      line, [](unsigned char c) { return c < ' ' || c == 0x7f; },
      '?');  // a name in a file may contain control characters
  std::fprintf(stderr, "%s: %s\n", host.name.c_str(), line.c_str());
  return status;
}

}  // namespace

int main_of(const Host& host, int argc, char** argv) {
  static const std::map<std::string, int (*)(Program&, const Bundle&, const Arguments&)> commands = {
      {"check", check}, {"run", run}, {"bench", bench}};
  try {
    if (argc == 2 && std::string(argv[1]) == "--help") {
      std::fputs(usage(host).c_str(), stdout);
      return 0;
    }
    const auto arguments = parse(host, argc, argv);
    const auto command = commands.find(arguments.command);
    if (command == commands.end())
      throw InvalidInput("unknown command '" + arguments.command + "'; choose from check, run, bench");
    const Bundle bundle(arguments.bundle);
    return command->second(*host.open(bundle, arguments), bundle, arguments);
  } catch (const Unavailable& error) {
    return report(host, error, 3);
  } catch (const std::exception& error) {
    return report(host, error, 2);
  }
}

}  // namespace deploy_snn
