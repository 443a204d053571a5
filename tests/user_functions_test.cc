// SPDX-License-Identifier: Apache-2.0
//
// Whatever a function of the user's throws ends the call that it was for, and nothing else.
#include <atomic>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/batcher.h"
#include "inferwire/contract/open_inference.h"
#include "inferwire/contract/simple.h"
#include "inferwire/inference.h"
#include "inferwire/testing/fake_clock.h"
#include "inferwire/testing/fake_server.h"
#include "support/inference.h"

using inferwire::AccessToken;
using inferwire::BearerToken;
using inferwire::CallInfo;
using inferwire::Client;
using inferwire::ClientOptions;
using inferwire::InferenceClient;
using inferwire::InferRequest;
using inferwire::InferResult;
using inferwire::OpenInference;
using inferwire::Simple;
using inferwire::Task;
using inferwire::testing::FakeClock;
using inferwire::testing::FakeServer;
using namespace inferwire_test;  // NOLINT

namespace {

// A function of the user's that throws once it is armed: each of the two kinds of exceptions.
class Bomb {
 public:
  enum class Kind { kStandard, kOther };
  explicit Bomb(Kind kind) : kind_(kind) {}
  void Arm(bool armed) { armed_ = armed; }
  void Check() const {
    if (!armed_) return;
    if (kind_ == Kind::kStandard) throw std::runtime_error("boom");
    throw 42;
  }
  std::string text() const { return kind_ == Kind::kStandard ? ": boom" : ", which is no std::exception"; }

 private:
  const Kind kind_;
  std::atomic<bool> armed_{true};
};
using Shared = std::shared_ptr<Bomb>;

// An observer of which one function throws.
struct Watcher final : inferwire::Observer {
  struct One final : inferwire::CallObserver {
    explicit One(const Watcher& of) : watcher(of) {}
    void AttemptStarted(const AttemptStart&, inferwire::Metadata&) override { watcher.Check("AttemptStarted"); }
    void AttemptEnded(int, const CallInfo::Attempt&) override { watcher.Check("AttemptEnded"); }
    void RetryScheduled(absl::Duration) override { watcher.Check("RetryScheduled"); }
    void Ended(const absl::Status&, const CallInfo&) override { watcher.Check("Ended"); }
    const Watcher& watcher;
  };
  Watcher(Shared throws, std::string in) : bomb(std::move(throws)), function(std::move(in)) {}
  std::unique_ptr<inferwire::CallObserver> CallStarted(const CallStart&) override {
    Check("CallStarted");
    return std::make_unique<One>(*this);
  }
  void Check(const std::string& here) const {
    if (here == function) bomb->Check();
  }
  const Shared bomb;
  const std::string function;
};

struct ThrowingClock final : inferwire::Clock {
  ThrowingClock(Shared throws, bool throws_in_now) : bomb(std::move(throws)), in_now(throws_in_now) {}
  inferwire::TimePoint Now() const override {
    if (in_now) bomb->Check();
    return clock.Now();
  }
  void SetAlarm(const void* key, inferwire::TimePoint at, absl::AnyInvocable<void()> ring) override {
    if (!in_now) bomb->Check();
    clock.SetAlarm(key, at, std::move(ring));
  }
  const Shared bomb;
  const bool in_now;
  FakeClock clock;
};

struct ThrowingExecutor final : inferwire::Executor {
  explicit ThrowingExecutor(Shared throws) : bomb(std::move(throws)) {}
  void Run(absl::AnyInvocable<void()> work) override {
    bomb->Check();
    pool.Run(std::move(work));
  }
  const Shared bomb;
  inferwire::ThreadPool pool{1};
};

struct Case {
  std::string function;
  absl::StatusCode code;
  std::function<void(ClientOptions&, const Shared&)> install;
};

std::vector<Case> Functions() {
  constexpr auto kInternal = absl::StatusCode::kInternal;
  std::vector<Case> out = {
      {"the function of BearerToken", absl::StatusCode::kUnauthenticated,
       [](ClientOptions& options, const Shared& bomb) {
         options.token = BearerToken([bomb]() -> absl::StatusOr<AccessToken> {
                           bomb->Check();
                           return AccessToken{"token"};
                         }).EvenOverPlaintext();
       }},
      {"Executor::Run", absl::StatusCode::kUnauthenticated,
       [](ClientOptions& options, const Shared& bomb) {
         options.executor = std::make_shared<ThrowingExecutor>(bomb);
         options.token =
             BearerToken([]() -> absl::StatusOr<AccessToken> { return AccessToken{"token"}; }).EvenOverPlaintext();
       }},
      {"RetryPolicy::retry_if", kInternal,
       [](ClientOptions& options, const Shared& bomb) {
         options.retry.retry_if = [bomb](const absl::Status&) {
           bomb->Check();
           return true;
         };
       }},
      {"ClientOptions::random", kInternal,
       [](ClientOptions& options, const Shared& bomb) {
         options.random = [bomb] {
           bomb->Check();
           return 0.5;
         };
       }},
      {"Clock::Now", kInternal,
       [](ClientOptions& options, const Shared& bomb) { options.clock = std::make_shared<ThrowingClock>(bomb, true); }},
      {"Clock::SetAlarm", kInternal,
       [](ClientOptions& options, const Shared& bomb) {
         options.clock = std::make_shared<ThrowingClock>(bomb, false);
       }},
      {"Observer::CallStarted", kInternal,
       [](ClientOptions& options, const Shared& bomb) {
         options.observer = std::make_shared<Watcher>(bomb, "CallStarted");
       }},
  };
  for (const char* const function : {"AttemptStarted", "AttemptEnded", "RetryScheduled", "Ended"}) {
    out.push_back(
        {std::string("CallObserver::") + function, kInternal, [function](ClientOptions& options, const Shared& bomb) {
           options.observer = std::make_shared<Watcher>(bomb, function);
         }});
  }
  return out;
}

// The forms of a call, each as its final status.
struct Form {
  const char* name;
  std::function<absl::Status(const Client&)> call;
};
std::vector<Form> Forms() {
  return {
      {"Call", [](const Client& client) { return client.Call<&Inference::RunInference>(Text("x")).status(); }},
      {"Async", [](const Client& client) { return client.Async<&Inference::RunInference>(Text("x")).Get().status(); }},
      {"a hedged call",
       [](const Client& client) {
         return client.Call<&Inference::RunInference>(Text("x"), {.hedge = inferwire::HedgePolicy{}}).status();
       }},
      {"Stream",
       [](const Client& client) {
         auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
         while (stream.Read().has_value()) {
         }
         return stream.status();
       }},
      {"Upload",
       [](const Client& client) {
         auto upload = client.Upload<&Inference::UploadInference>();
         return upload.Finish().status();
       }},
      {"Open",
       [](const Client& client) {
         auto session = client.Open<&Inference::Converse>();
         return session.Finish();
       }},
  };
}

// Refuses the first attempt of each method, and answers all others.
void Serve(FakeServer& fake) {
  const absl::Status busy = absl::UnavailableError("busy");
  fake.On<&Inference::RunInference>().Fail(busy).Times(1).Then().Reply(Response("a"));
  fake.On<&Inference::StreamInference>().Fail(busy).Times(1).Then().Reply(Response("a"));
  fake.On<&Inference::UploadInference>().Fail(busy).Times(1).Then().Reply(Response("a"));
  fake.On<&Inference::Converse>().Fail(busy).Times(1).Then().Reply(Response("a"));
}

}  // namespace

TEST_CASE("what a function of the user's throws ends its call, and the next call works", "[user]") {
  for (const Case& one : Functions()) {
    for (const Form& form : Forms()) {
      // What was sent may not be sent again, so that nobody is asked about a second attempt.
      const bool sends_once = std::string(form.name) == "Upload" || std::string(form.name) == "Open";
      if (sends_once && (one.function == "CallObserver::RetryScheduled" || one.function == "RetryPolicy::retry_if" ||
                         one.function == "ClientOptions::random")) {
        continue;
      }
      for (const Bomb::Kind kind : {Bomb::Kind::kStandard, Bomb::Kind::kOther}) {
        INFO(one.function << " in " << form.name);
        FakeServer fake;
        Serve(fake);
        const auto bomb = std::make_shared<Bomb>(kind);
        ClientOptions options;
        options.retry.initial_backoff = absl::ZeroDuration();
        one.install(options, bomb);
        const Client client = Connect(fake.target(), std::move(options));
        const absl::Status status = form.call(client);
        CHECK(status.code() == one.code);
        CHECK(Contains(status, one.function + bomb->text()));
        CHECK(client.Stats().failed == 1);
        bomb->Arm(false);
        for (int i = 0; i < 2; ++i) {
          const absl::Status next = form.call(client);
          if (i > 0 || !sends_once) CHECK(next.ok());
        }
        CHECK(client.Stats().in_flight == 0);
      }
    }
  }
}

TEST_CASE("what an observer throws at the end of a failed call leaves its story in the text", "[user]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Fail(absl::NotFoundError("no such model"));
  const auto bomb = std::make_shared<Bomb>(Bomb::Kind::kStandard);
  const Client client = Connect(fake.target(), {.observer = std::make_shared<Watcher>(bomb, "Ended")});
  CallInfo info;
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x"), {.info = &info}).status();
  CHECK(status.code() == absl::StatusCode::kInternal);
  CHECK(Contains(status, "boom; the call had ended with NOT_FOUND: no such model"));
  CHECK(info.attempts.size() == 1);
}

TEST_CASE("a call that succeeded is not given where the observer throws at its end", "[user]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("a"));
  for (const char* const function : {"AttemptEnded", "Ended"}) {
    const auto bomb = std::make_shared<Bomb>(Bomb::Kind::kStandard);
    const Client client = Connect(fake.target(), {.observer = std::make_shared<Watcher>(bomb, function)});
    CHECK(Contains(client.Call<&Inference::RunInference>(Text("x")).status(), "boom"));
    bomb->Arm(false);
    CHECK(client.Call<&Inference::RunInference>(Text("x")).ok());
  }
}

TEST_CASE("random numbers beyond their bounds are taken for the nearest within", "[user]") {
  for (const double drawn : {-1.0, 1.0, 2.0, 1e300, std::numeric_limits<double>::quiet_NaN(),
                             std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()}) {
    INFO(drawn);
    FakeServer first, second;
    Serve(first);
    Serve(second);
    auto client = Client::Create({.targets = {first.target(), second.target()},
                                  .credentials = inferwire::Insecure(),
                                  .retry = {.initial_backoff = absl::Milliseconds(1)},
                                  .random = [drawn] { return drawn; }});
    REQUIRE(client.ok());
    for (int i = 0; i < 5; ++i) CHECK(client->Call<&Inference::RunInference>(Text("x")).ok());
  }
}

namespace {

Bomb contract_bomb(Bomb::Kind::kStandard);
std::string contract_function;
void CheckContract(const std::string& here) {
  if (here == contract_function) contract_bomb.Check();
}

struct ThrowingSimple : Simple {
  static absl::StatusOr<inference::Request> Encode(const InferRequest& request) {
    CheckContract("Encode");
    return Simple::Encode(request);
  }
  static absl::StatusOr<InferResult> Decode(inference::Response&& response) {
    CheckContract("Decode");
    return Simple::Decode(std::move(response));
  }
  static bool Draining(const absl::Status&) {
    CheckContract("Draining");
    return false;
  }
};
static_assert(inferwire::StreamingContract<ThrowingSimple> && inferwire::DetectsDraining<ThrowingSimple>);

struct ThrowingOpenInference : OpenInference {
  static absl::StatusOr<InferResult> DecodeStreamed(inferwire::detail::wire::Reply&& reply) {
    CheckContract("DecodeStreamed");
    return OpenInference::DecodeStreamed(std::move(reply));
  }
  template <class Label>
  static absl::StatusOr<Label> ReadTag(inferwire::detail::wire::Reply& reply) {
    CheckContract("ReadTag");
    return OpenInference::ReadTag<Label>(reply);
  }
  static void RequestFinalResponse(InferRequest& request) {
    CheckContract("RequestFinalResponse");
    OpenInference::RequestFinalResponse(request);
  }
  static absl::Status CheckServer(const inferwire::ServerMetadata& server) {
    CheckContract("CheckServer");
    return OpenInference::CheckServer(server);
  }
};
static_assert(inferwire::MultiplexedStreaming<ThrowingOpenInference>);

}  // namespace

TEST_CASE("what a contract's function throws ends its call with INTERNAL, and the next call works", "[user]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("a"));
  fake.On<&Inference::StreamInference>().Reply(Response("a"));
  const InferenceClient<ThrowingSimple> server(Connect(fake.target()));
  const auto model = server.GetModel("m");
  const inferwire::Batcher batcher(model, {.max_delay = absl::ZeroDuration()});
  const InferRequest request{{"text", std::vector<std::string>{"x"}, {1}}};
  const InferRequest row{{"input", std::vector<float>{1}, {1, 1}}};
  const std::vector<std::function<absl::Status()>> forms = {
      [&] { return model.Infer(request).status(); },
      [&] { return model.AsyncInfer(request).Get().status(); },
      [&] {
        auto stream = model.StreamInfer(request);
        while (stream.Read().has_value()) {
        }
        return stream.status();
      },
      [&] { return batcher.Infer(row).status(); },
  };
  for (const char* const function : {"Encode", "Decode"}) {
    for (std::size_t i = 0; i < forms.size(); ++i) {
      INFO(function << " in form " << i);
      contract_function = function;
      const absl::Status status = forms[i]();
      CHECK(status.code() == absl::StatusCode::kInternal);
      CHECK(Contains(status, std::string("exception in the contract's ") + function + ": boom"));
      contract_function.clear();
      if (i < 3) CHECK(forms[i]().ok());
    }
  }
}

TEST_CASE("what a contract's Draining throws ends its call with INTERNAL", "[user]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Fail(absl::UnavailableError("busy")).Times(1).Then().Reply(Response("a"));
  const InferenceClient<ThrowingSimple> server(Connect(fake.target()));
  const InferRequest request{{"text", std::vector<std::string>{"x"}, {1}}};
  contract_function = "Draining";
  CHECK(Contains(server.GetModel("m").Infer(request).status(), "exception in the contract's Draining: boom"));
  contract_function.clear();
  CHECK(server.GetModel("m").Infer(request).ok());
}

TEST_CASE("what a contract's functions for shared streams throw ends their calls with INTERNAL", "[user]") {
  // Answers each request with nothing in it.
  RawServer raw([](RawCall& call) {
    while (call.Read()) {
      inferwire::open_inference::ModelStreamInferResponse message;
      message.mutable_infer_response()->set_model_name("m");
      if (!call.Write(message.SerializeAsString())) return;
    }
  });
  const InferRequest request{{"x", std::vector<float>{1}, {1}}};
  for (const char* const function : {"ReadTag", "RequestFinalResponse", "CheckServer"}) {
    INFO(function);
    const InferenceClient<ThrowingOpenInference> server(Connect(raw.target(), {.timeout = absl::Seconds(5)}));
    contract_function = function;
    absl::Status status;
    if (std::string(function) == "CheckServer") {
      status = server.CheckDialect();
    } else {
      auto stream = server.GetModel("m", {.check = false})
                        .StreamInfer(request, {.retry = inferwire::RetryPolicy{.max_attempts = 1}});
      while (stream.Read().has_value()) {
      }
      status = stream.status();
    }
    contract_function.clear();
    CHECK(status.code() == absl::StatusCode::kInternal);
    CHECK(Contains(status, std::string(function) + ": boom"));
  }
}

TEST_CASE("what resume throws is the stream's end", "[user]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Write(Answer("0"));
    call.Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone"));
  });
  const Client client = Connect(server.target(), {.retry = {.initial_backoff = absl::ZeroDuration()}});
  for (const Bomb::Kind kind : {Bomb::Kind::kStandard, Bomb::Kind::kOther}) {
    const Bomb bomb(kind);
    auto stream = client.Stream<&Inference::StreamInference>(
        Text("x"), {}, [&](const inference::Request& request, const inference::Response&) {
          bomb.Check();
          return request;
        });
    while (stream.Read().has_value()) {
    }
    CHECK(stream.status().code() == absl::StatusCode::kInternal);
    CHECK(Contains(stream.status(), "exception in resume" + bomb.text()));
  }
}

TEST_CASE("a readiness function that throws says no, and the client goes on", "[user]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("a"));
  inferwire::ReadinessCheck check{&inferwire::Rpc<&Inference::RunInference>::path(), "",
                                  [](inferwire::detail::wire::Reply&&) -> bool { throw std::runtime_error("boom"); }};
  const Client client = Connect(fake.target(), {.health = {.readiness = check, .interval = absl::Milliseconds(10)}});
  REQUIRE(fake.WaitForCalls<&Inference::RunInference>(2));
  CHECK(client.Call<&Inference::RunInference>(Text("x")).ok());  // the only target is used all the same
}

TEST_CASE("what an executor does not take ends with INTERNAL: continuations, coroutines, streams and batches",
          "[user]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("a"));
  fake.On<&Inference::StreamInference>().Delay(absl::Milliseconds(20)).Reply(Response("a"));
  const auto bomb = std::make_shared<Bomb>(Bomb::Kind::kStandard);
  const Client client = Connect(fake.target(), {.executor = std::make_shared<ThrowingExecutor>(bomb)});
  const auto then = [&] {
    return client.Async<&Inference::RunInference>(Text("x")).Then([](auto reply) { return reply; }).Get().status();
  };
  const auto await_stream = [&]() -> Task<absl::Status> {
    auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
    while (co_await stream.Next()) {
    }
    co_return stream.status();
  };
  CHECK(Contains(then(), "Executor::Run: boom"));
  CHECK(Contains(inferwire::SyncWait(await_stream()), "Executor::Run: boom"));
  const InferenceClient<Simple> server(client);
  const inferwire::Batcher batcher(server.GetModel("m"), {.max_delay = absl::Milliseconds(1)});
  const InferRequest row{{"input", std::vector<float>{1}, {1, 1}}};
  CHECK(Contains(batcher.Infer(row).status(), "Executor::Run: boom"));
  bomb->Arm(false);
  CHECK(then().ok());
  CHECK(inferwire::SyncWait(await_stream()).ok());
}

TEST_CASE("a batch whose clock fails leaves without it, and says why", "[user]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("a"));
  for (const bool in_now : {true, false}) {
    const auto bomb = std::make_shared<Bomb>(Bomb::Kind::kStandard);
    const InferenceClient<Simple> server(
        Connect(fake.target(), {.clock = std::make_shared<ThrowingClock>(bomb, in_now)}));
    const inferwire::Batcher batcher(server.GetModel("m"), {.max_delay = absl::Seconds(1)});
    auto future = batcher.AsyncInfer({{"input", std::vector<float>{1}, {1, 1}}});
    REQUIRE(future.Wait(absl::Seconds(10)));
    CHECK(Contains(std::move(future).Get().status(), "boom"));
  }
}

TEST_CASE("a fake server's own function that throws ends that call with INTERNAL", "[user]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>()
      .Do([](inferwire::testing::Call&) -> grpc::Status { throw std::runtime_error("boom"); })
      .Times(1)
      .Then()
      .Reply(Response("a"));
  const Client client = Connect(fake.target());
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(status.code() == absl::StatusCode::kInternal);
  CHECK(Contains(status, "boom"));
  CHECK(client.Call<&Inference::RunInference>(Text("x")).ok());
}
