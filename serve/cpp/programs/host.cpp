#include "host.hpp"

#include <getopt.h>

#include <charconv>
#include <cstdio>
#include <map>

#include <deploy_snn/errors.hpp>

namespace deploy_snn {

namespace {

std::string usage(const Host& host) {
  return "usage: " + host.name + " check BUNDLE [--tolerance X]\n" +                                  //
         "       " + host.name + " run BUNDLE --input FILE --output FILE [--state-in FILE] [--state-out FILE]\n" +  //
         "       " + host.name + " bench BUNDLE [--steps N] [--batch N] [--json]\n" +                 //
         "options: --device cpu|cuda, --threads N, --" + host.own_option + "\n";
}

template <class Number>
Number number(const char* option, const std::string& text, Number least) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !(value >= least))
    throw InvalidInput(std::string("--") + option + " " + text + ": expected a number, and at least " +
                       std::to_string(least));
  return value;
}

Arguments parse(const Host& host, int argc, char** argv) {
  enum { INPUT, OUTPUT, STATE_IN, STATE_OUT, STEPS, BATCH, JSON, TOLERANCE, DEVICE, THREADS, OWN };
  const auto own_name = host.own_option.substr(0, host.own_option.find(' '));
  const bool own_takes_value = own_name != host.own_option;
  const option known[] = {{"input", required_argument, nullptr, INPUT},
                          {"output", required_argument, nullptr, OUTPUT},
                          {"state-in", required_argument, nullptr, STATE_IN},
                          {"state-out", required_argument, nullptr, STATE_OUT},
                          {"steps", required_argument, nullptr, STEPS},
                          {"batch", required_argument, nullptr, BATCH},
                          {"json", no_argument, nullptr, JSON},
                          {"tolerance", required_argument, nullptr, TOLERANCE},
                          {"device", required_argument, nullptr, DEVICE},
                          {"threads", required_argument, nullptr, THREADS},
                          {own_name.c_str(), own_takes_value ? required_argument : no_argument, nullptr, OWN},
                          {}};
  Arguments arguments;
  opterr = 0;
  for (int found; (found = getopt_long(argc, argv, ":", known, nullptr)) != -1;) {
    const std::string value = optarg ? optarg : "";
    switch (found) {
      case INPUT: arguments.input = value; break;
      case OUTPUT: arguments.output = value; break;
      case STATE_IN: arguments.state_in = value; break;
      case STATE_OUT: arguments.state_out = value; break;
      case STEPS: arguments.steps = number<std::int64_t>("steps", value, 1); break;
      case BATCH: arguments.batch = number<std::int64_t>("batch", value, 1); break;
      case JSON: arguments.json = true; break;
      case TOLERANCE: arguments.tolerance = number<float>("tolerance", value, 0); break;
      case DEVICE: arguments.options.device = value; break;
      case THREADS: arguments.options.threads = number<int>("threads", value, 1); break;
      case OWN:
        if (own_takes_value)
          arguments.options.onnxruntime = value;
        else
          arguments.aoti = true;
        break;
      case ':': throw InvalidInput(std::string(argv[optind - 1]) + " needs a value");
      default: throw InvalidInput(std::string("there is no option ") + argv[optind - 1]);
    }
  }
  if (argc - optind != 2) throw InvalidInput("expected a command and a bundle\n" + usage(host));
  arguments.command = argv[optind];
  arguments.bundle = argv[optind + 1];
  return arguments;
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
      throw InvalidInput("there is no command '" + arguments.command + "'; there is check, run, bench");
    const Bundle bundle(arguments.bundle);
    return command->second(*host.open(bundle, arguments), bundle, arguments);
  } catch (const InvalidInput& error) {
    std::fprintf(stderr, "%s: %s\n", host.name.c_str(), error.what());
    return 2;
  } catch (const Unavailable& error) {
    std::fprintf(stderr, "%s: %s\n", host.name.c_str(), error.what());
    return 3;
  } catch (const std::exception& error) {
    const std::string text = error.what();
    std::fprintf(stderr, "%s: %s\n", host.name.c_str(), text.substr(0, text.find('\n')).c_str());
    return 2;
  }
}

}  // namespace deploy_snn
