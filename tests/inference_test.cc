// SPDX-License-Identifier: Apache-2.0
#include "inferwire/inference.h"

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "inferwire/contract/simple.h"
#include "server/server.h"
#include "support/inference.h"

using inferwire::InferenceClient;
using inferwire::InferRequest;
using inferwire::InferResult;
using inferwire::OpenInference;
using inferwire::Simple;
using namespace inferwire_test;  // NOLINT

namespace {
std::unique_ptr<inferwire::examples::EmbeddedServer> StartServer() {
  auto server = inferwire::examples::EmbeddedServer::Start({});
  REQUIRE(server.ok());
  return *std::move(server);
}
template <class C>
InferenceClient<C> Speak(const std::string& target) {
  return InferenceClient<C>(Connect(target));
}
}  // namespace

TEST_CASE("a server's client is waited for, counted, moved and shut down as any client", "[inference]") {
  const auto server = StartServer();
  const auto client = Speak<Simple>(server->target());
  CHECK(client.WaitUntilReady(absl::Seconds(10)).ok());
  CHECK(client.Stats().targets.size() == 1);
  CHECK(client.SetTargets({}).code() == absl::StatusCode::kInvalidArgument);
  CHECK(client.SetTargets({"127.0.0.1:1", server->target()}).ok());
  CHECK(client.Stats().targets.size() == 2);
  client.Shutdown();
  const std::array<float, 64> pixels{};
  const absl::Status late =
      client.GetModel("digits").Infer({{"image", std::span<const float>(pixels), {1, 64}}}).status();
  CHECK(late.code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("the same call works on both contracts: only the type differs", "[inference]") {
  const auto server = StartServer();
  const std::array<float, 64> pixels{};
  const auto open = Speak<OpenInference>(server->target())
                        .GetModel("digits")
                        .Infer({{"image", std::span<const float>(pixels), {1, 64}}});
  REQUIRE(open.ok());
  const auto simple =
      Speak<Simple>(server->target()).GetModel("digits").Infer({{"image", std::span<const float>(pixels), {1, 64}}});
  REQUIRE(simple.ok());
  const auto scores = open->Get<float>("scores");
  const auto output = simple->Get<float>("output");
  REQUIRE(scores.ok());
  REQUIRE(output.ok());
  CHECK(std::vector<float>(scores->begin(), scores->end()) == std::vector<float>(output->begin(), output->end()));
}

TEST_CASE("strings and several inputs go through the open protocol", "[inference]") {
  const auto server = StartServer();
  const auto client = Speak<OpenInference>(server->target());
  const auto echoed = client.GetModel("identity", {.check = false})
                          .Infer({{"INPUT0", std::vector<std::string>{"a", "", std::string("\0b", 2)}, {3}}});
  REQUIRE(echoed.ok());
  CHECK((*echoed->Get<std::string_view>(echoed->outputs().front().name()))[2] == std::string("\0b", 2));
  const auto sum =
      client.GetModel("add_sub")
          .AsyncInfer({{"INPUT0", std::vector<float>{3, 4}, {2}}, {"INPUT1", std::vector<float>{1, 2}, {2}}})
          .Get();
  REQUIRE(sum.ok());
  CHECK((*sum->Get<float>("OUTPUT0"))[1] == 6);
  CHECK((*sum->Get<float>("OUTPUT1"))[0] == 2);
}

TEST_CASE("a server tells of itself and of its models", "[inference]") {
  const auto server = StartServer();
  const auto client = Speak<OpenInference>(server->target());
  CHECK(client.Live().value());
  CHECK(client.Ready().value());
  CHECK_FALSE(client.Metadata()->name.empty());
  const auto digits = client.GetModel("digits");
  CHECK(digits.Ready().value());
  const auto metadata = digits.Metadata();
  REQUIRE(metadata.ok());
  CHECK(metadata->inputs[0].name == "image");
  CHECK(metadata->inputs[0].datatype == inferwire::DataType::kFp32);
  CHECK(metadata->inputs[0].shape.ToString() == "[-1,64]");
}

TEST_CASE("a story streams as results", "[inference]") {
  const auto server = StartServer();
  auto parts = Speak<Simple>(server->target())
                   .GetModel("storyteller")
                   .StreamInfer({{"prompt", std::vector<std::string>{"Tom"}, {1}}});
  std::string story;
  for (InferResult& part : parts) story += part.Get<std::string_view>("text")->front();
  CHECK(parts.status().ok());
  CHECK(story.size() > 50);
}

TEST_CASE("a request that is not well formed is refused before anything is sent", "[inference]") {
  RawServer server(Echo);
  const auto model = Speak<Simple>(server.target()).GetModel("m");
  const std::vector<float> ten(10);
  const InferRequest bad = {{"image", std::span<const float>(ten), {1, 64}}};
  const absl::Status status = model.Infer(bad).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(status, "input 'image': shape [1,64] holds 64 elements, but 10 were given"));
  CHECK(model.AsyncInfer(bad).Get().status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(model.StreamInfer(bad).Finish().code() == absl::StatusCode::kInvalidArgument);
  CHECK(server.calls() == 0);
}

TEST_CASE("what the server refuses comes through with its reason", "[inference]") {
  const auto server = StartServer();
  const auto client = Speak<OpenInference>(server->target());
  CHECK(client.GetModel("nobody").Infer({}).status().code() == absl::StatusCode::kNotFound);
  const std::vector<float> data(64);
  const std::span<const float> span(data);
  CHECK(client.GetModel("digits").Infer({{"picture", span, {1, 64}}}).status().code() ==
        absl::StatusCode::kInvalidArgument);
  CHECK(client.GetModel("digits").Infer({{"image", span, {2, 32}}}).status().code() ==
        absl::StatusCode::kInvalidArgument);
  CHECK(client.GetModel("digits").Infer({{"image", std::vector<double>(64), {1, 64}}}).status().code() ==
        absl::StatusCode::kInvalidArgument);
  CHECK(client.GetModel("digits").Infer({}).status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("an answer that contradicts itself is the call's error", "[inference][trap]") {
  RawServer server([](RawCall& call) {
    call.Read();
    inference::Response response;
    response.add_output(1);
    response.add_shape(100);
    call.Write(response.SerializeAsString());
  });
  const absl::Status status = Speak<Simple>(server.target()).GetModel("m").Infer({}).status();
  CHECK(status.code() == absl::StatusCode::kInternal);
  CHECK(Contains(status, "shape [100] holds 100 elements, but 1 were given"));
}

TEST_CASE("a huge tensor goes out and comes back", "[inference]") {
  const auto server = StartServer();
  const std::vector<float> big(16 << 20, 1.5f);  // 64 MiB
  const auto result =
      Speak<OpenInference>(server->target())
          .GetModel("identity", {.check = false})
          .Infer({{"INPUT0", std::span<const float>(big), {16, 1 << 20}}}, {.timeout = absl::Minutes(1)});
  REQUIRE(result.ok());
  const auto back = result->Get<float>(result->outputs().front().name());
  REQUIRE(back.ok());
  CHECK(back->size() == big.size());
  CHECK(back->back() == 1.5f);
}

TEST_CASE("a step of a sequence is sent once, to one server", "[inference]") {
  RawServer server([](RawCall& call) { call.Finish(grpc::Status(grpc::UNAVAILABLE, "perhaps it was done")); });
  const auto model = Speak<OpenInference>(server.target()).GetModel("m", {.check = false});
  InferRequest request;
  request.set_sequence({.id = 7});
  CHECK_FALSE(model.Infer(request).ok());
  CHECK(server.calls() == 1);
  CHECK_FALSE(model.AsyncInfer(request).Get().ok());
  CHECK(server.calls() == 2);
  CHECK_FALSE(model.Infer({}).ok());
  CHECK(server.calls() > 3);
}
