// SPDX-License-Identifier: Apache-2.0
//
// When does somebody speak? Hears a recording in pieces of 32 ms, as they would come from a microphone, by silero's
// network on a real Triton, which remembers what it has heard: 18-voice --target HOST:PORT FILE.wav
#include <inferwire/contract/open_inference.h>
#include <inferwire/inference.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t kChunk = 512;
constexpr double kSecondsPerChunk = 0.032;

/// The samples of a recording, from -1 to 1; none unless it is one that sox makes by `-r 16000 -c 1 -b 16`.
std::vector<float> Samples(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(in), {}};
  std::vector<float> samples;
  if (!file.starts_with("RIFF") || file.size() < 12 || file.substr(8, 4) != "WAVE") return samples;
  constexpr std::string_view kFormat("\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0", 16);  // numbers, 1 channel, 16 kHz
  bool known = false;
  std::uint32_t size = 0;
  for (std::size_t at = 12; at + 8 <= file.size(); at += 8 + std::size_t{size} + size % 2) {
    std::memcpy(&size, file.data() + at + 4, 4);
    const std::string_view chunk = std::string_view(file).substr(at + 8, size);
    if (file.compare(at, 4, "fmt ") == 0) known = chunk.starts_with(kFormat);
    if (file.compare(at, 4, "data") != 0 || !known) continue;
    for (std::size_t i = 0; i + 2 <= chunk.size(); i += 2) {
      std::int16_t sample = 0;
      std::memcpy(&sample, chunk.data() + i, 2);
      samples.push_back(static_cast<float>(sample) / 32768);
    }
  }
  return samples;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 || argv[1] != std::string_view("--target")) {
    std::cerr << "usage: " << argv[0] << " --target HOST:PORT FILE.wav\n";
    return 2;
  }
  const std::vector<float> samples = Samples(argv[3]);
  if (samples.size() < kChunk) {
    std::cerr << argv[3] << ": expected a WAVE file of 16-bit numbers, one channel, 16000 a second, 512 or more\n";
    return 1;
  }
  const auto server = inferwire::InferenceClient<inferwire::OpenInference>::Create(
      {.targets = {argv[2]}, .credentials = inferwire::Insecure()});
  if (!server.ok()) {
    std::cerr << server.status() << "\n";
    return 1;
  }

  auto listener = server->GetModel("silero_vad_sequence").Sequence(std::int64_t{1} + std::time(nullptr));
  bool speaking = false;
  for (std::size_t i = 0; i + kChunk <= samples.size(); i += kChunk) {
    const inferwire::InferRequest chunk = {{"AUDIO", std::span(samples).subspan(i, kChunk), {1, kChunk}}};
    const bool last = i + 2 * kChunk > samples.size();
    const auto result = last ? listener.End(chunk) : listener.Step(chunk);
    const auto voice = result.ok() ? result->Get<float>("PROB") : result.status();
    if (!voice.ok() || voice->empty()) {
      std::cerr << voice.status() << "\n";
      return 1;
    }
    const double seconds = static_cast<double>(i / kChunk) * kSecondsPerChunk;
    if (speaking != (voice->front() > 0.5f)) {
      std::cout << seconds << " s: " << (speaking ? "silence" : "speech") << "\n" << std::flush;
      speaking = !speaking;
    }
  }
  return 0;
}
