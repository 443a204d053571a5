// SPDX-License-Identifier: Apache-2.0
//
// Runs a harness over files and folders of inputs, where there is no fuzzer: once over each file, and over what is
// left of it when it ends early.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {
std::size_t Run(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  std::size_t runs = 0;
  const std::size_t step = (std::max<std::size_t>)(bytes.size() / 64, 1);
  for (std::size_t size = 0; size < bytes.size(); size += step, ++runs) {
    // A copy of its own, so that a sanitizer sees what is read beyond the end.
    const std::vector<std::uint8_t> part(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    LLVMFuzzerTestOneInput(part.data(), part.size());
  }
  const std::vector<std::uint8_t> whole(bytes.begin(), bytes.end());
  LLVMFuzzerTestOneInput(whole.data(), whole.size());
  return runs + 1;
}
}  // namespace

int main(int argc, char** argv) {
  std::size_t files = 0, runs = 0;
  for (int i = 1; i < argc; ++i) {
    const std::filesystem::path path = argv[i];
    if (std::filesystem::is_regular_file(path)) {
      ++files, runs += Run(path);
      continue;
    }
    if (!std::filesystem::is_directory(path)) continue;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) ++files, runs += Run(entry.path());
    }
  }
  std::printf("%zu files, %zu runs\n", files, runs);
  if (files == 0) std::fprintf(stderr, "usage: %s FILE_OR_FOLDER...; there was no file\n", argv[0]);
  return files == 0 ? 2 : 0;
}
