// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/wire/error_details.h"

#include <random>
#include <string>
#include <variant>
#include <vector>

#include "inferwire/detail/wire/status.h"
#include "support/catch.h"

using inferwire::ErrorDetail;
using inferwire::detail::wire::ReadErrorDetails;

namespace {
std::string Unhex(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}
// A field of bytes, short enough for one byte of length or two.
std::string Field(int number, const std::string& bytes) {
  std::string out(1, static_cast<char>(number << 3 | 2));
  if (bytes.size() >= 128) out += static_cast<char>((bytes.size() & 0x7f) | 0x80);
  out += static_cast<char>(bytes.size() >= 128 ? bytes.size() >> 7 : bytes.size());
  return out + bytes;
}
std::string Number(int number, int value) { return {static_cast<char>(number << 3), static_cast<char>(value)}; }
std::string Detail(const std::string& name, const std::string& message) {
  return Field(3, Field(1, "type.googleapis.com/google.rpc." + name) + Field(2, message));
}
template <class T>
T Only(const std::string& status) {
  const std::vector<ErrorDetail> details = ReadErrorDetails(status);
  REQUIRE(details.size() == 1);
  REQUIRE(std::holds_alternative<T>(details[0]));
  return std::get<T>(details[0]);
}
}  // namespace

// The bytes of the next four are those of Google's own library for Python (googleapis-common-protos).

TEST_CASE("a retry delay and an error's reason are read", "[wire]") {
  const auto details = ReadErrorDetails(Unhex(
      "080e120d71756575652069732066756c6c1a350a28747970652e676f6f676c65617069732e636f6d2f676f6f676c652e7270632e5265"
      "747279496e666f12090a0708011080e59a771a580a28747970652e676f6f676c65617069732e636f6d2f676f6f676c652e7270632e"
      "4572726f72496e666f122c0a0a4f5645524c4f414445441211696e666572656e63652e6578616d706c651a0b0a0571756575651202"
      "3634"));
  REQUIRE(details.size() == 2);
  CHECK(std::get<inferwire::RetryInfo>(details[0]).retry_delay == absl::Milliseconds(1250));
  const auto& info = std::get<inferwire::ErrorInfo>(details[1]);
  CHECK(info.reason == "OVERLOADED");
  CHECK(info.domain == "inference.example");
  CHECK(info.metadata == std::map<std::string, std::string>{{"queue", "64"}});
}

TEST_CASE("a bad request names its fields", "[wire]") {
  const auto bad = Only<inferwire::BadRequest>(Unhex(
      "080312096261642073686170651a590a29747970652e676f6f676c65617069732e636f6d2f676f6f676c652e7270632e426164526571"
      "75657374122c0a2a0a0f696e707574735b305d2e736861706512176578706563746564205b312c335d2c20676f74205b335d"));
  REQUIRE(bad.field_violations.size() == 1);
  CHECK(bad.field_violations[0].field == "inputs[0].shape");
  CHECK(bad.field_violations[0].description == "expected [1,3], got [3]");
  CHECK_FALSE(bad.field_violations[0].localized_message.has_value());
}

TEST_CASE("a malformed detail is skipped", "[wire]") {
  CHECK(
      ReadErrorDetails(Unhex("080e1201781a2f0a28747970652e676f6f676c65617069732e636f6d2f676f6f676c652e7270632e52657472"
                             "79496e666f12030a0508"))
          .empty());
}

TEST_CASE("a detail of unknown type is skipped, and what follows it is read", "[wire]") {
  const auto retry = Only<inferwire::RetryInfo>(Unhex(
      "08081a260a20747970652e676f6f676c65617069732e636f6d2f61636d652e556e6b6e6f776e120208011a350a28747970652e676f6f"
      "676c65617069732e636f6d2f676f6f676c652e7270632e5265747279496e666f12090a0708011080e59a77"));
  CHECK(retry.retry_delay == absl::Milliseconds(1250));
}

TEST_CASE("every detail of google.rpc is read, field by field", "[wire]") {
  const auto debug = Only<inferwire::DebugInfo>(Detail("DebugInfo", Field(1, "a") + Field(1, "b") + Field(2, "d")));
  CHECK(debug.stack_entries == std::vector<std::string>{"a", "b"});
  CHECK(debug.detail == "d");

  const auto quota = Only<inferwire::QuotaFailure>(
      Detail("QuotaFailure", Field(1, Field(1, "s") + Field(2, "d") + Field(3, "a") + Field(4, "m") + Field(5, "i") +
                                          Field(6, Field(1, "k") + Field(2, "v")) + Number(7, 5) + Number(8, 9))));
  REQUIRE(quota.violations.size() == 1);
  CHECK(quota.violations[0].subject == "s");
  CHECK(quota.violations[0].description == "d");
  CHECK(quota.violations[0].api_service == "a");
  CHECK(quota.violations[0].quota_metric == "m");
  CHECK(quota.violations[0].quota_id == "i");
  CHECK(quota.violations[0].quota_dimensions == std::map<std::string, std::string>{{"k", "v"}});
  CHECK(quota.violations[0].quota_value == 5);
  CHECK(quota.violations[0].future_quota_value == 9);

  const auto precondition = Only<inferwire::PreconditionFailure>(
      Detail("PreconditionFailure", Field(1, Field(1, "t") + Field(2, "s") + Field(3, "d")) + Field(1, "")));
  REQUIRE(precondition.violations.size() == 2);
  CHECK(precondition.violations[0].type == "t");
  CHECK(precondition.violations[0].subject == "s");
  CHECK(precondition.violations[0].description == "d");

  const auto bad =
      Only<inferwire::BadRequest>(Detail("BadRequest", Field(1, Field(1, "f") + Field(2, "d") + Field(3, "r") +
                                                                    Field(4, Field(1, "de") + Field(2, "nein")))));
  REQUIRE(bad.field_violations.size() == 1);
  CHECK(bad.field_violations[0].reason == "r");
  CHECK(bad.field_violations[0].localized_message->locale == "de");
  CHECK(bad.field_violations[0].localized_message->message == "nein");

  const auto request = Only<inferwire::RequestInfo>(Detail("RequestInfo", Field(1, "id") + Field(2, "data")));
  CHECK(request.request_id == "id");
  CHECK(request.serving_data == "data");

  const auto resource = Only<inferwire::ResourceInfo>(
      Detail("ResourceInfo", Field(1, "t") + Field(2, "n") + Field(3, "o") + Field(4, "d")));
  CHECK(resource.resource_type == "t");
  CHECK(resource.resource_name == "n");
  CHECK(resource.owner == "o");
  CHECK(resource.description == "d");

  const auto help = Only<inferwire::Help>(Detail("Help", Field(1, Field(1, "d") + Field(2, "u"))));
  REQUIRE(help.links.size() == 1);
  CHECK(help.links[0].description == "d");
  CHECK(help.links[0].url == "u");

  const auto localized =
      Only<inferwire::LocalizedMessage>(Detail("LocalizedMessage", Field(1, "fr") + Field(2, "non")));
  CHECK(localized.locale == "fr");
  CHECK(localized.message == "non");
}

TEST_CASE("a duration that protobuf does not allow is malformed", "[wire]") {
  CHECK(ReadErrorDetails(Detail("RetryInfo", Field(1, std::string("\x08\xff\xff\xff\xff\xff\xff\xff\x7f")))).empty());
}

TEST_CASE("damaged details are read without harm", "[wire]") {
  const std::string whole =
      Detail("RetryInfo", Field(1, Number(1, 7))) +
      Detail("ErrorInfo", Field(1, "R") + Field(2, "d") + Field(3, Field(1, "k") + Field(2, "v"))) +
      Detail("BadRequest", Field(1, Field(4, Field(1, "l"))));
  for (std::size_t cut = 0; cut < whole.size(); ++cut) CHECK(ReadErrorDetails(whole.substr(0, cut)).size() <= 2);
  std::mt19937 generator(9);
  for (int i = 0; i < 20'000; ++i) {
    std::string damaged = whole;
    for (int n = 0; n < 3; ++n) damaged[generator() % damaged.size()] = static_cast<char>(generator());
    REQUIRE(ReadErrorDetails(damaged).size() <= damaged.size());
  }
}

TEST_CASE("a server's wish to be left alone is taken from its trailer, else from its details", "[wire]") {
  const auto pushback = [](const std::string& text) {
    std::multimap<grpc::string_ref, grpc::string_ref> trailers;
    trailers.emplace("grpc-retry-pushback-ms", grpc::string_ref(text));
    return inferwire::detail::wire::Pushback(trailers, {inferwire::RetryInfo{absl::Seconds(9)}});
  };
  CHECK(pushback("250") == absl::Milliseconds(250));
  CHECK(pushback("0") == absl::ZeroDuration());
  CHECK(pushback("-1") < absl::ZeroDuration());
  CHECK(pushback("soon") < absl::ZeroDuration());
  CHECK(pushback("99999999999999") < absl::ZeroDuration());
  CHECK(inferwire::detail::wire::Pushback({}, {inferwire::RetryInfo{absl::Seconds(9)}}) == absl::Seconds(9));
  CHECK(inferwire::detail::wire::Pushback({}, {inferwire::RetryInfo{-absl::Seconds(9)}}) == absl::ZeroDuration());
  CHECK_FALSE(inferwire::detail::wire::Pushback({}, {inferwire::ErrorInfo{}}).has_value());
}
