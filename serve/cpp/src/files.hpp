// Reading and writing of whole files.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace deploy_snn {

// The bytes of a file. Throws InvalidInput if it cannot be read.
std::string read_file(const std::filesystem::path& path);

// Write a file atomically: to a temporary file in the same folder, which is flushed to the disk and renamed. Throws
// InvalidInput if it cannot be written.
void write_file(const std::filesystem::path& path, std::string_view bytes);

// Throws InvalidInput, before any work is done, if a file cannot be written to this path.
void check_writable(const std::filesystem::path& path);

}  // namespace deploy_snn
