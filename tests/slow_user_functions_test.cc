// SPDX-License-Identifier: Apache-2.0
//
// Functions of the user's that take their time, and other calls that do not wait for them.
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "inferwire/contract/simple.h"
#include "inferwire/inference.h"
#include "support/inference.h"

using inferwire::Client;
using inferwire::InferenceClient;
using inferwire::InferRequest;
using namespace inferwire_test;  // NOLINT

namespace {

// A function that does not return before it is told to. Shared, since it may come to its end when nobody waits for it.
struct Hold {
  Event entered, go;
};
std::mutex held_mutex;
std::shared_ptr<Hold> held;
// Holds the next call of the function.
std::shared_ptr<Hold> HoldNext() {
  const std::lock_guard lock(held_mutex);
  return held = std::make_shared<Hold>();
}
void MayWait() {
  std::shared_ptr<Hold> hold;
  {
    const std::lock_guard lock(held_mutex);
    hold = std::exchange(held, nullptr);
  }
  if (hold == nullptr) return;
  hold->entered.Set();
  hold->go.Wait();
}

struct SlowSimple : inferwire::Simple {
  static bool Draining(const absl::Status&) {
    MayWait();
    return false;
  }
};
struct SlowOpenInference : inferwire::OpenInference {
  template <class Label>
  static absl::StatusOr<Label> ReadTag(inferwire::detail::wire::Reply& reply) {
    MayWait();
    return inferwire::OpenInference::ReadTag<Label>(reply);
  }
};

// Fails what says so, echoes the rest.
void Serve(RawCall& call) {
  while (const auto bytes = call.Read()) {
    if (TextOf(*bytes) == "fail") return call.Finish({grpc::StatusCode::ABORTED, "as you like"});
    if (!call.Write(Answer(TextOf(*bytes)))) return;
  }
}

// One on each loop.
bool OthersAreAnswered(const Client& client) {
  std::vector<inferwire::Future<inference::Response>> futures;
  for (int i = 0; i < 16; ++i) {
    futures.push_back(client.Async<&Inference::RunInference>(Text("x"), {.timeout = absl::Seconds(5)}));
  }
  bool ok = true;
  for (auto& future : futures) ok = std::move(future).Get().ok() && ok;
  return ok;
}

}  // namespace

TEST_CASE("other calls do not wait for a retry_if that takes its time", "[user]") {
  RawServer server(Serve);
  const Client client = Connect(server.target(), {.retry = {.retry_if = [](const absl::Status& status) {
                                                    MayWait();
                                                    return status.code() != absl::StatusCode::kAborted;
                                                  }}});
  const std::vector<std::pair<std::string, std::function<absl::Status(const std::function<void()>&)>>> forms = {
      {"Async",
       [&](const std::function<void()>& meanwhile) {
         auto future = client.Async<&Inference::RunInference>(Text("fail"));
         meanwhile();
         return std::move(future).Get().status();
       }},
      {"Stream",
       [&](const std::function<void()>& meanwhile) {
         auto stream = client.Stream<&Inference::StreamInference>(Text("fail"));
         meanwhile();
         while (stream.Read()) {
         }
         return stream.status();
       }},
      {"Open",
       [&](const std::function<void()>& meanwhile) {
         auto session = client.Open<&Inference::Converse>();
         session.Write(Text("fail")).IgnoreError();
         meanwhile();
         while (session.Read()) {
         }
         return session.Finish();
       }},
  };
  for (const auto& [name, form] : forms) {
    CAPTURE(name);
    const std::shared_ptr<Hold> hold = HoldNext();
    const absl::Status status = form([&] {
      CHECK(hold->entered.Wait());
      CHECK(OthersAreAnswered(client));
      hold->go.Set();
    });
    CHECK(status.code() == absl::StatusCode::kAborted);
    CHECK(Contains(status, "as you like"));
  }
}

TEST_CASE("a call can be cancelled, and comes to its deadline, while retry_if takes its time", "[user]") {
  RawServer server(Serve);
  const Client client = Connect(server.target(), {.retry = {.retry_if = [](const absl::Status&) {
                                                    MayWait();
                                                    return false;
                                                  }}});
  {
    const std::shared_ptr<Hold> hold = HoldNext();
    auto future = client.Async<&Inference::RunInference>(Text("fail"));
    REQUIRE(hold->entered.Wait());
    future.Cancel();
    CHECK(std::move(future).Get().status().code() == absl::StatusCode::kCancelled);
    hold->go.Set();
  }
  const std::shared_ptr<Hold> hold = HoldNext();
  auto stream = client.Stream<&Inference::StreamInference>(Text("fail"), {.timeout = absl::Milliseconds(300)});
  REQUIRE(hold->entered.Wait());
  CHECK_FALSE(stream.Read().has_value());
  CHECK(stream.status().code() == absl::StatusCode::kDeadlineExceeded);
  hold->go.Set();
  CHECK(OthersAreAnswered(client));
}

TEST_CASE("other calls do not wait for a contract's Draining that takes its time", "[user]") {
  RawServer server(Serve);
  const Client client = Connect(server.target());
  const auto model = InferenceClient<SlowSimple>(client).GetModel("m");
  const InferRequest request{{"text", std::vector<std::string>{"fail"}, {1}}};
  const std::shared_ptr<Hold> hold = HoldNext();
  auto future = model.AsyncInfer(request);
  CHECK(hold->entered.Wait());
  CHECK(OthersAreAnswered(client));
  hold->go.Set();
  CHECK(std::move(future).Get().status().code() == absl::StatusCode::kAborted);
}

TEST_CASE("other calls do not wait for a contract's ReadTag that takes its time", "[user]") {
  RawServer server([](RawCall& call) {
    if (call.method().find("ModelStreamInfer") == std::string::npos) return Serve(call);
    while (const auto bytes = call.Read()) {
      inferwire::open_inference::ModelInferRequest request;
      if (!request.ParseFromString(*bytes)) return;
      inferwire::open_inference::ModelStreamInferResponse message;
      auto& response = *message.mutable_infer_response();
      response.set_id(request.id());
      (*response.mutable_parameters())["triton_final_response"].set_bool_param(true);
      if (!call.Write(message.SerializeAsString())) return;
    }
  });
  const Client client = Connect(server.target());
  const auto model = InferenceClient<SlowOpenInference>(client).GetModel("m", {.check = false});
  for (int round = 0; round < 2; ++round) {
    const std::shared_ptr<Hold> hold = HoldNext();
    auto results = model.StreamInfer({{"x", std::vector<float>{1}, {1}}});
    CHECK(hold->entered.Wait());
    CHECK(OthersAreAnswered(client));
    hold->go.Set();
    while (results.Read()) {
    }
    CHECK(results.status().ok());
  }
}
