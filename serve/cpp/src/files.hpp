// Whole files, in and out.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace deploy_snn {

// The bytes of a file. Throws InvalidInput if it cannot be read.
std::string read_file(const std::filesystem::path& path);

// Write a file, whole or not at all: beside its place, to the disk, and then into it. Throws InvalidInput if it cannot.
void write_file(const std::filesystem::path& path, std::string_view bytes);

// Throws InvalidInput, before any work is done, if a file cannot be written to this path.
void check_writable(const std::filesystem::path& path);

}  // namespace deploy_snn
