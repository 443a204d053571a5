// SPDX-License-Identifier: Apache-2.0
#include "server/simple_service.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <thread>
#include <vector>

#include "server/pause.h"
#include "server/status.h"
#include "server/tensor.h"
#include "server/text.h"

namespace inferwire::examples {
namespace {

using inference::Request;
using inference::Response;

std::span<const float> Input(const Request& request) {
  return {request.input().data(), static_cast<std::size_t>(request.input_size())};
}

absl::Status CheckShape(const Request& request) {
  if (request.shape().empty()) return absl::OkStatus();
  const Shape shape(request.shape().begin(), request.shape().end());
  absl::StatusOr<std::uint64_t> count = ElementCount(shape);
  if (!count.ok()) return count.status();
  if (*count == static_cast<std::uint64_t>(request.input_size())) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("input: shape ", ShapeText(shape), " needs ", *count,
                                                 " elements, but ", request.input_size(), " were given"));
}

// A setting that travels among the floats of `input`.
absl::StatusOr<std::int64_t> WholeNumber(float value, const std::string& name) {
  // A float holds every whole number up to here.
  constexpr float kMost = 1 << 24;
  if (std::isfinite(value) && std::trunc(value) == value && std::abs(value) <= kMost) {
    return static_cast<std::int64_t>(value);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("storyteller: expected ", name, ", a whole number of at most 2^24 either way, found ", value));
}

absl::StatusOr<StoryOptions> ReadStoryOptions(const Request& request) {
  const std::span<const float> input = Input(request);
  if (input.size() > 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("storyteller: expected input of max_tokens and seed at most, found ", input.size(), " elements"));
  }
  StoryOptions defaults;
  absl::StatusOr<std::int64_t> max_tokens = defaults.max_tokens;
  absl::StatusOr<std::int64_t> seed = static_cast<std::int64_t>(defaults.seed);
  if (!input.empty()) max_tokens = WholeNumber(input[0], "max_tokens as input 0");
  if (input.size() > 1) seed = WholeNumber(input[1], "seed as input 1");
  if (!max_tokens.ok()) return max_tokens.status();
  if (!seed.ok()) return seed.status();
  return StoryOptions::Create(*max_tokens, *seed);
}

absl::Status GoneError() { return absl::CancelledError("the caller has gone"); }

}  // namespace

absl::StatusOr<std::string> SimpleService::Resolve(const std::string& name) const {
  if (name.empty()) return default_model_;
  absl::StatusOr<const Model*> model = models_.Find(name);
  if (!model.ok()) return model.status();
  return name;
}

// The running sum of a stream of requests.
class SimpleService::Accumulator {
 public:
  explicit Accumulator(const SimpleService& service) : service_(service) {}

  absl::Status Add(const Request& request) {
    if (!chosen_ || !request.model().empty()) {
      if (absl::Status status = Choose(request.model()); !status.ok()) return status;
    }
    if (absl::Status status = CheckShape(request); !status.ok()) return status;
    for (const float value : request.input()) sum_ += value;
    id_ = request.id();
    ++requests_;
    return absl::OkStatus();
  }

  absl::Status Answer(Response& response) {
    if (!chosen_) {
      if (absl::Status status = Choose(""); !status.ok()) return status;
    }
    response.add_output(static_cast<float>(sum_));
    response.set_model(model_);
    response.set_id(id_);
    return absl::OkStatus();
  }

  std::uint64_t requests() const { return requests_; }

 private:
  absl::Status Choose(const std::string& name) {
    absl::StatusOr<std::string> model = service_.Resolve(name);
    if (!model.ok()) return model.status();
    if (chosen_ && *model != model_) {
      return absl::InvalidArgumentError(
          absl::StrCat("expected the stream's model ", Quote(model_), " or none, found ", Quote(name)));
    }
    if (*model != "accumulate" && *model != "identity") {
      return absl::InvalidArgumentError(
          absl::StrCat("model ", Quote(*model), " takes no stream of requests; accumulate and identity do"));
    }
    model_ = *std::move(model);
    chosen_ = true;
    return absl::OkStatus();
  }

  const SimpleService& service_;
  std::string model_;
  std::string id_;
  bool chosen_ = false;
  double sum_ = 0;
  std::uint64_t requests_ = 0;
};

absl::Status SimpleService::Run(const Request& request, Response& response) const {
  absl::StatusOr<std::string> model = Resolve(request.model());
  if (!model.ok()) return model.status();
  if (absl::Status status = CheckShape(request); !status.ok()) return status;
  response.set_model(*model);
  response.set_id(request.id());

  if (*model == "identity") {
    *response.mutable_output() = request.input();
    *response.mutable_shape() = request.shape();
    response.set_text(request.text());
    return absl::OkStatus();
  }
  if (*model == "digits") {
    absl::StatusOr<std::vector<float>> scores = models_.digits().Classify(Input(request));
    if (!scores.ok()) return scores.status();
    response.mutable_output()->Assign(scores->begin(), scores->end());
    response.add_shape(request.input_size() / static_cast<int>(kDigitPixels));
    response.add_shape(kDigitClasses);
    std::string labels;
    for (const int label : MostProbable(*scores)) absl::StrAppend(&labels, labels.empty() ? "" : " ", label);
    response.set_text(labels);
    return absl::OkStatus();
  }
  if (*model == "storyteller") {
    absl::StatusOr<StoryOptions> options = ReadStoryOptions(request);
    if (!options.ok()) return options.status();
    Storyteller::Story story = models_.storyteller().Tell(request.text(), options->seed);
    std::string text;
    for (std::int64_t i = 0; i < options->max_tokens; ++i) text += story.Next();
    response.set_text(text);
    return absl::OkStatus();
  }
  if (*model == "accumulate") {
    Accumulator sum(*this);
    if (absl::Status status = sum.Add(request); !status.ok()) return status;
    return sum.Answer(response);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "model ", Quote(*model), " has several named inputs: call it over the Open Inference Protocol, ModelInfer"));
}

absl::Status SimpleService::Stream(grpc::ServerContext& context, const Request& request,
                                   grpc::ServerWriter<Response>& writer) const {
  absl::StatusOr<std::string> model = Resolve(request.model());
  if (!model.ok()) return model.status();
  if (absl::Status status = CheckShape(request); !status.ok()) return status;
  Response response;
  response.set_model(*model);
  response.set_id(request.id());

  if (*model == "identity") {
    response.add_output(0);
    for (const float value : request.input()) {
      response.set_output(0, value);
      if (!writer.Write(response)) return GoneError();
    }
    return absl::OkStatus();
  }
  if (*model == "storyteller") {
    absl::StatusOr<StoryOptions> options = ReadStoryOptions(request);
    if (!options.ok()) return options.status();
    Storyteller::Story story = models_.storyteller().Tell(request.text(), options->seed);
    for (std::int64_t i = 0; i < options->max_tokens; ++i) {
      if (!Pause(context, token_delay_)) return GoneError();
      response.set_text(story.Next());
      if (!writer.Write(response)) return GoneError();
    }
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("model ", Quote(*model), " does not stream; identity and storyteller do"));
}

grpc::Status SimpleService::RunInference(grpc::ServerContext*, const Request* request, Response* response) {
  return ToGrpc(Run(*request, *response));
}

grpc::Status SimpleService::StreamInference(grpc::ServerContext* context, const Request* request,
                                            grpc::ServerWriter<Response>* writer) {
  return ToGrpc(Stream(*context, *request, *writer));
}

grpc::Status SimpleService::UploadInference(grpc::ServerContext* context, grpc::ServerReader<Request>* reader,
                                            Response* response) {
  Accumulator sum(*this);
  for (Request request; reader->Read(&request);) {
    if (absl::Status status = sum.Add(request); !status.ok()) return ToGrpc(status);
  }
  if (context->IsCancelled()) return ToGrpc(GoneError());
  if (absl::Status status = sum.Answer(*response); !status.ok()) return ToGrpc(status);
  response->set_text(absl::StrCat(sum.requests(), " requests"));
  return grpc::Status();
}

grpc::Status SimpleService::Converse(grpc::ServerContext*, grpc::ServerReaderWriter<Response, Request>* stream) {
  Accumulator sum(*this);
  for (Request request; stream->Read(&request);) {
    if (absl::Status status = sum.Add(request); !status.ok()) return ToGrpc(status);
    Response response;
    if (absl::Status status = sum.Answer(response); !status.ok()) return ToGrpc(status);
    if (!stream->Write(response)) return ToGrpc(GoneError());
  }
  return grpc::Status();
}

}  // namespace inferwire::examples
