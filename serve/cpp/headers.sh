#!/usr/bin/env bash
# Download the headers that the hosts need from Debian's archive into a folder: those of ONNX Runtime (no wheel contains
# them, and Debian 12 has none) and of nlohmann's JSON library. It needs no root and changes nothing in the system.
#   ./headers.sh [FOLDER]        then: cmake -DCMAKE_PREFIX_PATH=FOLDER/usr -DONNXRUNTIME_INCLUDE_DIR=FOLDER/usr/include/onnxruntime
set -euo pipefail

folder=$(realpath -m "${1:-$(dirname "$0")/.headers}")
if [ -f "$folder/done" ]; then exit 0; fi
apt=$(mktemp -d)
trap 'rm -rf "$apt"' EXIT
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$folder"
echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main' > "$apt/sources.list"
options=(-qq -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
         -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User="$(id -un)")
apt-get "${options[@]}" update
(cd "$apt" && apt-get "${options[@]}" download libonnxruntime-dev nlohmann-json3-dev)
for package in "$apt"/*.deb; do dpkg-deb --extract "$package" "$folder"; done
touch "$folder/done"
