// SPDX-License-Identifier: Apache-2.0
//
// A connection to one target, and which of several a new attempt takes.
#ifndef INFERWIRE_CHANNEL_CHANNEL_H_
#define INFERWIRE_CHANNEL_CHANNEL_H_

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/channel_arguments.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/version.h"
#include "inferwire/wire/message.h"

namespace inferwire {
inline namespace v0 {
namespace channel {

/// A gRPC channel to one target, with the generic stub every call goes through. Safe from any number of threads.
class Channel {
 public:
  Channel(std::string target, const std::shared_ptr<grpc::Channel>& channel)
      : target_(std::move(target)), stub_(channel) {}

  const std::string& target() const { return target_; }
  grpc::TemplatedGenericStub<wire::Payload, wire::Reply>& stub() { return stub_; }

 private:
  std::string target_;
  grpc::TemplatedGenericStub<wire::Payload, wire::Reply> stub_;
};

/// What all channels of a client are made with. `max_receive_bytes` bounds one reply.
inline grpc::ChannelArguments Arguments(int max_receive_bytes) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(max_receive_bytes);
  arguments.SetMaxSendMessageSize(-1);  // the server's limit decides
  arguments.SetUserAgentPrefix("inferwire/" INFERWIRE_VERSION);
  // gRPC waits up to two minutes between connection attempts; a restarted server is to be used within a second.
  // The keys are spelled out, since gRPC moved the macros that name them from one header to another.
  arguments.SetInt("grpc.initial_reconnect_backoff_ms", 100);
  arguments.SetInt("grpc.min_reconnect_backoff_ms", 1000);  // also how long one connection attempt may take
  arguments.SetInt("grpc.max_reconnect_backoff_ms", 1000);
  // Error details travel in trailers, and 8 KiB, gRPC's default, is little for them.
  arguments.SetInt("grpc.max_metadata_size", 64 * 1024);
  return arguments;
}

/// The channels of a client, one a target. Attempts take them in turn, so that the one after a failure goes elsewhere.
class ChannelSet {
 public:
  explicit ChannelSet(std::vector<std::unique_ptr<Channel>> channels) : channels_(std::move(channels)) {}

  std::size_t size() const { return channels_.size(); }

  /// Any channel but `avoid`, where there are several.
  Channel& Pick(const Channel* avoid) {
    Channel* picked = &Next();
    if (picked == avoid) picked = &Next();
    return *picked;
  }

 private:
  Channel& Next() { return *channels_[next_.fetch_add(1, std::memory_order_relaxed) % channels_.size()]; }

  std::vector<std::unique_ptr<Channel>> channels_;
  std::atomic<std::size_t> next_{0};
};

}  // namespace channel
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CHANNEL_CHANNEL_H_
