// SPDX-License-Identifier: Apache-2.0
//
// Options in every form in which they are written, compiled at each level of optimisation: compilers that follow values
// through them warn of what they do not understand.
#include <inferwire/call_options.h>
#include <inferwire/client_options.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using inferwire::BearerToken;
using inferwire::CallOptions;
using inferwire::ClientOptions;
using inferwire::HedgePolicy;
using inferwire::Insecure;
using inferwire::Metadata;
using inferwire::RetryPolicy;

static_assert(std::is_aggregate_v<ClientOptions> && std::is_aggregate_v<CallOptions> &&
              std::is_aggregate_v<RetryPolicy>);

}  // namespace

// What the compiler cannot see into: where options come from, and where they go.
std::string Text();
Metadata Headers();
bool Create(ClientOptions options);
bool Look(const ClientOptions& options);
bool Call(CallOptions options);

// ---- in the place of an argument
bool Minimal(const std::string& target) { return Create({.targets = {target}, .credentials = Insecure()}); }
bool Health(const std::string& target) { return Create({.targets = {target}, .health = {.check_service = ""}}); }
bool HealthText() {
  return Create({.targets = {Text()}, .credentials = Insecure(), .health = {.check_service = Text()}});
}
bool UserAgent() { return Create({.targets = {Text()}, .connection = {.user_agent = "me"}}); }
bool UserAgentText() {
  return Create({.targets = {Text()}, .connection = {.user_agent = Text()}, .metadata = Headers()});
}
bool Several() {
  return Create({.targets = {Text(), "b"},
                 .connection = {.user_agent = Text(), .service_config = R"({"loadBalancingConfig": []})"},
                 .health = {.check_service = Text()},
                 .metadata = {{"a", "b"}}});
}
bool Retry() {
  return Create({.targets = {Text()},
                 .retry = {.max_attempts = 4, .retryable_codes = {absl::StatusCode::kUnavailable}},
                 .health = {.check_service = ""},
                 .metadata = {{"a", Text()}}});
}
bool RetryIf() {
  return Create(
      {.targets = {Text()},
       .retry = {.retry_if = [text = Text()](const absl::Status& status) { return status.message() == text; }},
       .metadata = Headers()});
}
bool RetryIfNull() {
  return Create({.targets = {Text()}, .retry = {.retry_if = nullptr}, .health = {.check_service = ""}});
}
bool RetryByName() {
  return Create({.targets = {Text()}, .retry = RetryPolicy{.max_attempts = 1}, .metadata = Headers()});
}
bool Token() {
  return Create({.targets = {Text()}, .token = BearerToken("x"), .random = [] { return 0.5; }});
}
bool Positional() { return Create(ClientOptions{{Text()}, Insecure()}); }

// ---- named: copied, moved, assigned, looked at
bool Named() {
  const ClientOptions options{.targets = {Text()}, .health = {.check_service = ""}};
  return Look(options);
}
bool NamedAndMoved() {
  ClientOptions options{.targets = {Text()}, .health = {.check_service = Text()}, .metadata = Headers()};
  return Create(std::move(options));
}
bool NamedAndCopied() {
  ClientOptions options = {.targets = {Text()}, .connection = {.user_agent = Text()}};
  return Create(options);
}
bool AllOfThem() {
  ClientOptions options{
      .targets = {"10.0.0.1:8001", "10.0.0.2:8001"},
      .credentials = inferwire::Tls({.root_certificates_file = "ca.pem",
                                     .certificate_chain_file = "client.pem",
                                     .private_key_file = "client.key"}),
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
      .hedge = HedgePolicy{.delay = absl::Milliseconds(50), .max_hedges = 1, .max_ratio = 0.05},
      .pool = {.min_channels = 1, .max_channels = 8, .max_streams_per_channel = 100},
      .health = {.check_service = ""},
      .outliers = {.consecutive_failures = 5, .ejection = absl::Seconds(1)},
  };
  return Create(std::move(options));
}
bool FieldByField() {
  ClientOptions options;
  options.targets = {Text()};
  options.retry.max_attempts = 1;
  options.retry.retry_if = [](const absl::Status& status) { return status.ok(); };
  options.health.check_service = "";
  options.connection = {.user_agent = Text()};
  return Create(std::move(options));
}
bool Assigned() {
  ClientOptions options;
  options = {
      .targets = {Text()}, .retry = {.max_attempts = 3}, .health = {.check_service = Text()}, .metadata = Headers()};
  return Create(std::move(options));
}
ClientOptions Returned() { return {.targets = {Text()}, .health = {.check_service = Text()}}; }
bool ReturnedAndKept() {
  ClientOptions options = Returned();
  ClientOptions other = options;
  options = std::move(other);
  return Create(std::move(options));
}
bool Static() {
  static const ClientOptions kOptions{
      .targets = {"a"}, .retry = {.max_attempts = 3}, .health = {.check_service = ""}, .metadata = {{"a", "b"}}};
  ClientOptions options = kOptions;
  options.targets = {Text()};
  return Create(options);
}
struct Config {
  ClientOptions client = {.targets = {"a"}, .health = {.check_service = ""}};
  CallOptions call = {.timeout = absl::Seconds(1)};
};
bool Member() {
  Config config;
  return Create(config.client) && Call(config.call);
}
bool Optional() {
  std::optional<ClientOptions> options = ClientOptions{.targets = {Text()}, .connection = {.user_agent = Text()}};
  return Create(*options);
}
bool OnTheHeap() {
  auto options = std::make_unique<ClientOptions>(ClientOptions{.targets = {Text()}, .health = {.check_service = ""}});
  return Create(*std::move(options));
}
bool InAVector() {
  std::vector<ClientOptions> all;
  all.push_back({.targets = {Text()}, .retry = {.max_attempts = 1}, .health = {.check_service = ""}});
  all.push_back({.targets = {Text()}});
  return Create(all[0]);
}
bool FromALambda() {
  const auto make = [](RetryPolicy retry) {
    return ClientOptions{.targets = {Text()}, .retry = std::move(retry), .metadata = {{"a", "b"}}};
  };
  return Create(make({.max_attempts = 1}));
}

// ---- one call's
bool CallMetadata() { return Call({.timeout = absl::Seconds(1), .metadata = {{"a", Text()}}}); }
bool CallRetry() { return Call({.metadata = {{"a", Text()}}, .retry = RetryPolicy{.max_attempts = 1}}); }
bool CallRetryInBraces() { return Call({.token = BearerToken(Text()), .retry = {{.max_attempts = 1}}}); }
bool CallHedge() {
  CallOptions options{.metadata = Headers(), .retry = RetryPolicy{.max_attempts = 1}, .hedge = HedgePolicy{}};
  return Call(std::move(options));
}
bool CallFieldByField() {
  CallOptions options;
  options.retry = {.max_attempts = 1};
  options.token = BearerToken(Text());
  return Call(options);
}

// ---- predicates, from what std::function takes
bool OfStatus(const absl::Status& status) { return !status.ok(); }
bool Predicates() {
  RetryPolicy retry{.max_attempts = 2, .retry_if = OfStatus};
  RetryPolicy other = retry;
  const std::function<bool(const absl::Status&)> function = OfStatus;
  other.retry_if = function;
  retry = std::move(other);
  if (retry.retry_if) retry.retry_if = nullptr;
  retry.retry_if = {};
  retry.retry_if = [text = Text()](const absl::Status& status) { return status.message() == text; };
  return Call({.metadata = {{"a", Text()}}, .retry = std::move(retry)});
}
