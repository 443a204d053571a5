// SPDX-License-Identifier: Apache-2.0
//
// What kind of file is that? Asks magika, a small network, on a real Triton: 17-file-type --target HOST:PORT FILE...
#include <inferwire/contract/open_inference.h>
#include <inferwire/inference.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t kHalf = 1024, kBlock = 4096;
constexpr std::string_view kSpace = " \t\n\v\f\r";

/// What the network sees of a file: 1024 bytes of its beginning and 1024 of its end, without the space around them. 256
/// stands for none.
std::vector<std::int32_t> Features(const std::string& file) {
  std::string_view head = std::string_view(file).substr(0, kBlock);
  std::string_view tail = std::string_view(file).substr(file.size() - (std::min)(file.size(), kBlock));
  head.remove_prefix((std::min)(head.find_first_not_of(kSpace), head.size()));
  tail = tail.substr(0, tail.find_last_not_of(kSpace) + 1);
  head = head.substr(0, kHalf);
  tail.remove_prefix(tail.size() - (std::min)(tail.size(), kHalf));
  std::vector<std::int32_t> features(2 * kHalf, 256);
  const auto number = [](char c) { return std::int32_t{static_cast<unsigned char>(c)}; };
  std::transform(head.begin(), head.end(), features.begin(), number);
  std::transform(tail.begin(), tail.end(), features.end() - static_cast<std::ptrdiff_t>(tail.size()), number);
  return features;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4 || argv[1] != std::string_view("--target")) {
    std::cerr << "usage: " << argv[0] << " --target HOST:PORT FILE...\n";
    return 2;
  }
  const auto server = inferwire::InferenceClient<inferwire::OpenInference>::Create(
      {.targets = {argv[2]}, .credentials = inferwire::Insecure()});
  if (!server.ok()) {
    std::cerr << server.status() << "\n";
    return 1;
  }
  const inferwire::Model magika = server->GetModel("magika");

  for (const char* path : std::vector<const char*>(argv + 3, argv + argc)) {
    std::ifstream file(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    inferwire::InferRequest request = {{"bytes", Features(bytes), {1, 2 * kHalf}}};
    request.add_output({.name = "target_label", .classification = 1});  // the likeliest, as "probability:index:label"
    const auto result = magika.Infer(request);
    const auto best = result.ok() ? result->Get<std::string_view>("target_label") : result.status();
    if (!best.ok()) {
      std::cerr << path << ": " << best.status() << "\n";
      return 1;
    }
    for (const std::string_view line : *best) {
      std::cout << path << ": " << line.substr(line.rfind(':') + 1) << " (" << line.substr(0, line.find(':')) << ")\n";
    }
  }
  return 0;
}
