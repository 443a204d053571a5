// SPDX-License-Identifier: Apache-2.0
#include "server/embedding_service.h"

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "inferwire/version.h"
#include "server/ngrams.h"
#include "server/status.h"
#include "server/words.h"

namespace inferwire::examples {
namespace {

constexpr std::size_t kMostWords = 8192;
constexpr int kMostTexts = 32;

// A text that is not empty, and not longer than what is allowed, or cut to that.
absl::StatusOr<std::string> ReadText(std::string text, bool truncate, bool from_left) {
  if (text.empty()) return absl::InvalidArgumentError("expected a text, found an empty one");
  const std::vector<std::string_view> words = Words(text);
  if (words.size() <= kMostWords) return text;
  if (!truncate) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected a text of at most ", kMostWords, " words, found ", words.size()));
  }
  const auto place = [&](std::string_view word) { return static_cast<std::size_t>(word.data() - text.data()); };
  if (from_left) return text.substr(place(words[words.size() - kMostWords]));
  return text.substr(0, place(words[kMostWords]));
}
template <class Request>
absl::StatusOr<std::string> ReadInputs(const Request& request) {
  return ReadText(std::string(request.inputs()), request.truncate(),
                  request.truncation_direction() == ::tei::v1::TRUNCATION_DIRECTION_LEFT);
}

absl::Status CheckPrompt(bool has, std::string_view name) {
  if (!has) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("there are no prompts, but ", absl::string_view(name.data(), name.size()), " was asked for"));
}

void Measure(const std::string& text, ::tei::v1::Metadata& metadata) {
  metadata.set_compute_chars(static_cast<std::uint32_t>(text.size()));
  metadata.set_compute_tokens(static_cast<std::uint32_t>(Words(text).size()));
}

}  // namespace

grpc::Status EmbeddingInfoService::Info(grpc::ServerContext*, const ::tei::v1::InfoRequest*,
                                        ::tei::v1::InfoResponse* response) {
  response->set_version(INFERWIRE_VERSION);
  response->set_model_id("ngrams");
  response->set_model_dtype("float32");
  response->set_model_type(::tei::v1::MODEL_TYPE_EMBEDDING);
  response->set_max_input_length(kMostWords);
  response->set_max_client_batch_size(kMostTexts);
  return grpc::Status();
}

grpc::Status EmbeddingService::Embed(grpc::ServerContext*, const ::tei::v1::EmbedRequest* request,
                                     ::tei::v1::EmbedResponse* response) {
  const absl::StatusOr<std::string> text = ReadInputs(*request);
  if (!text.ok()) return ToGrpc(text.status());
  if (absl::Status status = CheckPrompt(request->has_prompt_name(), request->prompt_name()); !status.ok()) {
    return ToGrpc(status);
  }
  const std::size_t dimensions = request->has_dimensions() ? request->dimensions() : kEmbeddingDimensions;
  if (dimensions == 0 || dimensions > kEmbeddingDimensions) {
    return ToGrpc(absl::InvalidArgumentError(
        absl::StrCat("expected 1 to ", kEmbeddingDimensions, " dimensions, found ", dimensions)));
  }
  const std::vector<float> vector = EmbedText(*text, !request->has_normalize() || request->normalize(), dimensions);
  response->mutable_embeddings()->Assign(vector.begin(), vector.end());
  Measure(*text, *response->mutable_metadata());
  return grpc::Status();
}

grpc::Status EmbeddingService::EmbedSparse(grpc::ServerContext*, const ::tei::v1::EmbedSparseRequest* request,
                                           ::tei::v1::EmbedSparseResponse* response) {
  const absl::StatusOr<std::string> text = ReadInputs(*request);
  if (!text.ok()) return ToGrpc(text.status());
  if (absl::Status status = CheckPrompt(request->has_prompt_name(), request->prompt_name()); !status.ok()) {
    return ToGrpc(status);
  }
  std::map<std::uint32_t, int> counts;
  for (const std::string_view word : Words(*text)) ++counts[TokenId(word)];
  for (const auto& [index, count] : counts) {
    ::tei::v1::SparseValue& term = *response->add_sparse_embeddings();
    term.set_index(index);
    term.set_value(1.0f + std::log(static_cast<float>(count)));
  }
  Measure(*text, *response->mutable_metadata());
  return grpc::Status();
}

grpc::Status RerankService::Rerank(grpc::ServerContext*, const ::tei::v1::RerankRequest* request,
                                   ::tei::v1::RerankResponse* response) {
  const bool from_left = request->truncation_direction() == ::tei::v1::TRUNCATION_DIRECTION_LEFT;
  if (request->texts_size() == 0 || request->texts_size() > kMostTexts) {
    return ToGrpc(absl::InvalidArgumentError(
        absl::StrCat("expected 1 to ", kMostTexts, " texts, found ", request->texts_size())));
  }
  const absl::StatusOr<std::string> query = ReadText(std::string(request->query()), request->truncate(), from_left);
  if (!query.ok()) return ToGrpc(query.status());
  const std::vector<float> wanted = EmbedText(*query);
  for (int i = 0; i < request->texts_size(); ++i) {
    const absl::StatusOr<std::string> text = ReadText(std::string(request->texts(i)), request->truncate(), from_left);
    if (!text.ok()) return ToGrpc(text.status());
    const float cosine = Cosine(wanted, EmbedText(*text));
    ::tei::v1::Rank& rank = *response->add_ranks();
    rank.set_index(static_cast<std::uint32_t>(i));
    rank.set_score(request->raw_scores() ? cosine : (1 + cosine) / 2);
    if (request->return_text()) rank.set_text(*text);
  }
  std::stable_sort(response->mutable_ranks()->begin(), response->mutable_ranks()->end(),
                   [](const auto& a, const auto& b) { return a.score() > b.score(); });
  return grpc::Status();
}

grpc::Status TokenizeService::Tokenize(grpc::ServerContext*, const ::tei::v1::EncodeRequest* request,
                                       ::tei::v1::EncodeResponse* response) {
  if (absl::Status status = CheckPrompt(request->has_prompt_name(), request->prompt_name()); !status.ok()) {
    return ToGrpc(status);
  }
  const std::string text(request->inputs());
  for (const std::string_view word : Words(text)) {
    ::tei::v1::SimpleToken& token = *response->add_tokens();
    const auto start = static_cast<std::uint32_t>(word.data() - text.data());
    token.set_id(TokenId(word));
    token.set_text(std::string(word));
    token.set_start(start);
    token.set_stop(start + static_cast<std::uint32_t>(word.size()));
  }
  return grpc::Status();
}

}  // namespace inferwire::examples
