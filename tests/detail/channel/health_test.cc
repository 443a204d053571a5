// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/channel/health.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "inferwire/inference.h"
#include "inferwire/testing/fake_server.h"
#include "support/inference.h"

using inferwire::Client;
using inferwire::ClientOptions;
using inferwire::HealthPolicy;
using inferwire::OpenInference;
using inferwire::RpcKind;
using inferwire::detail::channel::DecodeHealthResponse;
using inferwire::detail::channel::EncodeHealthRequest;
using inferwire::testing::FakeServer;
using namespace inferwire_test;  // NOLINT

namespace {

// grpc.health.v1 by its bytes.
struct Watch {
  using Request = inference::Request;
  using Response = inference::Response;
  static constexpr RpcKind kKind = RpcKind::kServerStream;
  static const std::string& path() {
    static const std::string text = "/grpc.health.v1.Health/Watch";
    return text;
  }
};
struct Check {
  using Request = inference::Request;
  using Response = inference::Response;
  static constexpr RpcKind kKind = RpcKind::kUnary;
  static const std::string& path() {
    static const std::string text = "/grpc.health.v1.Health/Check";
    return text;
  }
};
const std::string kServing = "\x08\x01";
const std::string kNotServing = "\x08\x02";

// Tells Watch's client that, and nothing more.
std::function<grpc::Status(inferwire::testing::Call&)> Says(const std::string& status) {
  return [status](inferwire::testing::Call& call) {
    call.Write(status);
    call.WaitForCancel();
    return grpc::Status();
  };
}

ClientOptions Options(std::vector<std::string> targets, HealthPolicy health) {
  ClientOptions options;
  options.targets = std::move(targets);
  options.credentials = inferwire::Insecure();
  options.health = std::move(health);
  options.outliers.slow_start = absl::ZeroDuration();
  return options;
}

// Calls until what Stats says of the targets' health is as wanted, and for ten seconds at most.
bool Becomes(const Client& client, const std::vector<bool>& wanted) {
  for (const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
       std::chrono::steady_clock::now() < until; std::this_thread::yield()) {
    std::vector<bool> healthy;
    for (const auto& target : client.Stats().targets) healthy.push_back(target.healthy);
    if (healthy == wanted) return true;
  }
  return false;
}

// Calls until that server answers one, and for ten seconds at most.
bool IsUsed(const Client& client, const std::string& text) {
  for (const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
       std::chrono::steady_clock::now() < until;) {
    const auto reply = client.Call<&Inference::RunInference>(Text("x"));
    if (reply.ok() && reply->text() == text) return true;
  }
  return false;
}

// Who answered so many calls.
std::map<std::string, int> Shares(const Client& client, int calls) {
  std::map<std::string, int> out;
  for (int i = 0; i < calls; ++i) {
    const auto reply = client.Call<&Inference::RunInference>(Text("x"));
    ++out[reply.ok() ? reply->text() : std::string(reply.status().message())];
  }
  return out;
}

inferwire::detail::wire::Reply Received(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  grpc::ByteBuffer buffer(&slice, 1);
  inferwire::detail::wire::Reply reply;
  REQUIRE(grpc::SerializationTraits<inferwire::detail::wire::Reply>::Deserialize(&buffer, &reply).ok());
  return reply;
}

}  // namespace

TEST_CASE("a health question and its answer have the bytes of grpc.health.v1", "[health]") {
  CHECK(EncodeHealthRequest("").empty());
  CHECK(EncodeHealthRequest("abc") ==
        "\x0a\x03"
        "abc");
  const std::string name(300, 'n');
  CHECK(EncodeHealthRequest(name) == "\x0a\xac\x02" + name);
  CHECK(DecodeHealthResponse(Received(kServing)));
  CHECK_FALSE(DecodeHealthResponse(Received(kNotServing)));
  CHECK_FALSE(DecodeHealthResponse(Received("")));                      // UNKNOWN
  CHECK_FALSE(DecodeHealthResponse(Received("\x08\x03")));              // SERVICE_UNKNOWN
  CHECK_FALSE(DecodeHealthResponse(Received("\x08\x81\x80\x80\x10")));  // no such status
  CHECK_FALSE(DecodeHealthResponse(Received("\x08")));                  // cut off
  CHECK(DecodeHealthResponse(Received("\x12\x01x\x08\x01")));           // with a field of the future
}

TEST_CASE("a health policy that makes no sense is refused by name", "[health]") {
  using inferwire::detail::channel::Validate;
  CHECK(Validate(HealthPolicy{}).ok());
  CHECK(Validate({.check_service = ""}).ok());
  CHECK(Contains(Validate({.interval = absl::ZeroDuration()}), "health.interval is 0"));
  CHECK(Contains(Validate({.timeout = absl::ZeroDuration()}), "timeout 0"));
  CHECK(Contains(Validate({.check_service = "", .readiness = inferwire::ServerReady<OpenInference>()}), "one of them"));
  CHECK(Contains(Validate({.readiness = inferwire::ReadinessCheck{}}), "lacks a path"));
  CHECK_FALSE(Validate({.check_service = std::string(5000, 'x')}).ok());
}

TEST_CASE("a target that says it does not serve is left out, and used again when it says it does", "[health]") {
  FakeServer steady, changing;
  steady.On<&Inference::RunInference>().Reply(Response("steady"));
  changing.On<&Inference::RunInference>().Reply(Response("changing"));
  steady.On<Watch>().Do(Says(kServing));
  Event back;
  changing.On<Watch>().Do([&](inferwire::testing::Call& call) {
    call.Write(kNotServing);
    back.Wait();
    call.Write(kServing);
    call.WaitForCancel();
    return grpc::Status();
  });
  {
    const Client client = *Client::Create(Options({steady.target(), changing.target()}, {.check_service = "scorer"}));
    REQUIRE(Becomes(client, {true, false}));
    CHECK(Shares(client, 50) == std::map<std::string, int>{{"steady", 50}});
    back.Set();
    REQUIRE(Becomes(client, {true, true}));
    CHECK(IsUsed(client, "changing"));
    CHECK(changing.calls<Watch>() == 1);
    CHECK(changing.requests<Watch>().size() <= 1);
  }
  // The streams end with their client.
  CHECK(steady.WaitForCancelled<Watch>(1));
  CHECK(changing.WaitForCancelled<Watch>(1));
}

TEST_CASE("a server without Watch is asked by Check, and one without a health service has no opinion", "[health]") {
  FakeServer checked, silent;
  checked.On<&Inference::RunInference>().Reply(Response("checked"));
  silent.On<&Inference::RunInference>().Reply(Response("silent"));
  checked.On<Watch>().Fail(absl::UnimplementedError("no Watch"));
  std::atomic<bool> serving{false};
  checked.On<Check>().Do([&](inferwire::testing::Call& call) {
    call.Write(serving ? kServing : kNotServing);
    return grpc::Status();
  });
  const Client client = *Client::Create(
      Options({checked.target(), silent.target()}, {.check_service = "", .interval = absl::Milliseconds(20)}));
  REQUIRE(Becomes(client, {false, true}));
  CHECK(Shares(client, 50) == std::map<std::string, int>{{"silent", 50}});
  serving = true;
  REQUIRE(Becomes(client, {true, true}));
  CHECK(checked.calls<Watch>() == 1);
  CHECK(checked.calls<Check>() >= 2);
  REQUIRE(silent.WaitForCalls<Check>(1));
  CHECK(IsUsed(client, "silent"));
}

TEST_CASE("where no target is healthy all are used", "[health]") {
  FakeServer one, other;
  for (FakeServer* const fake : {&one, &other}) {
    fake->On<&Inference::RunInference>().Reply(Response("served"));
    fake->On<Watch>().Do(Says(kNotServing));
  }
  const Client client = *Client::Create(Options({one.target(), other.target()}, {.check_service = ""}));
  REQUIRE(Becomes(client, {false, false}));
  CHECK(Shares(client, 100) == std::map<std::string, int>{{"served", 100}});
  CHECK(one.calls<&Inference::RunInference>() > 0);
  CHECK(other.calls<&Inference::RunInference>() > 0);
}

TEST_CASE("a stream of health that breaks is opened again and changes nothing", "[health]") {
  FakeServer fake, other;
  other.On<&Inference::RunInference>().Reply(Response("other"));
  fake.On<Watch>()
      .Do([](inferwire::testing::Call& call) {
        call.Write(kServing);
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "too old");
      })
      .Times(3)
      .Then()
      .Do(Says(kNotServing));
  const Client client = *Client::Create(
      Options({fake.target(), other.target()}, {.check_service = "", .interval = absl::Milliseconds(20)}));
  REQUIRE(fake.WaitForCalls<Watch>(2));
  CHECK(client.Stats().targets[0].healthy);
  REQUIRE(Becomes(client, {false, true}));
  CHECK(fake.calls<Watch>() == 4);
}

TEST_CASE("a server that is down is not healthy, and is again once it is back", "[health]") {
  FakeServer fake, other;
  for (FakeServer* const one : {&fake, &other}) {
    one->On<Watch>().Do(Says(kServing));
  }
  const Client client = *Client::Create(
      Options({fake.target(), other.target()}, {.check_service = "", .interval = absl::Milliseconds(20)}));
  REQUIRE(fake.WaitForCalls<Watch>(1));
  fake.Stop();
  REQUIRE(Becomes(client, {false, true}));
  fake.Start();
  REQUIRE(Becomes(client, {true, true}));
}

TEST_CASE("gRPC's own health service is understood", "[health]") {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  inference::Inference::Service service;  // it wants one beside it
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  grpc::EnableDefaultHealthCheckService(false);
  FakeServer other;
  {
    const Client client =
        *Client::Create(Options({"127.0.0.1:" + std::to_string(port), other.target()},
                                {.check_service = "acme.Scorer", .interval = absl::Milliseconds(20)}));
    REQUIRE(Becomes(client, {false, true}));  // SERVICE_UNKNOWN
    server->GetHealthCheckService()->SetServingStatus("acme.Scorer", true);
    REQUIRE(Becomes(client, {true, true}));
    server->GetHealthCheckService()->SetServingStatus(false);
    REQUIRE(Becomes(client, {false, true}));
  }
  server->Shutdown(std::chrono::system_clock::now());
}

TEST_CASE("a contract's own readiness decides, of the server or of a model", "[health]") {
  FakeServer ready, loading;
  inferwire::open_inference::ModelReadyResponse yes, no;
  yes.set_ready(true);
  ready.On<OpenInference::ModelReady>().Reply(yes);
  loading.On<OpenInference::ModelReady>().Reply(no);
  inferwire::open_inference::ServerReadyResponse up;
  up.set_ready(true);
  ready.On<OpenInference::ServerReady>().Reply(up);
  loading.On<OpenInference::ServerReady>().Fail(absl::UnavailableError("Server exiting"));
  const Client by_model = *Client::Create(
      Options({ready.target(), loading.target()},
              {.readiness = inferwire::ModelReady<OpenInference>("digits", "2"), .interval = absl::Milliseconds(20)}));
  REQUIRE(Becomes(by_model, {true, false}));
  const auto asked = loading.requests<OpenInference::ModelReady>();
  REQUIRE_FALSE(asked.empty());
  CHECK(asked[0].name() == "digits");
  CHECK(asked[0].version() == "2");
  const Client by_server =
      *Client::Create(Options({ready.target(), loading.target()}, {.readiness = inferwire::ServerReady<OpenInference>(),
                                                                   .interval = absl::Milliseconds(20)}));
  REQUIRE(Becomes(by_server, {true, false}));
}

TEST_CASE("targets that come and go are followed and left", "[health]") {
  FakeServer first, second;
  for (FakeServer* const one : {&first, &second}) {
    one->On<Watch>().Do(Says(kServing));
  }
  const Client client = *Client::Create(Options({first.target()}, {.check_service = ""}));
  REQUIRE(first.WaitForCalls<Watch>(1));
  REQUIRE(client.SetTargets({second.target()}).ok());
  CHECK(first.WaitForCancelled<Watch>(1));
  CHECK(second.WaitForCalls<Watch>(1));
}

TEST_CASE("a client that is shut down asks nobody any more", "[health]") {
  FakeServer fake;
  fake.On<Watch>().Do(Says(kServing));
  const Client client = *Client::Create(Options({fake.target()}, {.check_service = ""}));
  REQUIRE(fake.WaitForCalls<Watch>(1));
  client.Shutdown();
  CHECK(fake.WaitForCancelled<Watch>(1));
  CHECK(client.SetTargets({fake.target()}).ok());
  CHECK(fake.calls<Watch>() == 1);
}

TEST_CASE("a draining Triton's NOT_FOUND goes to another target, and a model that is unknown is an error", "[health]") {
  FakeServer draining, serving;
  draining.On<OpenInference::Infer>().Fail(
      absl::NotFoundError("Request for unknown model: 'digits' has no available versions"));
  serving.On<OpenInference::Infer>().Do([](inferwire::testing::Call& call) {
    inferwire::open_inference::ModelInferResponse response;
    response.set_model_name("digits");
    call.Write(response);
    return grpc::Status();
  });
  ClientOptions options = Options({draining.target(), serving.target()}, {});
  for (const bool idempotent : {true, false}) {
    options.idempotent = idempotent;
    const auto server = inferwire::InferenceClient<OpenInference>::Create(options);
    REQUIRE(server.ok());
    const std::array<float, 1> row{1};
    for (int i = 0; i < 50; ++i) {
      const auto result = server->GetModel("digits").Infer({{"row", std::span<const float>(row), {1, 1}}});
      INFO(result.status());
      REQUIRE(result.ok());
    }
  }
  CHECK(draining.calls<OpenInference::Infer>() < 40);
  // A target alone: what it says is the answer.
  const auto alone = inferwire::InferenceClient<OpenInference>::Create(Options({draining.target()}, {}));
  CHECK(alone->GetModel("digits").Infer({}).status().code() == absl::StatusCode::kNotFound);
}
