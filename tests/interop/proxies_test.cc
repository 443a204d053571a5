// SPDX-License-Identifier: Apache-2.0
//
// Real proxies between the client and embedded servers: Envoy, which balances, and toxiproxy, which hurts. Run by
// tests/run --interop, which installs them and names them by ENVOY and TOXIPROXY.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/client.h"
#include "support/inference.h"
#include "support/process.h"
#include "support/sockets.h"

using inferwire::CallInfo;
using inferwire::Client;
using inferwire::ClientOptions;
using inferwire::InfoOf;
using namespace inferwire_test;  // NOLINT

namespace {

std::string Program(const char* variable) {
  const char* const path = std::getenv(variable);
  if (path == nullptr) FAIL(variable << " names no program; tests/run --interop does");
  return path;
}

std::string Loopback(int port) { return "127.0.0.1:" + std::to_string(port); }

/// A port that was free just now.
int FreePort() { return BoundSocket().port(); }

std::vector<std::string> ServerAt(int port) { return {Program("INFERWIRE_SERVER"), "--listen", Loopback(port)}; }

/// What curl prints for a request with this body; POST where there is one.
std::string Http(const std::string& url, const std::string& method = "GET", const std::string& body = "") {
  std::string command = "curl -s -X " + method + " 'http://" + url + "'";
  if (!body.empty()) command += " -d '" + body + "'";
  std::FILE* const pipe = ::popen((command + " 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string out;
  std::array<char, 4096> bytes;
  while (const std::size_t got = std::fread(bytes.data(), 1, bytes.size(), pipe)) out.append(bytes.data(), got);
  ::pclose(pipe);
  return out;
}
bool Answers(const std::string& url, const std::string& with) {
  for (const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
       std::chrono::steady_clock::now() < until;) {
    if (Http(url).find(with) != std::string::npos) return true;
  }
  return false;
}

inference::Request Echoed(const std::string& id) {
  inference::Request request;
  request.set_id(id);
  request.add_input(1);
  return request;
}

/// Envoy before two servers.
struct Mesh {
  Mesh() {
    std::ifstream in(INFERWIRE_INTEROP "/envoy.yaml");
    std::string config{std::istreambuf_iterator<char>(in), {}};
    const std::map<std::string, int> ports = {
        {"ADMIN", admin}, {"LISTEN", listen}, {"FIRST", first_port}, {"SECOND", second_port}};
    for (const auto& [word, port] : ports) {
      const std::size_t at = config.find("port_value: " + word);
      REQUIRE(at != std::string::npos);
      config.replace(at + 12, word.size(), std::to_string(port));
    }
    const auto path = std::filesystem::temp_directory_path() / ("envoy-" + std::to_string(::getpid()) + ".yaml");
    std::ofstream(path) << config;
    envoy.emplace(std::vector<std::string>{Program("ENVOY"), "-c", path.string(), "--concurrency", "1",
                                           "--disable-hot-restart", "--log-level", "off"},
                  /*quiet=*/true);
    REQUIRE(Answers(Loopback(admin) + "/ready", "LIVE"));
    REQUIRE(Answers(Loopback(admin) + "/clusters", "health_flags::healthy"));
    std::filesystem::remove(path);
  }
  int admin = FreePort(), listen = FreePort(), first_port = FreePort(), second_port = FreePort();
  std::unique_ptr<Process> first = std::make_unique<Process>(ServerAt(first_port));
  std::unique_ptr<Process> second = std::make_unique<Process>(ServerAt(second_port));
  std::optional<Process> envoy;
  std::string target() const { return Loopback(listen); }
};

/// toxiproxy before one server.
struct Poisoned {
  Poisoned() {
    REQUIRE(Answers(Loopback(admin) + "/version", "version"));
    const std::string made =
        Http(Loopback(admin) + "/proxies", "POST",
             R"({"name": "line", "listen": ")" + target() + R"(", "upstream": ")" + Loopback(server_port) + R"("})");
    INFO(made);
    REQUIRE(made.find("\"enabled\":true") != std::string::npos);
  }
  /// Of bytes towards the client, unless they are of those towards the server.
  void Add(const std::string& type, const std::string& attributes, const std::string& stream = "downstream") {
    const std::string made = Http(Loopback(admin) + "/proxies/line/toxics", "POST",
                                  R"({"name": ")" + type + R"(", "type": ")" + type + R"(", "stream": ")" + stream +
                                      R"(", "attributes": )" + attributes + "}");
    INFO(made);
    REQUIRE(made.find("\"toxicity\":1") != std::string::npos);
  }
  void Remove(const std::string& type) { Http(Loopback(admin) + "/proxies/line/toxics/" + type, "DELETE"); }
  std::string target() const { return Loopback(listen); }
  int admin = FreePort(), listen = FreePort(), server_port = FreePort();
  Process server{ServerAt(server_port)};
  Process proxy{{Program("TOXIPROXY"), "-host", "127.0.0.1", "-port", std::to_string(admin)}, /*quiet=*/true};
};

}  // namespace

TEST_CASE("10000 calls through Envoy while a server behind it is killed and comes back: all answered",
          "[.][interop][envoy]") {
  Mesh mesh;
  const Client client = Connect(mesh.target(), {.timeout = absl::Seconds(20),
                                                .retry = {.max_attempts = 10},
                                                .retry_budget = {.ratio = 1, .min_per_second = 100},
                                                .pool = {.max_streams_per_channel = 8}});
  std::atomic<int> next{0}, answered{0};
  std::mutex mutex;
  std::vector<absl::Status> wrong;
  std::vector<std::thread> callers;
  for (int t = 0; t < 16; ++t) {
    callers.emplace_back([&] {
      for (int i = next++; i < 10'000; i = next++) {
        if (i == 2000) mesh.second.reset();
        if (i == 6000) mesh.second = std::make_unique<Process>(ServerAt(mesh.second_port));
        const std::string id = std::to_string(i);
        const auto reply = client.Call<&Inference::RunInference>(Echoed(id));
        answered += reply.ok() && reply->id() == id ? 1 : 0;
        if (reply.ok()) continue;
        std::lock_guard lock(mutex);
        wrong.push_back(reply.status());
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const absl::Status& status : wrong) UNSCOPED_INFO(status);
  CHECK(answered == 10'000);
}

TEST_CASE("calls go on while Envoy ends connections by their age", "[.][interop][envoy]") {
  Mesh mesh;
  for (const bool idempotent : {true, false}) {
    const Client client = Connect(mesh.target(), {.idempotent = idempotent});
    int made = 0, answered = 0;
    for (const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
         std::chrono::steady_clock::now() < until;) {
      ++made;
      const absl::Status status = client.Call<&Inference::RunInference>(Echoed("x")).status();
      UNSCOPED_INFO(status);
      answered += status.ok() ? 1 : 0;
    }
    CHECK(answered == made);
  }
}

TEST_CASE("more calls than Envoy allows streams are carried by more connections", "[.][interop][envoy]") {
  Mesh mesh;
  const Client client = Connect(mesh.target(), {.pool = {.max_streams_per_channel = 8}});
  std::vector<inferwire::Future<inference::Response>> futures;
  for (int i = 0; i < 64; ++i) futures.push_back(client.Async<&Inference::RunInference>(Echoed("x")));
  for (auto& future : futures) CHECK(std::move(future).Get().ok());
  CHECK(client.Stats().targets.at(0).channels > 1);
}

TEST_CASE("a fault of Envoy's is told with its attempts, and a stream passes it", "[.][interop][envoy]") {
  Mesh mesh;
  const Client client = Connect(mesh.target());
  const absl::Status status =
      client.Call<&Inference::RunInference>(Echoed("x"), {.metadata = {{"x-envoy-fault-abort-grpc-request", "14"}}})
          .status();
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(InfoOf(status).attempts.size() == 4);
  inference::Request story;
  story.set_model("storyteller");
  story.set_text("Tom");
  auto chunks = client.Stream<&Inference::StreamInference>(story);
  int count = 0;
  for ([[maybe_unused]] const inference::Response& chunk : chunks) ++count;
  INFO(chunks.status());
  CHECK(chunks.status().ok());
  CHECK(count > 3);
}

TEST_CASE("deadlines hold over a slow line", "[.][interop][toxiproxy]") {
  Poisoned line;
  const Client client = Connect(line.target());
  REQUIRE(client.Call<&Inference::RunInference>(Echoed("x")).ok());
  line.Add("latency", R"({"latency": 300})");
  CallInfo info;
  CHECK(client.Call<&Inference::RunInference>(Echoed("x"), {.info = &info}).ok());
  CHECK(info.latency >= absl::Milliseconds(290));
  const absl::Status late =
      client.Call<&Inference::RunInference>(Echoed("x"), {.timeout = absl::Milliseconds(100), .info = &info}).status();
  CHECK(late.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(info.latency < absl::Milliseconds(200));
}

TEST_CASE("a line that is cut again and again costs idempotent calls attempts, not answers",
          "[.][interop][toxiproxy]") {
  Poisoned line;
  const Client client = Connect(line.target(), {.timeout = absl::Seconds(20),
                                                .retry = {.max_attempts = 50, .max_backoff = absl::Milliseconds(200)},
                                                .retry_budget = {.ratio = 10, .min_per_second = 1000}});
  std::atomic<bool> over{false};
  std::thread knife([&] {
    while (!over) {
      line.Add("reset_peer", R"({"timeout": 0})");
      line.Remove("reset_peer");
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  });
  int answered = 0;
  for (int i = 0; i < 2000; ++i) {
    answered += client.Call<&Inference::RunInference>(Echoed("x")).ok() ? 1 : 0;
  }
  over = true;
  knife.join();
  CHECK(answered == 2000);
  CHECK(client.Stats().retries > 0);
}

TEST_CASE("a thin line ends a large call at its deadline, and the next one goes through", "[.][interop][toxiproxy]") {
  Poisoned line;
  const Client client = Connect(line.target());
  inference::Request large;
  for (int i = 0; i < 1'000'000; ++i) large.add_input(1);
  line.Add("bandwidth", R"({"rate": 200})", "upstream");  // KB a second: the request takes twenty of them
  CallInfo info;
  const absl::Status late =
      client.Call<&Inference::RunInference>(large, {.timeout = absl::Seconds(1), .info = &info}).status();
  CHECK(late.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(info.latency < absl::Milliseconds(1200));
  line.Remove("bandwidth");
  const auto reply = client.Call<&Inference::RunInference>(large, {.timeout = absl::Seconds(20)});
  INFO(reply.status());
  REQUIRE(reply.ok());
  CHECK(reply->output_size() == 1'000'000);
}
