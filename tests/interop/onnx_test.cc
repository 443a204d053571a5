// SPDX-License-Identifier: Apache-2.0
//
// Real networks on real data: magika on this repository's own files, silero on synthesised speech, rapidocr's
// classifier on a line of text. The first two by the examples that show them.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/typed_model.h"
#include "support/interop.h"

using namespace inferwire;       // NOLINT
using namespace inferwire_test;  // NOLINT

namespace {

/// The samples of a recording that sox has made: behind the header "data" and its size.
std::vector<float> Recording(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(in), {}};
  const std::size_t data = file.find("data");
  REQUIRE(data != std::string::npos);
  std::vector<float> samples((file.size() - data - 8) / 2);
  for (std::size_t i = 0; i < samples.size(); ++i) {
    std::int16_t sample = 0;
    std::memcpy(&sample, file.data() + data + 8 + 2 * i, 2);
    samples[i] = static_cast<float>(sample) / 32768;
  }
  return samples;
}

/// "PLAYER" in letters of 5 by 7 squares, as ocr_cls takes a line: blue, green, red, 48 rows, 192 columns, -1 is black.
std::vector<float> Written() {
  constexpr std::size_t kRows = 48, kColumns = 192, kSquare = 5;
  constexpr std::array<std::string_view, 7> kLines = {
      "####. #.... .###. #...# ##### ####.",  //
      "#...# #.... #...# #...# #.... #...#",  //
      "#...# #.... #...# .#.#. #.... #...#",  //
      "####. #.... ##### ..#.. ####. ####.",  //
      "#.... #.... #...# ..#.. #.... #.#..",  //
      "#.... #.... #...# ..#.. #.... #..#.",  //
      "#.... ##### #...# ..#.. ##### #...#",
  };
  std::vector<float> picture(3 * kRows * kColumns, 1.0f);
  for (std::size_t row = 0; row < kLines.size() * kSquare; ++row) {
    for (std::size_t column = 0; column < kLines[0].size() * kSquare; ++column) {
      if (kLines[row / kSquare][column / kSquare] != '#') continue;
      for (std::size_t colour = 0; colour < 3; ++colour) {
        picture[(colour * kRows + row + 6) * kColumns + column + 6] = -1.0f;
      }
    }
  }
  return picture;
}

}  // namespace

TEST_CASE("magika names the types of this repository's own files", "[.][interop][onnx]") {
  const auto target = Told("INFERWIRE_ONNX");
  if (!target) return;
  const std::map<std::string, std::string> types = {{"docs/calls.md", "markdown"},
                                                    {"CMakeLists.txt", "cmake"},
                                                    {"CMakePresets.json", "json"},
                                                    {"include/inferwire/client.h", "c"},
                                                    {"tests/client_test.cc", "cpp"},
                                                    {"tests/interop/servers/python/server.py", "python"},
                                                    {"tests/interop/servers/go/server.go", "go"},
                                                    {"tests/interop/envoy.yaml", "yaml"},
                                                    {"tests/run", "shell"},
                                                    {"proto/inferwire/inference.proto", "proto"}};
  std::string command = std::string(INFERWIRE_FILE_TYPE) + " --target " + *target;
  for (const auto& [path, type] : types) command += " " INFERWIRE_ROOT "/" + path;
  std::istringstream said(Run(command));
  std::string line;
  for (const auto& [path, type] : types) {
    REQUIRE(std::getline(said, line));
    CAPTURE(line);
    const std::string expected = INFERWIRE_ROOT "/" + path + ": " + type + " (";
    REQUIRE(line.starts_with(expected));
    CHECK(std::stof(line.substr(expected.size())) > 0.9f);
  }
}

TEST_CASE("silero hears when somebody speaks, a piece at a time and all at once", "[.][interop][onnx]") {
  const auto target = Told("INFERWIRE_ONNX"), recording = Told("INFERWIRE_ONNX_VOICE");
  if (!target || !recording) return;
  const std::vector<float> samples = Recording(*recording);
  const auto server = ConnectTo(*target);

  // All at once: an answer for each 32 ms as they are heard.
  std::vector<float> heard;
  auto stream = server.GetModel("silero_vad")
                    .StreamInfer({{"AUDIO", std::span(samples), {static_cast<std::int64_t>(samples.size())}}});
  for (const InferResult& answer : stream) {
    CHECK(Values<std::int32_t>(answer, "CHUNK").at(0) == static_cast<std::int32_t>(heard.size()));
    heard.push_back(Values<float>(answer, "PROB").at(0));
  }
  CheckOk(stream.status());
  REQUIRE(heard.size() == samples.size() / 512);
  // A second of silence, two sentences, a second of silence.
  CHECK(*std::max_element(heard.begin(), heard.begin() + 31) < 0.3f);
  CHECK(*std::max_element(heard.begin(), heard.end()) > 0.95f);
  CHECK(*std::max_element(heard.end() - 25, heard.end()) < 0.3f);

  // A piece at a time, two listeners at once: they do not hear each other's.
  auto one = server.GetModel("silero_vad_sequence").Sequence(std::int64_t{2} * getpid());
  auto two = server.GetModel("silero_vad_sequence").Sequence(std::int64_t{2} * getpid() + 1);
  const auto piece = [&](std::size_t i) {
    return InferRequest{{"AUDIO", std::span(samples).subspan(512 * i, 512), {1, 512}}};
  };
  std::size_t same = 0;
  for (std::size_t i = 0; i < heard.size(); ++i) {
    const bool last = i + 1 == heard.size();
    Future<InferResult> first = last ? one.AsyncEnd(piece(i)) : one.AsyncStep(piece(i));
    if (i % 2 == 0) CheckOk(two.Step(piece(i / 2)).status());
    const auto result = std::move(first).Get();
    same += std::abs(Values<float>(result, "PROB").at(0) - heard[i]) < 1e-5f ? 1 : 0;
  }
  CHECK(same == heard.size());

  // And the example says where speech begins and ends.
  std::istringstream said(Run(std::string(INFERWIRE_VOICE) + " --target " + *target + " " + *recording));
  float begin = 0;
  std::string unit, what;
  REQUIRE((said >> begin >> unit >> what));
  CHECK(what == "speech");
  CHECK(begin == Approx(1.1).margin(0.2));
  float end = 0;
  while (said >> end >> unit >> what) continue;
  CHECK(what == "silence");
  CHECK(end == Approx(static_cast<double>(samples.size()) / 16000 - 1).margin(0.5));
}

TEST_CASE("rapidocr's classifier knows a line of text that stands on its head", "[.][interop][onnx]") {
  const auto target = Told("INFERWIRE_ONNX");
  if (!target) return;
  using Picture = Tensor<"x", float, -1, 3, 48, 192>;
  using Sides = Tensor<"prob", float, -1, 2>;
  const auto sides_of = Answered(ConnectTo(*target).Bind<Outputs<Sides>, Inputs<Picture>>("ocr_cls"));
  std::vector<float> lines = Written();
  const std::vector<float> upright = lines;
  lines.insert(lines.end(), upright.rbegin(), upright.rend());  // its colours are alike, so that it is turned
  const auto result = sides_of(lines);
  CheckOk(result.status());
  const auto& [sides] = *result;
  REQUIRE(sides.size() == 4);
  CHECK(sides[0] > 0.99f);
  CHECK(sides[3] > 0.99f);
  CHECK(sides[0] + sides[1] == Approx(1).margin(1e-4));
}
