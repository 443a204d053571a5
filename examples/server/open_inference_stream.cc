// SPDX-License-Identifier: Apache-2.0
#include "server/open_inference_stream.h"

#include <absl/strings/str_cat.h>

#include <string>

#include "server/pause.h"

namespace inferwire::examples {
namespace {

using inference::ModelInferRequest;
using inference::ModelStreamInferResponse;

void Mark(ModelStreamInferResponse& response, bool last) {
  (*response.mutable_infer_response()->mutable_parameters())["triton_final_response"].set_bool_param(last);
}

// Counts a request, whichever way it ends.
class Timed {
 public:
  Timed(Repository& repository, std::string model) : repository_(repository), model_(std::move(model)) {}
  ~Timed() { repository_.Count(model_, succeeded, std::chrono::steady_clock::now() - start_); }

  bool succeeded = false;

 private:
  Repository& repository_;
  const std::string model_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

absl::Status OpenInferenceStream::Run() {
  for (;;) {
    auto message = std::make_unique<ModelInferRequest>();
    if (!stream_.Read(message.get())) break;
    Take(std::move(message));
    const std::lock_guard<std::mutex> lock(writing_);
    if (!error_.ok()) break;
  }
  Reap(true);
  return error_;
}

void OpenInferenceStream::Take(std::unique_ptr<ModelInferRequest> message) {
  const absl::StatusOr<const Model*> model =
      repository_.Find(std::string(message->model_name()), std::string(message->model_version()));
  if (!model.ok()) return Fail(*message, model.status());
  absl::StatusOr<OpenInferenceRequest> request = OpenInferenceRequest::Read(*message, **model, shared_memory_);
  if (!request.ok()) return Fail(*message, request.status());
  if (!(*model)->spec().decoupled) return Answer(*request);
  Reap(false);
  if (workers_.size() == kMostAtOnce) {
    return Fail(*message, absl::UnavailableError(absl::StrCat(kMostAtOnce, " requests are being answered already")));
  }
  Worker& worker = workers_.emplace_back();
  worker.thread = std::thread(
      [this, &worker, owned = std::move(message), asked = std::make_unique<OpenInferenceRequest>(*std::move(request))] {
        AnswerAsItGoes(*asked);
        worker.done = true;
      });
}

void OpenInferenceStream::Answer(const OpenInferenceRequest& request) {
  Timed timed(repository_, request.model().spec().name);
  absl::StatusOr<std::vector<Tensor>> outputs = request.model().Infer(request.inputs(), request.step());
  if (!outputs.ok()) return Fail(request.message(), outputs.status());
  ModelStreamInferResponse response;
  if (absl::Status status = request.Write(*std::move(outputs), *response.mutable_infer_response()); !status.ok()) {
    return Fail(request.message(), status);
  }
  Mark(response, true);
  timed.succeeded = Send(response);
}

void OpenInferenceStream::AnswerAsItGoes(const OpenInferenceRequest& request) {
  Timed timed(repository_, request.model().spec().name);
  absl::Status written;
  absl::Status status = request.model().Stream(request.inputs(), [&](std::vector<Tensor> outputs) {
    if (!Pause([this] { return Cancelled(); }, delay_)) return false;
    ModelStreamInferResponse response;
    written = request.Write(std::move(outputs), *response.mutable_infer_response());
    Mark(response, false);
    return written.ok() && Send(response);
  });
  if (status.ok()) status = written;
  if (!status.ok()) return Fail(request.message(), status);
  timed.succeeded = !Cancelled();
  if (!request.wants_end()) return;
  ModelStreamInferResponse end;
  request.Head(*end.mutable_infer_response());
  Mark(end, true);
  Send(end);
}

bool OpenInferenceStream::Send(const ModelStreamInferResponse& response) {
  const std::lock_guard<std::mutex> lock(writing_);
  return error_.ok() && stream_.Write(response);
}

void OpenInferenceStream::Fail(const ModelInferRequest& message, const absl::Status& error) {
  const auto wish = context_.client_metadata().find("triton_grpc_error");
  if (wish != context_.client_metadata().end() && wish->second == "true") {
    const std::lock_guard<std::mutex> lock(writing_);
    error_.Update(error);
    return;
  }
  ModelStreamInferResponse response;
  response.set_error_message(std::string(error.message()));
  response.mutable_infer_response()->set_id(std::string(message.id()));
  Send(response);
}

// One at a time: gRPC lets six threads at most wait by a call's queue, which asking does too, and beyond that has a
// Write return before it is done.
bool OpenInferenceStream::Cancelled() {
  const std::lock_guard<std::mutex> lock(asking_);
  return context_.IsCancelled();
}

void OpenInferenceStream::Reap(bool all) {
  for (auto worker = workers_.begin(); worker != workers_.end();) {
    if (!all && !worker->done) {
      ++worker;
      continue;
    }
    worker->thread.join();
    worker = workers_.erase(worker);
  }
}

}  // namespace inferwire::examples
