// SPDX-License-Identifier: Apache-2.0
#include "inferwire/testing/fake_server.h"

#include <google/protobuf/any.pb.h>
#include <google/protobuf/unknown_field_set.h>
#include <grpcpp/grpcpp.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/inference.h"

using inferwire::testing::FakeServer;
using namespace inferwire_test;  // NOLINT

namespace {

/// gRPC's own client, without retries, on a connection of its own.
class Peer {
 public:
  explicit Peer(const FakeServer& fake) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 20);
    channel_ = grpc::CreateCustomChannel(fake.target(), grpc::InsecureChannelCredentials(), arguments);
    stub_ = inference::Inference::NewStub(channel_);
  }
  Inference* operator->() { return stub_.get(); }

  /// Calls fail a moment before the channel knows that its connection is gone; one made then would fail as well.
  bool WaitUntilDisconnected() {
    return channel_->GetState(false) != GRPC_CHANNEL_READY ||
           channel_->WaitForStateChange(GRPC_CHANNEL_READY,
                                        std::chrono::system_clock::now() + std::chrono::seconds(10));
  }

 private:
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<Inference> stub_;
};

/// A context whose deadline ends a broken test.
class Context : public grpc::ClientContext {
 public:
  explicit Context(std::chrono::milliseconds timeout = std::chrono::seconds(10)) {
    set_deadline(std::chrono::system_clock::now() + timeout);
  }
  std::optional<std::string> trailer(const std::string& key) const { return Find(GetServerTrailingMetadata(), key); }
  std::optional<std::string> header(const std::string& key) const { return Find(GetServerInitialMetadata(), key); }

 private:
  static std::optional<std::string> Find(const std::multimap<grpc::string_ref, grpc::string_ref>& in,
                                         const std::string& key) {
    const auto found = in.find(key);
    if (found == in.end()) return std::nullopt;
    return std::string(found->second.data(), found->second.size());
  }
};

struct Outcome {
  grpc::Status status;
  std::string text;
};
Outcome Run(Peer& peer, const std::string& text = "", Context&& context = Context()) {
  inference::Response response;
  grpc::Status status = peer->RunInference(&context, Text(text), &response);
  return {std::move(status), std::string(response.text())};
}

}  // namespace

// ---- scripts

TEST_CASE("a fake server's replies come in the order of the script's acts", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>()
      .Fail(absl::UnavailableError("warming up"))
      .Times(2)
      .Then()
      .Reply(Response("one"))
      .Times(1)
      .Then()
      .Reply(Response("for ever"));
  Peer peer(fake);
  for (int i = 0; i < 2; ++i) {
    const Outcome cold = Run(peer);
    CHECK(cold.status.error_code() == grpc::StatusCode::UNAVAILABLE);
    CHECK(cold.status.error_message() == "warming up");
  }
  CHECK(Run(peer).text == "one");
  for (int i = 0; i < 3; ++i) CHECK(Run(peer).text == "for ever");
}

TEST_CASE("a fake server's script that is over says so", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Times(1).Reply(Response("a")).Then().Reply(Response("b")).Times(1);
  Peer peer(fake);
  CHECK(Run(peer).text == "a");
  CHECK(Run(peer).text == "b");
  const Outcome over = Run(peer);
  CHECK(over.status.error_code() == grpc::StatusCode::FAILED_PRECONDITION);
  CHECK(over.status.error_message() == "the script of /inference.Inference/RunInference is over after 2 calls");
}

TEST_CASE("a fake server's new script takes the old one's place at its first end", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("old"));
  Peer peer(fake);
  CHECK(Run(peer).text == "old");
  auto script = fake.On<&Inference::RunInference>();
  CHECK(Run(peer).text == "old");
  script.Reply(Response("new"));
  CHECK(Run(peer).text == "new");
}

TEST_CASE("a fake server's script without an end counts once it is written, and ends with OK", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Send(Response("sent"));
  Peer peer(fake);
  const Outcome outcome = Run(peer);
  CHECK(outcome.status.ok());
  CHECK(outcome.text == "sent");
}

TEST_CASE("a fake server serves a method under another public name", "[testing]") {
  using Renamed = inferwire::Rpc<&Inference::RunInference, "acme.v1.Scorer">;
  FakeServer fake;
  fake.On<Renamed>().Reply(Response("x"));
  Peer peer(fake);
  CHECK(Run(peer).status.error_code() == grpc::StatusCode::UNIMPLEMENTED);
  CHECK(fake.calls<Renamed>() == 0);
  CHECK(fake.calls<&Inference::RunInference>() == 1);
}

TEST_CASE("a fake server names the method that has no script", "[testing]") {
  FakeServer fake;
  Peer peer(fake);
  const Outcome outcome = Run(peer);
  CHECK(outcome.status.error_code() == grpc::StatusCode::UNIMPLEMENTED);
  CHECK(outcome.status.error_message() == "the fake server has no script for /inference.Inference/RunInference");
}

// ---- steps and ends

TEST_CASE("a fake server's delay comes before the reply", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Delay(absl::Milliseconds(50)).Reply(Response("late"));
  Peer peer(fake);
  const auto start = std::chrono::steady_clock::now();
  CHECK(Run(peer).text == "late");
  CHECK(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(50));
}

TEST_CASE("a fake server's delay ends when the call is cancelled", "[testing]") {
  std::atomic<bool> slept_through{true};
  FakeServer fake;
  fake.On<&Inference::RunInference>().Do([&](inferwire::testing::Call& call) {
    slept_through = call.Sleep(absl::InfiniteDuration());
    return grpc::Status::CANCELLED;
  });
  Peer peer(fake);
  CHECK(Run(peer, "", Context(std::chrono::milliseconds(50))).status.error_code() ==
        grpc::StatusCode::DEADLINE_EXCEEDED);
  CHECK(fake.WaitForCancelled<&Inference::RunInference>(1));
  fake.On<&Inference::RunInference>().Delay(absl::InfiniteDuration()).Reply(Response("never"));
  CHECK(Run(peer, "", Context(std::chrono::milliseconds(50))).status.error_code() ==
        grpc::StatusCode::DEADLINE_EXCEEDED);
  CHECK(fake.WaitForCancelled<&Inference::RunInference>(2));
}

TEST_CASE("a fake server sends a status's payloads as google.rpc.Status", "[testing]") {
  const std::string long_value(300, 'x');  // by its view, since clang and a library made by g++ disagree about more
  absl::Status status = absl::ResourceExhaustedError("slow down");
  status.SetPayload("type.googleapis.com/google.rpc.RetryInfo", absl::Cord(absl::string_view(long_value)));
  status.SetPayload("type.googleapis.com/acme.Reason", absl::Cord("quota"));
  status.SetPayload("acme.Private", absl::Cord("stays here"));
  FakeServer fake;
  fake.On<&Inference::RunInference>().Fail(status);
  Peer peer(fake);
  const Outcome outcome = Run(peer);
  CHECK(outcome.status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
  CHECK(outcome.status.error_message() == "slow down");

  google::protobuf::UnknownFieldSet parsed;
  REQUIRE(parsed.ParseFromString(outcome.status.error_details()));
  REQUIRE(parsed.field_count() == 4);
  CHECK(parsed.field(0).number() == 1);
  CHECK(parsed.field(0).varint() == 8);
  CHECK(parsed.field(1).number() == 2);
  CHECK(std::string(parsed.field(1).length_delimited()) == "slow down");
  std::map<std::string, std::string> details;
  for (int i = 2; i < 4; ++i) {
    CHECK(parsed.field(i).number() == 3);
    google::protobuf::Any any;
    REQUIRE(any.ParseFromString(std::string(parsed.field(i).length_delimited())));
    details.emplace(any.type_url(), any.value());
  }
  CHECK(details == std::map<std::string, std::string>{
                       {"type.googleapis.com/google.rpc.RetryInfo", std::string(300, 'x')},
                       {"type.googleapis.com/acme.Reason", "quota"},
                   });
}

TEST_CASE("a fake server sends no details with a plain status", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Fail(absl::NotFoundError("no such model"));
  Peer peer(fake);
  CHECK(Run(peer).status.error_details().empty());
}

TEST_CASE("a fake server sends details of the test's own bytes", "[testing]") {
  const std::string bytes("\xff\0\xff", 3);
  FakeServer fake;
  fake.On<&Inference::RunInference>().FailWithDetails(absl::InternalError("broken"), bytes);
  Peer peer(fake);
  CHECK(Run(peer).status.error_details() == bytes);
}

TEST_CASE("a fake server pushes back in the trailers", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>()
      .Pushback(absl::Milliseconds(250))
      .Fail(absl::UnavailableError("later"))
      .Times(1)
      .Then()
      .Fail(absl::UnavailableError("never"))
      .Pushback(-absl::Microseconds(1));
  Peer peer(fake);
  for (const std::string expected : {"250", "-1"}) {
    Context context;
    inference::Response response;
    CHECK_FALSE(peer->RunInference(&context, Text(""), &response).ok());
    CHECK(context.trailer("grpc-retry-pushback-ms") == expected);
  }
}

TEST_CASE("a fake server sends headers and trailers of the test's choosing", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>()
      .Reply(Response("x"))
      .Header("x-model", "digits")
      .Trailer("x-cost-bin", "\x01\x02");
  Peer peer(fake);
  Context context;
  inference::Response response;
  CHECK(peer->RunInference(&context, Text(""), &response).ok());
  CHECK(context.header("x-model") == "digits");
  CHECK(context.trailer("x-cost-bin") == "\x01\x02");
}

TEST_CASE("a fake server that never answers counts the call whose deadline passed", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Never();
  Peer peer(fake);
  CHECK(Run(peer, "", Context(std::chrono::milliseconds(50))).status.error_code() ==
        grpc::StatusCode::DEADLINE_EXCEEDED);
  CHECK(fake.WaitForCancelled<&Inference::RunInference>(1));
  CHECK(fake.cancelled<&Inference::RunInference>() == 1);
}

TEST_CASE("a fake server counts the call that its client cancels", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Never();
  Peer peer(fake);
  Context context;
  std::thread canceller([&] {
    fake.WaitForCalls<&Inference::RunInference>(1);
    context.TryCancel();
  });
  inference::Response response;
  CHECK(peer->RunInference(&context, Text(""), &response).error_code() == grpc::StatusCode::CANCELLED);
  canceller.join();
  CHECK(fake.WaitForCancelled<&Inference::RunInference>(1));
}

TEST_CASE("a call that a fake server drops is UNAVAILABLE, and is not counted as cancelled", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Drop().Times(1).Then().Reply(Response("back"));
  Peer peer(fake);
  CHECK(Run(peer).status.error_code() == grpc::StatusCode::UNAVAILABLE);
  CHECK(peer.WaitUntilDisconnected());
  Context patient;
  patient.set_wait_for_ready(true);
  CHECK(Run(peer, "", std::move(patient)).text == "back");
  CHECK(fake.connections() >= 2);
  CHECK(fake.open_connections() == 1);
  CHECK(fake.cancelled<&Inference::RunInference>() == 0);
}

TEST_CASE("a fake server that drops a call may have been heard before", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::StreamInference>().Send(Response("a")).Send(Response("b")).Drop();
  Peer peer(fake);
  Context context;
  const auto reader = peer->StreamInference(&context, Text(""));
  inference::Response response;
  std::string text;
  while (reader->Read(&response)) text += response.text();
  CHECK(std::string("ab").starts_with(text));  // a reset overtakes what was not read yet
  CHECK(reader->Finish().error_code() == grpc::StatusCode::UNAVAILABLE);
}

TEST_CASE("a call after a fake server's GOAWAY opens a second connection", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().GoAway().Reply(Response("last one")).Times(1).Then().Reply(Response("first one"));
  Peer peer(fake);
  CHECK(Run(peer).text == "last one");
  CHECK(fake.connections() == 1);
  Context patient;
  patient.set_wait_for_ready(true);
  CHECK(Run(peer, "", std::move(patient)).text == "first one");
  CHECK(fake.connections() == 2);
  CHECK(fake.cancelled<&Inference::RunInference>() == 0);
}

TEST_CASE("a stream goes on through a fake server's GOAWAY", "[testing]") {
  FakeServer fake;
  const std::string large(100'000, 'x');
  fake.On<&Inference::StreamInference>()
      .Send(Response(large))
      .GoAway()
      .Send(Response(large))
      .Send(Response(large))
      .Ok();
  Peer peer(fake);
  Context context;
  const auto reader = peer->StreamInference(&context, Text(""));
  inference::Response response;
  std::size_t size = 0;
  while (reader->Read(&response)) size += response.text().size();
  CHECK(size == 300'000);
  CHECK(reader->Finish().ok());
}

TEST_CASE("a call that a fake server refuses with GOAWAY fails as never begun", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().GoAway(false).Times(1).Then().Reply(Response("again"));
  SECTION("without retries it is UNAVAILABLE, and the next call opens a second connection") {
    Peer peer(fake);
    CHECK(Run(peer).status.error_code() == grpc::StatusCode::UNAVAILABLE);
    Context patient;
    patient.set_wait_for_ready(true);
    CHECK(Run(peer, "", std::move(patient)).text == "again");
  }
  SECTION("gRPC itself makes it again") {
    const auto stub =
        inference::Inference::NewStub(grpc::CreateChannel(fake.target(), grpc::InsecureChannelCredentials()));
    Context context;
    context.set_wait_for_ready(true);
    inference::Response response;
    const grpc::Status status = stub->RunInference(&context, Text(""), &response);
    INFO(status.error_message());
    CHECK(status.ok());
    CHECK(response.text() == "again");
  }
  CHECK(fake.calls<&Inference::RunInference>() == 2);
  CHECK(fake.connections() >= 2);
  CHECK(fake.cancelled<&Inference::RunInference>() == 0);
}

// ---- the four kinds

TEST_CASE("a fake server echoes each kind of call", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Echo();
  fake.On<&Inference::StreamInference>().Echo();
  fake.On<&Inference::UploadInference>().Echo();
  fake.On<&Inference::Converse>().Echo();
  Peer peer(fake);
  Context context;
  inference::Response response;
  // A request's text and a response's have the same number.
  SECTION("unary") { CHECK(Run(peer, "hello").text == "hello"); }
  SECTION("server stream") {
    const auto reader = peer->StreamInference(&context, Text("hello"));
    REQUIRE(reader->Read(&response));
    CHECK(response.text() == "hello");
    CHECK_FALSE(reader->Read(&response));
    CHECK(reader->Finish().ok());
  }
  SECTION("client stream: the last request") {
    const auto writer = peer->UploadInference(&context, &response);
    for (const char* text : {"a", "b", "c"}) CHECK(writer->Write(Text(text)));
    CHECK(writer->WritesDone());
    CHECK(writer->Finish().ok());
    CHECK(response.text() == "c");
    CHECK(fake.requests<&Inference::UploadInference>().size() == 3);
  }
  SECTION("bidirectional: each as it comes") {
    const auto stream = peer->Converse(&context);
    for (const char* text : {"a", "b"}) {
      CHECK(stream->Write(Text(text)));
      REQUIRE(stream->Read(&response));
      CHECK(response.text() == text);
    }
    CHECK(stream->WritesDone());
    CHECK_FALSE(stream->Read(&response));
    CHECK(stream->Finish().ok());
  }
}

TEST_CASE("a fake server streams its responses, and fails after them", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::StreamInference>().Send(Response("a")).Send(Response("b")).Fail(absl::DataLossError("torn"));
  Peer peer(fake);
  Context context;
  const auto reader = peer->StreamInference(&context, Text("go"));
  inference::Response response;
  std::string text;
  while (reader->Read(&response)) text += response.text();
  CHECK(text == "ab");
  CHECK(reader->Finish().error_code() == grpc::StatusCode::DATA_LOSS);
  CHECK(fake.requests<&Inference::StreamInference>().at(0).text() == "go");
}

TEST_CASE("a fake server answers an upload once it has all of it", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::UploadInference>().ReceiveAll().Reply(Response("thanks"));
  Peer peer(fake);
  Context context;
  inference::Response response;
  const auto writer = peer->UploadInference(&context, &response);
  for (int i = 0; i < 20; ++i) CHECK(writer->Write(Text(std::to_string(i))));
  CHECK(writer->WritesDone());
  CHECK(writer->Finish().ok());
  CHECK(response.text() == "thanks");
  const auto requests = fake.requests<&Inference::UploadInference>();
  REQUIRE(requests.size() == 20);
  CHECK(requests[19].text() == "19");
}

TEST_CASE("a fake server converses by its script", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::Converse>()
      .Send(Response("welcome"))
      .Receive()
      .Send(Response("one"))
      .Receive()
      .Fail(absl::AbortedError("enough"));
  Peer peer(fake);
  Context context;
  const auto stream = peer->Converse(&context);
  inference::Response response;
  REQUIRE(stream->Read(&response));
  CHECK(response.text() == "welcome");
  CHECK(stream->Write(Text("first")));
  REQUIRE(stream->Read(&response));
  CHECK(response.text() == "one");
  CHECK(stream->Write(Text("second")));
  CHECK_FALSE(stream->Read(&response));
  CHECK(stream->Finish().error_code() == grpc::StatusCode::ABORTED);
  CHECK(fake.requests<&Inference::Converse>().size() == 2);
}

TEST_CASE("a fake server runs what no step can say", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Do([](inferwire::testing::Call& call) {
    inference::Request request;
    CHECK(request.ParseFromString(call.Read().value_or("")));
    call.AddTrailer("x-path", call.path());
    call.Write(Response(request.text() + "!"));
    return grpc::Status();
  });
  Peer peer(fake);
  Context context;
  inference::Response response;
  CHECK(peer->RunInference(&context, Text("hey"), &response).ok());
  CHECK(response.text() == "hey!");
  CHECK(context.trailer("x-path") == "/inference.Inference/RunInference");
}

// ---- counting

TEST_CASE("a fake server keeps the requests and metadata of each method's calls", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Echo();
  Peer peer(fake);
  for (const char* text : {"a", "b"}) {
    Context context;
    context.AddMetadata("x-from", text);
    CHECK(Run(peer, text, std::move(context)).status.ok());
  }
  CHECK(fake.calls<&Inference::RunInference>() == 2);
  CHECK(fake.calls<&Inference::Converse>() == 0);
  const auto requests = fake.requests<&Inference::RunInference>();
  REQUIRE(requests.size() == 2);
  CHECK(requests[1].text() == "b");
  const std::vector<inferwire::Metadata> metadata = fake.metadata<&Inference::RunInference>();
  REQUIRE(metadata.size() == 2);
  const std::pair<std::string, std::string> first("x-from", "a");
  CHECK(std::count(metadata[0].begin(), metadata[0].end(), first) == 1);
}

TEST_CASE("waiting for a fake server's calls ends after the time allowed", "[testing]") {
  FakeServer fake;
  CHECK(fake.WaitForCalls<&Inference::RunInference>(0));
  CHECK_FALSE(fake.WaitForCalls<&Inference::RunInference>(1, absl::Milliseconds(1)));
  CHECK_FALSE(fake.WaitForCancelled<&Inference::RunInference>(1, absl::Milliseconds(1)));
}

TEST_CASE("a fake server serves many clients at once", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Echo();
  std::atomic<int> good{0};
  std::deque<Peer> peers;
  std::vector<std::thread> clients;
  for (int t = 0; t < 8; ++t) {
    clients.emplace_back([&, t, &peer = peers.emplace_back(fake)] {
      for (int i = 0; i < 25; ++i) {
        const std::string text(static_cast<std::size_t>(t * 10'000 + i), 'x');
        Context patient;  // an attempt to connect may fail on a busy machine
        patient.set_wait_for_ready(true);
        if (Run(peer, text, std::move(patient)).text == text) ++good;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  CHECK(good == 200);
  CHECK(fake.calls<&Inference::RunInference>() == 200);
  CHECK(fake.open_connections() == 8);
}

// ---- the server as a whole

TEST_CASE("a fake server that was stopped starts again on the same port", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("up"));
  const std::string target = fake.target();
  Peer peer(fake);
  CHECK(Run(peer).text == "up");
  fake.Stop();
  CHECK(fake.open_connections() == 0);
  CHECK(Run(peer).status.error_code() == grpc::StatusCode::UNAVAILABLE);
  CHECK(fake.calls<&Inference::RunInference>() == 1);
  fake.Start();
  CHECK(fake.target() == target);
  Context patient;
  patient.set_wait_for_ready(true);
  CHECK(Run(peer, "", std::move(patient)).text == "up");
}

TEST_CASE("calls in flight are UNAVAILABLE when a fake server resets its connections", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Never();
  Peer peer(fake);
  std::thread resetter([&] {
    fake.WaitForCalls<&Inference::RunInference>(1);
    fake.ResetConnections();
  });
  CHECK(Run(peer).status.error_code() == grpc::StatusCode::UNAVAILABLE);
  resetter.join();
  CHECK(fake.open_connections() == 0);
  CHECK(fake.cancelled<&Inference::RunInference>() == 0);
}

TEST_CASE("a fake server that stopped reading sees no call before it resumes", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Echo();
  Peer peer(fake);
  CHECK(Run(peer, "before").text == "before");
  fake.StopReading();
  CHECK(Run(peer, "swallowed", Context(std::chrono::milliseconds(100))).status.error_code() ==
        grpc::StatusCode::DEADLINE_EXCEEDED);
  CHECK(fake.calls<&Inference::RunInference>() == 1);
  fake.ResumeReading();
  CHECK(Run(peer, "after").text == "after");
}

TEST_CASE("a fake server that stopped reading takes no connection before it resumes", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Echo();
  fake.StopReading();
  Peer peer(fake);
  Context patient(std::chrono::milliseconds(100));
  patient.set_wait_for_ready(true);
  CHECK(Run(peer, "", std::move(patient)).status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED);
  CHECK(fake.connections() == 0);
  fake.ResumeReading();
  Context more_patient;
  more_patient.set_wait_for_ready(true);
  CHECK(Run(peer, "x", std::move(more_patient)).text == "x");
}

TEST_CASE("large messages pass a fake server whole", "[testing]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Echo();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  const auto stub = inference::Inference::NewStub(
      grpc::CreateCustomChannel(fake.target(), grpc::InsecureChannelCredentials(), arguments));
  Context context;
  inference::Response response;
  const std::string large(20'000'000, 'x');
  CHECK(stub->RunInference(&context, Text(large), &response).ok());
  CHECK(response.text() == large);
}

TEST_CASE("a fake server goes with calls in flight", "[testing]") {
  auto fake = std::make_unique<FakeServer>();
  fake->On<&Inference::RunInference>().Never().Times(2).Then().Delay(absl::InfiniteDuration());
  fake->On<&Inference::Converse>().Receive().Ok();
  std::vector<std::thread> clients;
  std::atomic<int> unavailable{0};
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&, peer = std::make_shared<Peer>(*fake)] {
      if (Run(*peer).status.error_code() == grpc::StatusCode::UNAVAILABLE) ++unavailable;
    });
  }
  Peer peer(*fake);
  Context context;
  const auto stream = peer->Converse(&context);
  CHECK(fake->WaitForCalls<&Inference::RunInference>(4));
  CHECK(fake->WaitForCalls<&Inference::Converse>(1));
  fake.reset();
  for (std::thread& client : clients) client.join();
  CHECK(unavailable == 4);
  CHECK(stream->Finish().error_code() == grpc::StatusCode::UNAVAILABLE);
}

TEST_CASE("a fake server goes while it is stopped, or reads nothing", "[testing]") {
  FakeServer stopped;
  stopped.Stop();
  FakeServer stuck;
  stuck.On<&Inference::RunInference>().Never();
  Peer peer(stuck);
  Context context(std::chrono::milliseconds(50));
  stuck.StopReading();
  CHECK_FALSE(Run(peer, "", std::move(context)).status.ok());
}
