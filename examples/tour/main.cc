// SPDX-License-Identifier: Apache-2.0
//
// The main job from end to end: handwritten digits classified over gRPC, stories streamed, latencies measured.
#include <inferwire/contract/open_inference.h>
#include <inferwire/contract/simple.h>
#include <inferwire/contract/vllm.h>
#include <inferwire/inferwire.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "server/digits.h"
#include "server/models.h"

namespace {

using inferwire::examples::DigitSet;
using inferwire::examples::kDigitPixels;

// A bar on a terminal, nothing elsewhere.
void Progress(const char* what, std::size_t done, std::size_t of) {
  if (isatty(STDERR_FILENO) == 0) return;
  const int filled = static_cast<int>(40 * done / of);
  std::fprintf(stderr, "\r%s [%-40s] %zu/%zu%s", what, std::string(static_cast<std::size_t>(filled), '=').c_str(), done,
               of, done == of ? "\n" : "");
}

int MostProbable(std::span<const float> scores) {
  return static_cast<int>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

void ShowDigit(std::span<const float> pixels, int answer, float probability) {
  for (std::size_t row = 0; row < 8; ++row) {
    std::cout << "  ";
    for (std::size_t column = 0; column < 8; ++column) {
      const char ink = " .:-=+*#%@"[std::min(9, static_cast<int>(pixels[row * 8 + column] * 10 / 17))];
      std::cout << ink << ink;
    }
    std::cout << (row == 3 ? "   is a " + std::to_string(answer) : "");
    if (row == 4) std::printf("   (with probability %.3f)", static_cast<double>(probability));
    std::cout << std::endl;
  }
}

void ShowConfusion(const std::vector<std::array<int, 10>>& table) {
  std::cout << "\n  written      read as\n          0   1   2   3   4   5   6   7   8   9\n";
  for (std::size_t label = 0; label < table.size(); ++label) {
    std::printf("  %zu    ", label);
    for (const int count : table[label]) count == 0 ? std::printf("   .") : std::printf("%4d", count);
    std::printf("\n");
  }
  std::fflush(stdout);
}

double Percentile(std::vector<double>& sorted, double share) {
  return sorted[std::min(sorted.size() - 1,
                         static_cast<std::size_t>(std::ceil(share * static_cast<double>(sorted.size()))) - 1)];
}

class Tour {
 public:
  Tour(inferwire::Client client, DigitSet digits)
      : digits_(std::move(digits)),
        digits_model_(inferwire::InferenceClient<inferwire::OpenInference>(client).GetModel("digits")),
        story_model_(inferwire::InferenceClient<inferwire::Simple>(client).GetModel("storyteller")),
        client_(std::move(client)) {}

  // Every step says what failed; the first failure ends the tour.
  absl::Status Run() {
    for (const auto step :
         {&Tour::ClassifyOneByOne, &Tour::ClassifyAtOnce, &Tour::TellStory, &Tour::Generate, &Tour::MeasureLatency}) {
      if (absl::Status status = (this->*step)(); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  inferwire::InferRequest Ask(std::size_t i) const { return {{"image", digits_.image(i), {1, 64}}}; }

  // Synchronously: one blocking call for each held-out image.
  absl::Status ClassifyOneByOne() {
    std::vector<std::array<int, 10>> table(10, std::array<int, 10>{});
    int right = 0;
    for (std::size_t i = 0; i < digits_.size(); ++i) {
      const absl::StatusOr<inferwire::InferResult> result = digits_model_.Infer(Ask(i));
      if (!result.ok()) return result.status();
      const absl::StatusOr<std::span<const float>> scores = result->Get<float>("scores");
      if (!scores.ok()) return scores.status();
      const int answer = MostProbable(*scores);
      if (i == 0) ShowDigit(digits_.image(0), answer, (*scores)[static_cast<std::size_t>(answer)]);
      answers_.push_back(answer);
      const int label = digits_.labels[i];
      ++table[static_cast<std::size_t>(label)][static_cast<std::size_t>(answer)];
      right += answer == label ? 1 : 0;
      Progress("classifying", i + 1, digits_.size());
    }
    ShowConfusion(table);
    const double accuracy = static_cast<double>(right) / static_cast<double>(digits_.size());
    std::printf("\n%d of %zu held-out digits read correctly: accuracy %.4f\n", right, digits_.size(), accuracy);
    if (accuracy <= 0.95) return absl::DataLossError("the accuracy is not over 0.95");
    return absl::OkStatus();
  }

  // As futures: all images under way together, with the same answers.
  absl::Status ClassifyAtOnce() {
    std::vector<inferwire::Future<inferwire::InferResult>> futures;
    for (std::size_t i = 0; i < digits_.size(); ++i) futures.push_back(digits_model_.AsyncInfer(Ask(i)));
    auto results = inferwire::WhenAll(std::move(futures)).Get();
    if (!results.ok()) return results.status();
    for (std::size_t i = 0; i < results->size(); ++i) {
      if (!(*results)[i].ok()) return (*results)[i].status();
      const auto scores = (*results)[i]->Get<float>("scores");
      if (!scores.ok()) return scores.status();
      if (MostProbable(*scores) != answers_[i])
        return absl::DataLossError("a future answered otherwise than a blocking call");
    }
    std::printf("%zu futures under way at once gave the same answers\n\n", results->size());
    return absl::OkStatus();
  }

  // As a range: tokens as the server makes them.
  absl::Status TellStory() {
    inferwire::ResponseStream<inferwire::InferResult> parts = story_model_.StreamInfer(
        {{"prompt", std::vector<std::string>{"Tom"}, {1}}, {"options", std::vector<float>{80, 3}, {2}}});
    std::cout << "A story, token by token:\n\n  ";
    int tokens = 0;
    for (const inferwire::InferResult& part : parts) {
      const auto text = part.Get<std::string_view>("text");
      if (!text.ok()) return text.status();
      std::cout << text->front() << std::flush;
      ++tokens;
    }
    std::cout << "\n\n";
    if (!parts.status().ok()) return parts.status();
    return tokens > 1 ? absl::OkStatus() : absl::DataLossError("the story has no tokens");
  }

  // As vLLM's own contract has it: text, tokens and why it ended.
  absl::Status Generate() {
    const inferwire::GenerationClient<inferwire::Vllm> llm(client_);
    inferwire::GenerationStream parts =
        llm.StreamGenerate({.prompt = "Huck", .max_tokens = 40, .seed = 3, .ignore_eos = true});
    std::cout << "Another, by vLLM's contract:\n\n  Huck";
    for (const inferwire::GenerationDelta& delta : parts) std::cout << delta.text << std::flush;
    std::cout << "\n\n";
    if (!parts.status().ok()) return parts.status();
    const inferwire::GenerationStats stats = parts.stats();
    if (stats.tokens != 40 || !stats.first_token.has_value()) {
      return absl::DataLossError("the generation has not the tokens that were asked for");
    }
    std::printf("%lld tokens: the first after %.0f us, then %.0f tokens/s\n\n", static_cast<long long>(stats.tokens),
                absl::ToDoubleMicroseconds(*stats.first_token), stats.tokens_per_second);
    std::fflush(stdout);
    return absl::OkStatus();
  }

  absl::Status MeasureLatency() {
    using Clock = std::chrono::steady_clock;
    constexpr int kCalls = 2000;
    std::vector<double> micros;
    for (int i = 0; i < kCalls; ++i) {
      const Clock::time_point start = Clock::now();
      const auto result = digits_model_.Infer(Ask(static_cast<std::size_t>(i) % digits_.size()));
      if (!result.ok()) return result.status();
      micros.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
      Progress("measuring", static_cast<std::size_t>(i) + 1, kCalls);
    }
    std::sort(micros.begin(), micros.end());
    std::printf("%d blocking calls on this machine: p50 %.0f us, p90 %.0f us, p99 %.0f us\n", kCalls,
                Percentile(micros, 0.5), Percentile(micros, 0.9), Percentile(micros, 0.99));
    const Clock::time_point start = Clock::now();
    for (int done = 0; done < kCalls; done += 64) {
      std::vector<inferwire::Future<inferwire::InferResult>> window;
      for (std::size_t i = 0; i < 64; ++i) window.push_back(digits_model_.AsyncInfer(Ask(i)));
      const auto results = inferwire::WhenAll(std::move(window)).Get();
      if (!results.ok()) return results.status();
      for (const auto& result : *results) {
        if (!result.ok()) return result.status();
      }
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    std::printf("futures, 64 at a time: %.0f calls/s\n", (kCalls + 63) / 64 * 64 / seconds);
    return absl::OkStatus();
  }

  const DigitSet digits_;
  const inferwire::Model digits_model_;
  const inferwire::Model story_model_;
  const inferwire::Client client_;
  std::vector<int> answers_;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Classifies held-out handwritten digits and streams a story, over gRPC");
  std::string target;
  std::string data = inferwire::examples::BuiltInDataDir();
  app.add_option("--target", target, "the server, host:port")->required();
  app.add_option("--data", data, "the directory of the examples' data")->capture_default_str();
  app.set_version_flag("--version", INFERWIRE_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  }

  absl::StatusOr<DigitSet> digits = inferwire::examples::LoadDigitSet(data + "/digits/held_out.bin");
  if (!digits.ok()) {
    std::cerr << "tour: " << digits.status() << "\n";
    return 1;
  }
  const auto client = inferwire::Client::Create({.targets = {target}, .credentials = inferwire::Insecure()});
  if (!client.ok()) {
    std::cerr << "tour: " << client.status() << "\n";
    return 2;
  }
  if (const absl::Status status = Tour(*client, *std::move(digits)).Run(); !status.ok()) {
    std::cerr << "tour: " << status << "\n";
    return 1;
  }
  return 0;
}
