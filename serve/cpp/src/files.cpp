#include "files.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include <deploy_snn/errors.hpp>

namespace deploy_snn {

namespace fs = std::filesystem;

std::string read_file(const fs::path& path) {
  if (!fs::exists(path)) throw InvalidInput(path.string() + " does not exist");
  if (!fs::is_regular_file(path)) throw InvalidInput(path.string() + " is not a file");
  std::ifstream file(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  if (!file) throw InvalidInput(path.string() + " cannot be read: " + std::strerror(errno));
  return bytes;
}

namespace {

// A temporary file, which is removed unless it is renamed to its final path.
class Partial {
 public:
  explicit Partial(const fs::path& path) : place_(path), path_(path) {
    path_.replace_filename(
        std::string(".").append(path.filename().string()).append(".partial-").append(std::to_string(getpid())));
    file_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file_ < 0) fail();
  }
  ~Partial() {
    if (file_ >= 0) close(file_);
    unlink(path_.c_str());
  }
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;

  void write(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto written = ::write(file_, bytes.data(), bytes.size());
      if (written < 0 && errno != EINTR) fail();
      if (written > 0) bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    if (fsync(file_) != 0) fail();
  }

  void commit() {
    if (rename(path_.c_str(), place_.c_str()) != 0) fail();
  }

 private:
  [[noreturn]] void fail() const {
    throw InvalidInput(place_.string() + " cannot be written: " + std::strerror(errno));
  }

  fs::path place_, path_;
  int file_ = -1;
};

}  // namespace

void write_file(const fs::path& path, std::string_view bytes) {
  Partial partial(path);
  partial.write(bytes);
  partial.commit();
}

void check_writable(const fs::path& path) {
  if (fs::is_directory(path)) throw InvalidInput(path.string() + " is a folder; expected the path of a file");
  const auto folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (!fs::is_directory(folder))
    throw InvalidInput(path.string() + " cannot be written: no such folder: " + folder.string());
  if (access(fs::exists(path) ? path.c_str() : folder.c_str(), W_OK) != 0)
    throw InvalidInput(path.string() + " cannot be written: " + std::strerror(errno));
}

}  // namespace deploy_snn
