// SPDX-License-Identifier: Apache-2.0
//
// One call of ModelStreamInfer: requests in, answers out, those of decoupled models beside one another.
#ifndef INFERWIRE_EXAMPLES_SERVER_OPEN_INFERENCE_STREAM_H_
#define INFERWIRE_EXAMPLES_SERVER_OPEN_INFERENCE_STREAM_H_

#include <absl/status/status.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/sync_stream.h>

#include <atomic>
#include <chrono>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "open_inference_public.grpc.pb.h"
#include "server/open_inference_request.h"
#include "server/repository.h"
#include "server/shared_memory.h"

namespace inferwire::examples {

/// As Triton does it. Ordinary models answer in the order of the requests, each answer marked as its request's last.
/// Decoupled ones answer as they go, any number of times; that there are no more is said only where the request asked
/// for it. An error is told in an answer with the request's id, and ends nothing but that request; a caller that sent
/// the header triton_grpc_error: true gets it as the stream's status instead.
class OpenInferenceStream {
 public:
  using Stream = grpc::ServerReaderWriter<inference::ModelStreamInferResponse, inference::ModelInferRequest>;

  /// A decoupled model's answers are `delay` apart. All outlive this.
  OpenInferenceStream(grpc::ServerContext& context, Stream& stream, Repository& repository,
                      const SharedMemory& shared_memory, std::chrono::milliseconds delay)
      : context_(context), stream_(stream), repository_(repository), shared_memory_(shared_memory), delay_(delay) {}

  /// Until the caller has half-closed and all requests are answered, or it has gone.
  absl::Status Run();

 private:
  static constexpr std::size_t kMostAtOnce = 64;

  struct Worker {
    std::thread thread;
    std::atomic<bool> done{false};
  };

  void Take(std::unique_ptr<inference::ModelInferRequest> message);
  void Answer(const OpenInferenceRequest& request);
  void AnswerAsItGoes(const OpenInferenceRequest& request);
  bool Send(const inference::ModelStreamInferResponse& response);
  void Fail(const inference::ModelInferRequest& message, const absl::Status& error);
  void Reap(bool all);
  bool Cancelled();

  grpc::ServerContext& context_;
  Stream& stream_;
  Repository& repository_;
  const SharedMemory& shared_memory_;
  const std::chrono::milliseconds delay_;
  std::list<Worker> workers_;
  std::mutex writing_, asking_;
  absl::Status error_;  // ends the stream; of the first request that failed, if the caller wants it so
};

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_OPEN_INFERENCE_STREAM_H_
