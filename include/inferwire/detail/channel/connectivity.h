// SPDX-License-Identifier: Apache-2.0
//
// Why a channel does not connect. gRPC tells it in no other way than by a call that fails.
#ifndef INFERWIRE_DETAIL_CHANNEL_CONNECTIVITY_H_
#define INFERWIRE_DETAIL_CHANNEL_CONNECTIVITY_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/async_unary_call.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <memory>
#include <optional>

namespace inferwire {
inline namespace v0 {
namespace detail {

/// How a call on `channel` fails, once the attempt to connect has failed that it waits for or begins; none if that
/// takes longer than `patience`, or if there is a connection. Blocks.
inline std::optional<grpc::Status> WhyNotConnected(const std::shared_ptr<grpc::Channel>& channel,
                                                   std::chrono::milliseconds patience) {
  if (channel->GetState(/*try_to_connect=*/true) == GRPC_CHANNEL_READY) return std::nullopt;
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  grpc::Slice nothing;
  const grpc::ByteBuffer request(&nothing, 1);
  grpc::ByteBuffer reply;
  grpc::Status status;
  const auto call = stub.PrepareUnaryCall(&context, "/inferwire.Connectivity/Check", request, &queue);
  call->StartCall();
  call->Finish(&reply, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  const auto next = queue.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + patience);
  if (next != grpc::CompletionQueue::GOT_EVENT) context.TryCancel();
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  if (next != grpc::CompletionQueue::GOT_EVENT || status.error_code() != grpc::StatusCode::UNAVAILABLE) {
    return std::nullopt;
  }
  return status;
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CHANNEL_CONNECTIVITY_H_
