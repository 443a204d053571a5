// SPDX-License-Identifier: Apache-2.0
//
// What tests/interop/run tells its tests, and short names for what they ask of real servers.
#ifndef INFERWIRE_TESTS_SUPPORT_INTEROP_H_
#define INFERWIRE_TESTS_SUPPORT_INTEROP_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "inferwire/inference.h"
#include "support/catch.h"
#include "support/eventually.h"

namespace inferwire_test {

/// The value of one of its variables. Where it is not set, the test says that it is skipped, and is to return.
inline std::optional<std::string> Told(const char* variable) {
  if (const char* const value = std::getenv(variable); value != nullptr && *value != '\0') return value;
  WARN("skipped: " << variable << " is not set; tests/interop/run sets it");
  return std::nullopt;
}

/// A client of a real server, with time for one that is slow. No credentials are those of plaintext.
template <class C = inferwire::OpenInference>
inferwire::InferenceClient<C> ConnectTo(std::vector<std::string> targets, inferwire::ClientOptions options = {},
                                        inferwire::Credentials credentials = inferwire::Insecure()) {
  options.targets = std::move(targets);
  options.credentials = std::move(credentials);
  options.timeout = absl::Seconds(60);
  auto client = inferwire::InferenceClient<C>::Create(std::move(options));
  INFO(client.status());
  REQUIRE(client.ok());
  return *std::move(client);
}
template <class C = inferwire::OpenInference>
inferwire::InferenceClient<C> ConnectTo(const std::string& target) {
  return ConnectTo<C>(std::vector<std::string>{target});
}

inline void CheckOk(const absl::Status& status) {
  INFO(status);
  REQUIRE(status.ok());
}

template <class T>
T Answered(absl::StatusOr<T> reply) {
  INFO(reply.status());
  REQUIRE(reply.ok());
  return *std::move(reply);
}

/// The elements of an output. BYTES as std::string.
template <class T>
std::vector<T> Values(const inferwire::InferResult& result, std::string_view name) {
  using Element = std::conditional_t<std::is_same_v<T, std::string>, std::string_view, T>;
  const auto values = Answered(result.Get<Element>(name));
  return std::vector<T>(values.begin(), values.end());
}
template <class T>
std::vector<T> Values(const absl::StatusOr<inferwire::InferResult>& result, std::string_view name) {
  CheckOk(result.status());
  return Values<T>(*result, name);
}

/// What every Triton of tests/interop can do, and its answer.
inline inferwire::InferRequest AddSub(std::int32_t first = 5) {
  return {{"INPUT0", std::vector<std::int32_t>{first, 6, 7, 8}, {1, 4}},
          {"INPUT1", std::vector<std::int32_t>{1, 2, 3, 4}, {1, 4}}};
}
inline bool IsSum(const absl::StatusOr<inferwire::InferResult>& result, std::int32_t first = 5) {
  if (!result.ok()) return false;
  const auto sum = result->Get<std::int32_t>("OUTPUT0");
  return sum.ok() &&
         std::vector<std::int32_t>(sum->begin(), sum->end()) == std::vector<std::int32_t>{first + 1, 8, 10, 12};
}

/// What a command prints; it must end with 0.
inline std::string Run(const std::string& command) {
  std::FILE* const pipe = ::popen((command + " 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string out;
  std::array<char, 4096> bytes;
  while (const std::size_t got = std::fread(bytes.data(), 1, bytes.size(), pipe)) out.append(bytes.data(), got);
  const int ended = ::pclose(pipe);
  INFO(command << " said: " << out);
  REQUIRE(ended == 0);
  return out;
}

/// One of the servers of tests/interop/run, which a test stops or kills and starts again where it was. It is there
/// again when this ends. One thread at a time.
class Instance {
 public:
  Instance(std::string name, const std::string& target)
      : name_(std::move(name)), port_(target.substr(target.rfind(':') + 1)) {}
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;
  ~Instance() {
    if (!runs_) Start();
  }
  /// SIGTERM; returns when it has ended.
  void Stop() { End("stop"); }
  void Kill() { End("kill"); }
  /// Returns when it is ready.
  void Start() {
    runs_ = true;
    Run(Program() + " start " + name_ + " --port " + port_);
  }

 private:
  static std::string Program() {
    const char* const program = std::getenv("INFERWIRE_INTEROP_SERVER");
    REQUIRE(program != nullptr);
    return program;
  }
  void End(const std::string& how) {
    Run(Program() + " " + how + " " + name_);
    runs_ = false;
  }

  const std::string name_;
  const std::string port_;
  bool runs_ = true;
};

/// What scikit-learn itself says of its digits: of each its pixels, its class and the classes' probabilities.
struct Digits {
  explicit Digits(const std::string& path) {
    std::ifstream file(path);
    for (std::string line, field; std::getline(file, line);) {
      std::istringstream fields(line);
      for (int i = 0; std::getline(fields, field, ','); ++i) {
        if (i < 64) {
          pixels.push_back(std::stof(field));
        } else if (i == 64) {
          classes.push_back(std::stoll(field));
        } else {
          probabilities.push_back(std::stod(field));
        }
      }
    }
    REQUIRE(classes.size() == 1797);
    REQUIRE(pixels.size() == 1797 * 64);
    REQUIRE(probabilities.size() == 1797 * 10);
  }
  std::vector<float> pixels;
  std::vector<std::int64_t> classes;
  std::vector<double> probabilities;
};

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_INTEROP_H_
