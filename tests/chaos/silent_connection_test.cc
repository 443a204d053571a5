// SPDX-License-Identifier: Apache-2.0
//
// Connections by which nothing comes any more: forgotten by a NAT or a balancer, beside servers that are only slow.
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "inferwire/detail/testing/relay.h"
#include "inferwire/inference.h"
#include "inferwire/testing/fake_clock.h"
#include "support/inference.h"
#include "support/slow.h"

using inferwire::CallInfo;
using inferwire::CallOptions;
using inferwire::Client;
using inferwire::ClientOptions;
using inferwire::InfoOf;
using inferwire::testing::Relay;
using namespace inferwire_test;  // NOLINT
namespace oip = inferwire::open_inference;

namespace {

using Clock = std::chrono::steady_clock;

// A server without a health service, behind something that can forget connections.
class Path {
  const std::function<void(RawCall&)> serve_;
  const grpc::Status health_;
  std::atomic<int> calls_{0}, questions_{0};
  RawServer server_{RawServer::WithChecks{}, [this](RawCall& call) {
                      if (call.method().find("grpc.health") != std::string::npos) {
                        ++questions_;
                        return call.Finish(health_);
                      }
                      ++calls_;
                      serve_(call);
                    }};

 public:
  explicit Path(std::function<void(RawCall&)> serve = Echo,
                grpc::Status health = {grpc::StatusCode::UNIMPLEMENTED, "no health service"})
      : serve_(std::move(serve)), health_(std::move(health)) {}

  Relay relay{std::stoi(server_.target().substr(server_.target().rfind(':') + 1))};

  std::string target() const { return "127.0.0.1:" + std::to_string(relay.port()); }
  // Of methods that are not questions whether it lives.
  int calls() const { return calls_; }
  int questions() const { return questions_; }
};

// Waits long enough for the connection not to be a new one.
void Age() { std::this_thread::sleep_for(std::chrono::milliseconds(600)); }

}  // namespace

TEST_CASE("a call whose connection was forgotten is answered by another one, in every form", "[silent]") {
  const auto call = [](const Client& client) -> absl::Status {
    return client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Seconds(4)}).status();
  };
  const auto async = [](const Client& client) -> absl::Status {
    return client.Async<&Inference::RunInference>(Text("x"), {.timeout = absl::Seconds(4)}).Get().status();
  };
  const auto stream = [](const Client& client) -> absl::Status {
    auto responses = client.Stream<&Inference::StreamInference>(Text("x"), {.timeout = absl::Seconds(4)});
    while (responses.Read()) {
    }
    return responses.status();
  };
  for (const auto& form : std::vector<std::function<absl::Status(const Client&)>>{call, async, stream}) {
    Path path;
    const Client client = Connect(path.target());
    REQUIRE(form(client).ok());
    Age();
    path.relay.Forget();
    const absl::Status status = form(client);
    INFO(status.ToString());
    CHECK(status.ok());
    CHECK(path.calls() == 2);  // the one that was lost never came
    const auto from = Clock::now();
    CHECK(form(client).ok());
    CHECK(Clock::now() - from < std::chrono::milliseconds(kSlow ? 5000 : 900));
    CHECK(path.relay.accepted() == 2);
  }
}

TEST_CASE("a call that may not run twice waits, says what is suspected, and spares the next one", "[silent]") {
  Path path;
  const Client client = Connect(path.target(), {.idempotent = false});
  const CallOptions options{.timeout = absl::Seconds(1)};
  REQUIRE(client.Call<&Inference::RunInference>(Text("x"), options).ok());
  Age();
  path.relay.Forget();
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x"), options).status();
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(Contains(status, "no end within the timeout of 1s; nothing was received from " + path.target()));
  CHECK(Contains(status, "which may be dead and was replaced"));
  CHECK(client.Call<&Inference::RunInference>(Text("x"), options).ok());
}

TEST_CASE("sessions and uploads that waited in vain spare the next ones", "[silent]") {
  Path path;
  const Client client = Connect(path.target());
  const auto session = [&] {
    auto open = client.Open<&Inference::Converse>({.idle_timeout = absl::Seconds(1)});
    open.Write(Text("x")).IgnoreError();
    open.Read();
    return open.Finish();
  };
  const auto upload = [&] {
    auto open = client.Upload<&Inference::UploadInference>({.idle_timeout = absl::Seconds(1)});
    open.Write(Text("x")).IgnoreError();
    return open.Finish().status();
  };
  REQUIRE(session().ok());
  REQUIRE(upload().ok());
  Age();
  path.relay.Forget();
  CHECK(Contains(session(), "nothing was received from"));
  CHECK(session().ok());
  CHECK(upload().ok());
  Age();
  path.relay.Forget();
  CHECK(Contains(upload(), "nothing was received from"));
  CHECK(upload().ok());
}

TEST_CASE("an attempt whose time is up with nothing received is tried again on a new connection", "[silent]") {
  Path path;
  const auto clock = std::make_shared<inferwire::testing::FakeClock>();
  const Client client = Connect(
      path.target(),
      {.attempt_timeout = absl::Seconds(2), .retry = {.initial_backoff = absl::ZeroDuration()}, .clock = clock});
  REQUIRE(client.Call<&Inference::RunInference>(Text("x")).ok());
  clock->Advance(absl::Seconds(1));
  path.relay.Forget();
  auto future = client.Async<&Inference::RunInference>(Text("x"));
  clock->Advance(absl::Seconds(2));  // the attempt's
  CHECK(std::move(future).Get().ok());
  CHECK(path.relay.accepted() == 2);
}

TEST_CASE("a server that is only slow is called once, by the connection that there is", "[silent]") {
  const auto slow = [](RawCall& call) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2300));
    Echo(call);
  };
  for (const auto code : {grpc::StatusCode::OK, grpc::StatusCode::UNIMPLEMENTED, grpc::StatusCode::UNAVAILABLE,
                          grpc::StatusCode::UNAUTHENTICATED}) {
    Path path(slow, {code, "what it says of its health"});
    const Client client = Connect(path.target());
    REQUIRE(client.WaitUntilReady(absl::Seconds(10)).ok());
    Age();
    CHECK(client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Seconds(4)}).ok());
    CHECK(path.calls() == 1);
    CHECK(path.questions() == 1);
    CHECK(path.relay.accepted() == 1);
  }
}

TEST_CASE("a server that answers nobody is not called twice", "[silent]") {
  std::atomic<int> calls{0};
  RawServer server(RawServer::WithChecks{}, [&](RawCall& call) {
    if (call.method().find("grpc.health") == std::string::npos) ++calls;
    call.WaitForCancel();
  });
  const Client client = Connect(server.target());
  REQUIRE(client.WaitUntilReady(absl::Seconds(10)).ok());
  Age();
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Seconds(2)}).status();
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
  // gRPC's server itself ends a call at its deadline: sometimes that comes first.
  CHECK((Contains(status, "the server said DEADLINE_EXCEEDED") || Contains(status, "nothing was received from")));
  CHECK(calls == 1);
}

TEST_CASE("what shares a stream on a forgotten connection goes by another one", "[silent]") {
  Path path([](RawCall& call) {
    while (const auto bytes = call.Read()) {
      oip::ModelInferRequest request;
      if (!request.ParseFromString(*bytes)) std::abort();
      oip::ModelStreamInferResponse message;
      auto& response = *message.mutable_infer_response();
      response.set_id(request.id());
      (*response.mutable_parameters())[std::string("triton_final_response")].set_bool_param(true);
      if (!call.Write(message.SerializeAsString())) return;
    }
  });
  ClientOptions options{.targets = {path.target()}, .credentials = inferwire::Insecure()};
  const auto client = inferwire::InferenceClient<inferwire::OpenInference>::Create(std::move(options));
  REQUIRE(client.ok());
  const auto model = client->GetModel("counter", {.check = false});
  const auto stream = [&] {
    auto results = model.StreamInfer({{"n", std::vector<float>{1}, {1}}}, {.timeout = absl::Seconds(4)});
    while (results.Read()) {
    }
    return results.status();
  };
  REQUIRE(stream().ok());
  Age();
  path.relay.Forget();
  const absl::Status status = stream();
  INFO(status.ToString());
  CHECK(status.ok());
  CHECK(stream().ok());
}

TEST_CASE("health checks find out that their connection was forgotten", "[silent]") {
  std::atomic<int> watches{0};
  const auto serving = [](RawCall& call) {
    call.Read();
    call.Write(std::string("\x08\x01", 2));
  };
  RawServer server([&](RawCall& call) {
    if (call.method().find("/Watch") != std::string::npos) {
      ++watches;
      serving(call);
      call.WaitForCancel();
    } else {
      serving(call);
    }
  });
  Relay relay(std::stoi(server.target().substr(server.target().rfind(':') + 1)));
  const Client client = Connect("127.0.0.1:" + std::to_string(relay.port()), {.health = {.check_service = ""}});
  while (watches == 0) std::this_thread::yield();
  Age();
  relay.Forget();
  const auto patience = Clock::now() + std::chrono::seconds(30);
  while (watches < 2 && Clock::now() < patience) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(watches == 2);
}

#if defined(__linux__)
namespace {
// TCP_USER_TIMEOUT, in milliseconds, of this process's connection to `port`; negative where there is none.
int UserTimeout(int port) {
  int found = -1;
  DIR* const all = ::opendir("/proc/self/fd");
  while (const dirent* const entry = ::readdir(all)) {
    const int fd = std::atoi(entry->d_name);
    sockaddr_in6 peer{};
    socklen_t size = sizeof(peer);
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) continue;
    const int to = ntohs(peer.sin6_family == AF_INET6 ? peer.sin6_port : reinterpret_cast<sockaddr_in&>(peer).sin_port);
    int value = 0;
    size = sizeof(value);
    if (to == port && ::getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &size) == 0) found = value;
  }
  ::closedir(all);
  return found;
}
}  // namespace

TEST_CASE("what is not acknowledged ends each connection in its time, PINGs or not", "[silent]") {
  using inferwire::ConnectionOptions;
  const struct {
    ConnectionOptions options;
    bool lends;
    int milliseconds;
  } cases[] = {{{}, false, 20'000},
               {{}, true, 1'000},
               {{.keepalive_time = absl::Seconds(10)}, false, 20'000},
               {{.keepalive_time = absl::Seconds(10)}, true, 1'000},
               {{.keepalive_time = absl::Seconds(10), .keepalive_timeout = absl::Milliseconds(500)}, false, 500},
               {{.keepalive_time = absl::Seconds(10), .keepalive_timeout = absl::Milliseconds(500)}, true, 500},
               {{.keepalive_timeout = absl::Seconds(5), .lent_memory_timeout = absl::Seconds(3)}, true, 3'000}};
  for (const auto& [options, lends, milliseconds] : cases) {
    const RawServer server(Echo);
    inferwire::detail::channel::Channel channel(server.target(), grpc::InsecureChannelCredentials(),
                                                inferwire::detail::channel::Arguments(1 << 20, options, ""), options);
    grpc::Channel& connection = *channel.connection(/*idempotent=*/true, lends)->channel();
    REQUIRE(connection.WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10)));
    // A few more, by which connections of one kind are told from each other.
    const int found = UserTimeout(std::stoi(server.target().substr(server.target().rfind(':') + 1)));
    CHECK(found >= milliseconds);
    CHECK(found <= milliseconds + milliseconds / 20 + 1);
  }
}
#endif
