// SPDX-License-Identifier: Apache-2.0
//
// A question whether anybody is there, for connections by which nothing comes.
#ifndef INFERWIRE_DETAIL_ENGINE_PROBE_H_
#define INFERWIRE_DETAIL_ENGINE_PROBE_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/async_unary_call.h>
#include <grpcpp/support/slice.h>
#include <grpcpp/support/status.h>

#include <memory>
#include <mutex>
#include <utility>

#include "inferwire/detail/channel/channel.h"
#include "inferwire/detail/channel/health.h"
#include "inferwire/detail/engine/loop.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

/// grpc.health.v1's Check, since it is cheap, and asked by others too: whatever the server says to it, an error as
/// well, says that the connection lives. gRPC has no way to send a PING when one is wanted.
class Probe final : public Tag {
 public:
  /// Asks, unless a question is out. `loop` is one that is always turned.
  static void Ask(const std::shared_ptr<channel::Connection>& connection, Loop& loop) {
    if (auto context = connection->BeginAsking()) new Probe(connection, std::move(context), loop);
  }

  void Proceed(bool) override {
    const std::unique_ptr<Probe> self(this);
    {
      std::lock_guard lock(starting_);
    }  // what was written while it started is seen here
    // What cannot be reached is UNAVAILABLE, and so is what a server may say of its health.
    const bool said = status_.error_code() == grpc::StatusCode::UNAVAILABLE && connection_->connected();
    connection_->EndAsking(said || wire::FromServer(status_));
  }

 private:
  Probe(std::shared_ptr<channel::Connection> connection, std::shared_ptr<grpc::ClientContext> context, Loop& loop)
      : connection_(std::move(connection)), context_(std::move(context)) {
    reader_ = connection_->stub().PrepareUnaryCall(context_.get(), channel::HealthCheckPath(), request_, loop.queue());
    loop.Show();
    std::lock_guard lock(starting_);
    reader_->StartCall();
    reader_->Finish(&reply_, &status_, static_cast<Tag*>(this));
  }

  const std::shared_ptr<channel::Connection> connection_;
  const std::shared_ptr<grpc::ClientContext> context_;
  const wire::Payload request_ = wire::Payload(grpc::Slice());
  wire::Reply reply_;
  grpc::Status status_;
  std::mutex starting_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<wire::Reply>> reader_;
};

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_PROBE_H_
