// SPDX-License-Identifier: Apache-2.0
//
// What a server writes where a client reads errors must not steer the terminal, or the log, that it is printed to.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <absl/strings/escaping.h>

#include "inferwire/contract/open_inference.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/utf8.h"
#include "inferwire/inference.h"
#include "inferwire/status.h"
#include "support/inference.h"
#include "support/sockets.h"

using inferwire::CallInfo;
using inferwire::InferenceClient;
using inferwire::InferRequest;
using inferwire::InfoOf;
using inferwire::OpenInference;
using inferwire::Printable;
using namespace inferwire_test;  // NOLINT
namespace oip = inferwire::open_inference;

namespace {

using std::string_literals::operator""s;

const std::string kHostile =
    "\x1b]0;owned\x07\x1b[31mred\r\nI0101 forged log line\n\0 \x7f\t\x08 \xc2\x9b"
    "31m \xff\xfe \xe2\x80\xaegnp.exe \xe2\x80\xa8 \xf3\xa0\x81\x81 \xed\xa0\x80 caf\xc3\xa9 \\"s;

// Nothing that steers, and nothing that is no text.
bool Harmless(const std::string& text) {
  bool harmless = inferwire::detail::IsUtf8(text);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    harmless = harmless && byte >= 0x20 && byte != 0x7f;
  }
  for (const char* const steers : {"\xc2\x9b", "\xe2\x80\xae", "\xe2\x80\xa8", "\xf3\xa0\x81\x81"}) {
    harmless = harmless && text.find(steers) == std::string::npos;
  }
  if (!harmless) UNSCOPED_INFO("not to be shown: " << absl::CHexEscape(text));
  return harmless;
}
bool Harmless(const absl::Status& status) {
  std::ostringstream out;
  out << status;
  return Harmless(out.str()) && Harmless(status.ToString()) && Harmless(std::string(status.message()));
}

void Refuse(RawCall& call) {
  call.Read();
  call.Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, kHostile));
}

class Notes final : public inferwire::Observer, public inferwire::CallObserver {
 public:
  struct Told {
    std::string attempt, end;
    absl::Status status;
  };
  explicit Notes(Told& told) : told_(told) {}
  std::unique_ptr<inferwire::CallObserver> CallStarted(const CallStart&) override {
    return std::make_unique<Notes>(told_);
  }
  void AttemptEnded(int, const CallInfo::Attempt& attempt) override { told_.attempt = attempt.message; }
  void Ended(const absl::Status& status, const CallInfo& info) override {
    told_.status = status;
    told_.end = info.message;
  }

 private:
  Told& told_;
};

}  // namespace

TEST_CASE("text is made printable, and what is printable stays", "[hostile][printing]") {
  const std::pair<std::string, std::string> cases[] = {
      {"", ""},
      {"plain \"text\" 'with' \\n and \\", "plain \"text\" 'with' \\n and \\"},
      {"caf\xc3\xa9 \xe6\xa8\xa1\xe5\x9e\x8b \xf0\x9f\x98\x80",
       "caf\xc3\xa9 \xe6\xa8\xa1\xe5\x9e\x8b \xf0\x9f\x98\x80"},
      {"a\nb\r\tc", "a\\nb\\r\\tc"},
      {"\x1b[31m"s, "\\x1b[31m"},
      {"a\0b"s, "a\\x00b"},
      {"\x7f", "\\x7f"},
      {"\xc2\x9b"
       "31m",
       "\\u{009b}31m"},
      {"\xc2\x85", "\\u{0085}"},
      {"\xe2\x80\xaetxt.exe", "\\u{202e}txt.exe"},
      {"\xe2\x81\xa6 \xe2\x80\xa9", "\\u{2066} \\u{2029}"},
      {"\xf3\xa0\x81\x81", "\\u{e0041}"},
      {"\xff\xc3", "\\xff\\xc3"},             // no UTF-8
      {"\xc0\x9b", "\\xc0\\x9b"},             // overlong
      {"\xed\xa0\x80", "\\xed\\xa0\\x80"},    // half of a pair
      {"\xe2\x80", "\\xe2\\x80"},             // cut off
      {"\xe2\x80\x1b[", "\\xe2\\x80\\x1b["},  // cut off by what steers
      {"\xe2\xc3\xa9", "\\xe2\xc3\xa9"},      // cut off by what does not
      {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
  };
  for (const auto& [given, expected] : cases) {
    CAPTURE(absl::CHexEscape(given));
    CHECK(Printable(given) == expected);
    CHECK(Printable(expected) == expected);
    CHECK(inferwire::detail::InternalError(given).message() == expected);
  }
  for (int lead = 0; lead < 256; ++lead) {
    for (int next = 0; next < 256; next += 5) {
      const std::string two = {static_cast<char>(lead), static_cast<char>(next)};
      if (!Harmless(Printable(two))) FAIL("two bytes are not made harmless");
    }
  }
}

TEST_CASE("a server's words are printed without what steers a terminal, in every form of call", "[hostile][printing]") {
  RawServer server(Refuse);
  Notes::Told told;
  const auto client = Connect(server.target(), {.observer = std::make_shared<Notes>(told)});
  const std::string expected = Printable(kHostile);
  const auto check = [&](const absl::Status& status) {
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(status.message() == expected);
    CHECK(Harmless(status));
    // And as they came for those who want them so.
    CHECK(InfoOf(status).message == kHostile);
    CHECK(InfoOf(status).attempts.back().message == kHostile);
    CHECK(Harmless(told.status));
    CHECK(told.end == kHostile);
    CHECK(told.attempt == kHostile);
  };
  CallInfo info;
  check(client.Call<&Inference::RunInference>(Text("x"), {.info = &info}).status());
  CHECK(info.message == kHostile);
  check(client.Async<&Inference::RunInference>(Text("x")).Get().status());
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
  CHECK_FALSE(stream.Read().has_value());
  check(stream.status());
  auto upload = client.Upload<&Inference::UploadInference>();
  upload.Write(Text("x")).IgnoreError();
  check(upload.Finish().status());
  auto session = client.Open<&Inference::Converse>();
  session.Write(Text("x")).IgnoreError();
  check(session.Finish());
}

TEST_CASE("so are those of attempts that were tried again, and of codes that nobody knows", "[hostile][printing]") {
  RawServer server([](RawCall& call) {
    call.Read();
    const std::string code = call.header("x-code");
    const int number = code.empty() ? int{grpc::StatusCode::UNAVAILABLE} : std::atoi(code.c_str());
    call.Finish(grpc::Status(static_cast<grpc::StatusCode>(number), kHostile));
  });
  const auto client =
      Connect(server.target(), {.retry = {.max_attempts = 3, .initial_backoff = absl::Milliseconds(1)}});
  const absl::Status tried = client.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(Harmless(tried));
  REQUIRE(InfoOf(tried).attempts.size() == 3);
  for (const CallInfo::Attempt& attempt : InfoOf(tried).attempts) CHECK(attempt.message == kHostile);
  const absl::Status unknown =
      client.Call<&Inference::RunInference>(Text("x"), {.metadata = {{"x-code", "77"}}}).status();
  CHECK(Harmless(unknown));
}

TEST_CASE("so are errors on a stream that requests share, and names in answers", "[hostile][printing]") {
  RawServer server([](RawCall& call) {
    if (call.method().ends_with("ModelStreamInfer")) {
      while (const auto bytes = call.Read()) {
        oip::ModelInferRequest request;
        request.ParseFromString(*bytes);
        oip::ModelStreamInferResponse message;
        if (request.model_name() == "ends") return call.Finish(grpc::Status(grpc::StatusCode::INTERNAL, kHostile));
        message.set_error_message("\x1b[31m\n" + Printable(kHostile).substr(0, 3));
        message.mutable_infer_response()->set_id(request.id());
        call.Write(message.SerializeAsString());
      }
      return;
    }
    call.Read();
    oip::ModelInferResponse response;
    for (const char* const name : {"\x1b[2J\n", "b"}) {
      auto& output = *response.add_outputs();
      output.set_name(name);
      output.set_datatype("INT32");
      output.add_shape(1);
      response.add_raw_output_contents("1234");
    }
    call.Write(response.SerializeAsString());
  });
  const auto client = *InferenceClient<OpenInference>::Create(
      {.targets = {server.target()}, .credentials = inferwire::Insecure(), .retry = {.max_attempts = 1}});
  const InferRequest request{{"n", std::vector<std::int32_t>{1}, {1}}};
  for (const char* const name : {"says", "ends"}) {
    CAPTURE(name);
    auto stream = client.GetModel(name, {.check = false}).StreamInfer(request);
    CHECK_FALSE(stream.Read().has_value());
    CHECK_FALSE(stream.status().ok());
    CHECK(Harmless(stream.status()));
    const std::string said = InfoOf(stream.status()).message;
    CHECK(said.find("\x1b[31m") != std::string::npos);
    const auto status = client.GetModel(name, {.check = false, .over_stream = true}).Infer(request).status();
    CHECK_FALSE(status.ok());
    CHECK(Harmless(status));
    CHECK(InfoOf(status).message.find("\x1b[31m") != std::string::npos);
  }
  const auto result = client.GetModel("a", {.check = false}).Infer(request);
  REQUIRE(result.ok());
  const absl::Status missing = result->Get<std::int32_t>("missing").status();
  CHECK(Contains(missing, "\\x1b[2J\\n"));
  CHECK(Harmless(missing));
}

TEST_CASE("so are the last words of what is no gRPC server, and a token's function's", "[hostile][printing]") {
  const HangUpServer peer("HTTP/1.1 400 \x1b[31mBad\x07\r\n\r\n\x1b[2J");
  const auto client = Connect(peer.target(), {.timeout = absl::Seconds(5), .retry = {.max_attempts = 1}});
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
  CHECK_FALSE(status.ok());
  CHECK(Harmless(status));
  CHECK(Harmless(client.WaitUntilReady(absl::Milliseconds(300))));
  const inferwire::BearerToken token(
      []() -> absl::StatusOr<inferwire::AccessToken> { return absl::InternalError("the issuer says \x1b[31m\n"); });
  CHECK(Harmless(client.Call<&Inference::RunInference>(Text("x"), {.token = token.EvenOverPlaintext()}).status()));
}
