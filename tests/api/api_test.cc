// SPDX-License-Identifier: Apache-2.0
//
// The public API as its users write it: what README and docs show, compiled and run word for word.
#include <inferwire/client.h>
#include <inferwire/contract/open_inference.h>
#include <inferwire/contract/simple.h>
#include <inferwire/inference.h>
#include <inferwire/testing/fake_server.h>

#include <array>
#include <cstdint>
#include <iostream>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/inference.grpc.pb.h"
#include "server/server.h"
#include "support/catch.h"

using Inference = inference::Inference::Stub;

namespace {

std::unique_ptr<inferwire::examples::EmbeddedServer> StartServer() {
  auto server = inferwire::examples::EmbeddedServer::Start({});
  REQUIRE(server.ok());
  return *std::move(server);
}

int used = 0;
void Use(const inference::Response&) { ++used; }

inferwire::Task<absl::Status> Ask(inferwire::Client& client, inference::Request request) {
  absl::StatusOr<inference::Response> reply = co_await client.Async<&Inference::RunInference>(request);
  co_return reply.status();
}

inferwire::Task<> ReadAll(inferwire::ResponseStream<inference::Response>& chunks) {
  while (std::optional<inference::Response> chunk = co_await chunks.Next()) Use(*chunk);
}

absl::Status Upload(const inferwire::Client* client, const inference::Request& request) {
  inferwire::RequestStream<inference::Request, inference::Response> upload =
      client->Upload<&Inference::UploadInference>();
  if (absl::Status sent = upload.Write(request); !sent.ok()) return sent;  // blocks while the write window is full
  absl::StatusOr<inference::Response> summary = upload.Finish();
  return summary.status();
}

absl::Status Converse(const inferwire::Client* client, const inference::Request& request) {
  inferwire::Session<inference::Request, inference::Response> session = client->Open<&Inference::Converse>();
  if (absl::Status sent = session.Write(request); !sent.ok()) return sent;
  if (absl::Status closed = session.WritesDone(); !closed.ok()) return closed;
  for (inference::Response& turn : session.responses()) Use(turn);
  absl::Status done = session.Finish();
  return done;
}

// A contract of the user's own.
struct Doubler {
  using Infer = inferwire::Rpc<&Inference::RunInference>;
  static absl::StatusOr<inference::Request> Encode(const inferwire::InferRequest& request) {
    absl::StatusOr<std::span<const float>> row = request.Get<float>("row");  // also model(), inputs(), parameters()
    if (!row.ok()) return row.status();
    inference::Request out;
    out.mutable_input()->Assign(row->begin(), row->end());
    return out;
  }
  static absl::StatusOr<inferwire::InferResult> Decode(inference::Response&& reply) {
    inferwire::InferResult result;
    result.Add("score", std::vector<float>{2 * reply.output(0)}, {1});
    return result;
  }
};
static_assert(inferwire::Contract<Doubler>);

}  // namespace

TEST_CASE("any generated service is called without macros, strings or plugins", "[api]") {
  const auto server = StartServer();
  absl::StatusOr<inferwire::Client> client = inferwire::Client::Create({
      .targets = {server->target()},
      .credentials = inferwire::Insecure(),
  });
  REQUIRE(client.ok());

  inference::Request request;
  request.add_input(0.5f);

  absl::StatusOr<inference::Response> reply = client->Call<&Inference::RunInference>(request);
  REQUIRE(reply.ok());
  CHECK(reply->output(0) == 0.5f);

  inferwire::Future<inference::Response> future = client->Async<&Inference::RunInference>(request);
  absl::StatusOr<inference::Response> later = std::move(future).Get();
  CHECK(later.ok());

  absl::Status asked = inferwire::SyncWait(Ask(*client, request));
  CHECK(asked.ok());

  request.set_model("storyteller");
  request.set_input(0, 10);
  request.set_text("Tom");
  inferwire::ResponseStream<inference::Response> chunks = client->Stream<&Inference::StreamInference>(request);
  for (inference::Response& chunk : chunks) {
    std::cout << chunk.text() << std::flush;
    break;
  }
  used = 0;
  inferwire::SyncWait(ReadAll(chunks));
  CHECK(used > 0);
  if (absl::Status end = chunks.status(); !end.ok()) std::cerr << end << "\n";
  CHECK(chunks.status().ok());

  request.clear_model();
  CHECK(Upload(&*client, request).ok());
  used = 0;
  CHECK(Converse(&*client, request).ok());
  CHECK(used == 1);
}

TEST_CASE("deadlines, retries and cancellation are set per client and per call", "[api]") {
  const auto server = StartServer();
  inferwire::ClientOptions options{
      .targets = {server->target(), server->target()},
      .credentials = inferwire::Insecure(),
      .timeout = absl::Seconds(10),
      .stream_timeout = absl::InfiniteDuration(),
      .idle_timeout = absl::Seconds(60),
      .attempt_timeout = absl::Seconds(2),
      .idempotent = true,
      .retry = {.max_attempts = 4,
                .initial_backoff = absl::Milliseconds(20),
                .max_backoff = absl::Seconds(2),
                .backoff_multiplier = 1.6,
                .retryable_codes = {absl::StatusCode::kUnavailable}},
      .retry_budget = {.ratio = 0.1, .min_per_second = 2},
      .hedge = inferwire::HedgePolicy{.delay = absl::Milliseconds(50), .max_hedges = 1, .max_ratio = 0.05},
      .pool = {.min_channels = 1, .max_channels = 8, .max_streams_per_channel = 100},
      .health = {.check_service = ""},
      .outliers = {.consecutive_failures = 5, .ejection = absl::Seconds(1)},
  };
  const auto client = inferwire::Client::Create(options);
  REQUIRE(client.ok());
  std::stop_source stop_source;
  inferwire::CallInfo info;
  inference::Request request;
  request.set_model("nobody");
  inferwire::CallOptions call{
      .timeout = absl::Milliseconds(5000),
      .stop = stop_source.get_token(),
      .metadata = {{"x-tenant", "a"}},
      .idempotent = false,
      .info = &info,
  };
  absl::StatusOr<inference::Response> reply = client->Call<&Inference::RunInference>(request, call);
  REQUIRE(!reply.ok());
  const inferwire::CallInfo told = inferwire::InfoOf(reply.status());
  CHECK(told.reason == inferwire::CallInfo::Reason::kPermanent);
  CHECK(told.attempts.size() == 1);
  CHECK(info.attempts.size() == 1);
  CHECK(told.details.empty());
}

TEST_CASE("a fake server answers as the test scripts it", "[api]") {
  inference::Response response;
  response.set_text("ready");
  inferwire::testing::FakeServer fake;
  fake.On<&Inference::RunInference>()
      .Fail(absl::UnavailableError("warming up"))
      .Times(2)
      .Then()
      .Delay(absl::Milliseconds(5))
      .Reply(response);
  auto client = inferwire::Client::Create({.targets = {fake.target()}, .credentials = inferwire::Insecure()});
  const auto reply = client->Call<&Inference::RunInference>(inference::Request());
  REQUIRE(reply.ok());
  CHECK(reply->text() == "ready");
  CHECK(fake.calls<&Inference::RunInference>() == 3);
}

TEST_CASE("inference is tensors in and tensors out, whatever the contract", "[api]") {
  const auto embedded = StartServer();
  auto server = inferwire::InferenceClient<inferwire::OpenInference>::Create(
      {.targets = {embedded->target()}, .credentials = inferwire::Insecure()});

  inferwire::Model digits = server->GetModel("digits");
  std::array<float, 64> pixels = {};

  absl::StatusOr<inferwire::InferResult> result = digits.Infer({{"image", std::span<const float>(pixels), {1, 64}}});
  REQUIRE(result.ok());
  absl::StatusOr<std::span<const float>> scores = result->Get<float>("scores");
  CHECK(scores->size() == 10);
  std::array<float, 10> my_buffer = {};
  absl::Status copied = result->CopyTo("scores", std::span<float>(my_buffer));
  CHECK(copied.ok());

  auto future = digits.AsyncInfer({{"image", std::span<const float>(pixels), {1, 64}}});
  CHECK(std::move(future).Get().ok());

  auto simple = inferwire::InferenceClient<inferwire::Simple>::Create(
      {.targets = {embedded->target()}, .credentials = inferwire::Insecure()});
  auto parts = simple->GetModel("storyteller").StreamInfer({{"prompt", std::vector<std::string>{"Once upon"}, {1}}});
  std::string story;
  for (inferwire::InferResult& part : parts) story += part.Get<std::string_view>("text")->front();
  CHECK(!story.empty());
}

TEST_CASE("a contract of one's own is a method, an Encode and a Decode", "[api]") {
  const auto embedded = StartServer();
  auto scorer = inferwire::InferenceClient<Doubler>::Create(
      {.targets = {embedded->target()}, .credentials = inferwire::Insecure()});
  const auto result = scorer->GetModel("identity").Infer({{"row", std::vector<float>{21}, {1}}});
  REQUIRE(result.ok());
  CHECK(result->Get<float>("score")->front() == 42);
}

TEST_CASE("streams of inference, sequences and directed outputs, as the docs write them", "[api]") {
  const auto embedded = StartServer();
  auto server = inferwire::InferenceClient<inferwire::OpenInference>::Create(
      {.targets = {embedded->target()}, .credentials = inferwire::Insecure()});
  REQUIRE(server.ok());

  auto parts = server->GetModel("storyteller").StreamInfer({{"prompt", std::vector<std::string>{"Once upon"}, {1}}});
  std::string story;
  for (inferwire::InferResult& part : parts) story += part.Get<std::string_view>("text")->front();
  CHECK(parts.status().ok());
  CHECK_FALSE(story.empty());

  auto sequence = server->GetModel("sequence_sum").Sequence(42);
  auto first = sequence.Step({{"INPUT", std::vector<std::int32_t>{1}, {1}}});
  auto last = sequence.End({{"INPUT", std::vector<std::int32_t>{2}, {1}}});
  REQUIRE(last.ok());
  CHECK(last->Get<std::int32_t>("OUTPUT")->front() == 3);

  const std::array<float, 64> pixels{};
  std::vector<float> scores(10);
  inferwire::InferRequest request = {{"image", std::span<const float>(pixels), {1, 64}}};
  request.set_output_buffer("scores", std::span(scores));
  absl::Status done = server->GetModel("digits").Infer(std::move(request)).status();
  REQUIRE(done.ok());
  CHECK(std::accumulate(scores.begin(), scores.end(), 0.0f) == Approx(1.0f));

  // What the model does not take is refused before it is sent, with what it expects.
  const auto wrong = server->GetModel("digits").Infer({{"image", std::vector<double>(64), {1, 64}}});
  CHECK(wrong.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(
      wrong.status().message() ==
      "input 'image' is FP64 [1,64]; model 'digits' expects FP32 [-1,64]; ModelOptions::check = false leaves it to the "
      "server");
}
