// SPDX-License-Identifier: Apache-2.0
//
// How a client is made, and what it tells of itself.
#ifndef INFERWIRE_DETAIL_IMPL_CLIENT_H_
#define INFERWIRE_DETAIL_IMPL_CLIENT_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/call_options.h"
#include "inferwire/client.h"
#include "inferwire/client_options.h"
#include "inferwire/clock.h"
#include "inferwire/credentials.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/process.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/channel/endpoint.h"
#include "inferwire/detail/channel/pool.h"
#include "inferwire/detail/engine/engine.h"
#include "inferwire/detail/engine/fork.h"
#include "inferwire/detail/engine/health.h"
#include "inferwire/detail/engine/validate.h"
#include "inferwire/detail/wire/status.h"
#include "inferwire/options/connection_options.h"
#include "inferwire/stats.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {

INFERWIRE_DECL absl::StatusOr<Client> Client::Create(ClientOptions options) {
  if (absl::Status status = detail::engine::MayUseGrpc(); !status.ok()) return status;
  if (absl::Status status = detail::Validate(options); !status.ok()) return detail::WithoutTrace(status);
  absl::StatusOr<Credentials::Built> built = options.credentials.Build();
  if (!built.ok()) return detail::WithoutTrace(built.status());
  // What every call carries over plaintext is not for a proxy to read.
  const bool shows = !options.credentials.secure() &&
                     (options.token.has_value() || detail::wire::Has(options.metadata, detail::wire::kAuthorization));
  if (shows) options.connection.use_proxy = false;
  detail::channel::Connector connector(*built, options.pool, options.connection,
                                       static_cast<int>(options.max_receive_message_bytes),
                                       options.compression != Compression::kNone);
  const bool health = options.health.check_service.has_value() || options.health.readiness.has_value();
  const auto engine = detail::engine::Engine::Make(std::move(options), std::move(connector));
  if (health) engine->Follow(std::make_unique<detail::engine::Health>(engine));
  return Client(engine);
}

INFERWIRE_DECL absl::Status Client::WaitUntilReady(absl::Duration timeout) const {
  if (engine_->foreign()) return detail::ForkedError();
  // What lies before 1970 is never to gRPC.
  const absl::Duration wait = (std::max)(timeout, absl::ZeroDuration());
  const auto deadline = wait == absl::InfiniteDuration() ? std::chrono::system_clock::time_point::max()
                                                         : absl::ToChronoTime(absl::Now() + wait);
  std::string missing;
  const auto targets = engine_->pool().targets();
  const TimePoint now = engine_->Now();
  for (const auto& target : targets) target->endpoint->StartConnecting(now);  // all at a time
  for (const auto& target : targets) {
    if (target->endpoint->WaitUntilConnected(deadline, now)) continue;
    const std::string why = target->endpoint->WhyNotConnected(now);
    missing += detail::Cat(missing.empty() ? "" : ", ", target->endpoint->target(), why.empty() ? "" : " (", why,
                           why.empty() ? "" : ")");
  }
  if (missing.empty()) return absl::OkStatus();
  return detail::MakeError(absl::StatusCode::kDeadlineExceeded,
                           detail::Cat("no connection within ", absl::FormatDuration(timeout), " to ", missing));
}

INFERWIRE_DECL absl::Status Client::SetTargets(const std::vector<std::string>& targets) const {
  if (engine_->foreign()) return detail::ForkedError();
  if (absl::Status status = detail::ValidateTargets(targets); !status.ok()) return detail::WithoutTrace(status);
  engine_->SetTargets(targets);
  return absl::OkStatus();
}

INFERWIRE_DECL ClientStats Client::Stats() const {
  if (engine_->foreign()) return {};
  const detail::engine::Counts& counts = engine_->counts();
  const auto read = [](const std::atomic<std::uint64_t>& count) { return count.load(std::memory_order_relaxed); };
  ClientStats out;
  const std::uint64_t ended = read(counts.ended);  // before those that began
  out.calls = read(counts.calls);
  out.failed = read(counts.failed);
  out.attempts = read(counts.attempts);
  out.retries = read(counts.retries);
  out.hedges = read(counts.hedges);
  out.in_flight = out.calls - ended;
  for (const auto& target : engine_->pool().targets()) {
    const auto [open, ready] = target->endpoint->connections();
    const std::uint64_t done = read(target->ended);
    const std::uint64_t attempts = read(target->attempts);
    out.targets.push_back({target->endpoint->target(), open, ready, !target->unhealthy, target->outlier.ejected(),
                           read(target->ejections), attempts, read(target->failures), attempts - done,
                           target->latencies.Quantile(0.5, 1), target->latencies.Quantile(0.9, 1),
                           target->latencies.Quantile(0.99, 1),
                           ready > 0 ? std::string() : target->endpoint->connect_error()});
  }
  return out;
}

INFERWIRE_DECL void Client::Shutdown() const { engine_->Shutdown(); }

INFERWIRE_DECL absl::Status Client::Refused(const CallOptions& options) {
  absl::Status status = detail::ForkedError();
  if (options.info != nullptr) *options.info = InfoOf(status);
  return status;
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_CLIENT_H_
