// SPDX-License-Identifier: Apache-2.0
//
// How texts are sent, several at a time, and come back in order.
#ifndef INFERWIRE_DETAIL_IMPL_EMBEDDING_H_
#define INFERWIRE_DETAIL_IMPL_EMBEDDING_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <deque>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/call_options.h"
#include "inferwire/client.h"
#include "inferwire/clock.h"
#include "inferwire/detail/async/tell_info.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/contract/embedding_table.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/embedding.h"
#include "inferwire/embedding_types.h"
#include "inferwire/future.h"
#include "inferwire/start.h"
#include "inferwire/status.h"
#include "inferwire/task.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// INVALID_ARGUMENT naming what makes no sense, or what the contract cannot carry.
INFERWIRE_DECL absl::Status CheckTexts(const EmbeddingTable& contract, const Texts& texts,
                                       const EmbeddingOptions& options) {
  if (options.max_batch < 1)
    return InvalidArgumentError(Cat("max_batch is ", options.max_batch, "; expected at least 1"));
  if (options.max_in_flight < 1) {
    return InvalidArgumentError(Cat("max_in_flight is ", options.max_in_flight, "; expected at least 1"));
  }
  if (options.dimensions.has_value() && *options.dimensions < 1) {
    return InvalidArgumentError(Cat("dimensions is ", *options.dimensions, "; expected at least 1"));
  }
  if (texts.empty()) return InvalidArgumentError("there is no text; expected at least one");
  return contract.check(options);
}

/// Whether these texts may be asked about by the method at `path`; `what` names it where the contract has none.
INFERWIRE_DECL absl::Status MayAsk(const Client& client, const EmbeddingTable& contract, PathOf path,
                                   std::string_view what, const Texts& texts, const EmbeddingOptions& options) {
  if (path == nullptr) {
    return MakeError(absl::StatusCode::kUnimplemented, Cat("the contract ", contract.name, " has no ", what));
  }
  if (engine::IsForeign(*client.engine())) return ForkedError();
  return CheckTexts(contract, texts, options);
}

/// The calls for texts that are asked about together, and the time that they share. Refers to what it is given.
class TextCalls {
 public:
  TextCalls(const Client& client, const EmbeddingTable& contract, const Texts& texts, const CallOptions& call)
      : client_(client), contract_(contract), texts_(texts), call_(call) {
    if (call.timeout.has_value()) started_ = engine::NowOf(*client.engine());
  }
  /// One for `count` of them from `first` on; `encode(texts)` makes its request.
  template <class Answer, class Encode>
  Future<Answer> Start(PathOf path, Decoder<Answer> decode, std::size_t first, std::size_t count, Encode encode) const {
    const auto from = texts_.begin() + static_cast<std::ptrdiff_t>(first);
    CallOptions one = call_;
    if (one.timeout.has_value()) *one.timeout -= Between(started_, engine::NowOf(*client_.engine()));
    if (count < texts_.size()) one.info = nullptr;  // it is one call's, and these run side by side
    return client_.AsyncAs<Answer>({.path = path(),
                                    .request = encode(Texts(from, from + static_cast<std::ptrdiff_t>(count))),
                                    .foreign = contract_.foreign},
                                   decode, std::move(one));
  }

 private:
  const Client& client_;
  const EmbeddingTable& contract_;
  const Texts& texts_;
  const CallOptions& call_;
  TimePoint started_;
};

/// Calls `start(first, count)` for each group of `each` texts, `most` at a time, and `take(first, answer)` in order.
template <class Answer, class StartOne, class TakeOne>
Task<absl::Status> InGroups(std::size_t all, std::size_t each, std::size_t most, StartOne start, TakeOne take) {
  std::deque<std::pair<std::size_t, Future<Answer>>> running;
  std::size_t next = 0;
  while (next < all || !running.empty()) {
    while (next < all && running.size() < most) {
      const std::size_t count = (std::min)(each, all - next);
      running.emplace_back(next, start(next, count));
      next += count;
    }
    const std::size_t first = running.front().first;
    absl::StatusOr<Answer> answer = co_await std::move(running.front().second);
    running.pop_front();
    absl::Status status = answer.ok() ? take(first, *std::move(answer)) : answer.status();
    if (!status.ok()) {
      if (all <= each) co_return status;
      co_return Reworded(status, Cat(ToStd(status.message()), "; of text ", first));
    }
  }
  co_return absl::OkStatus();
}

/// An answer for each text. What it is given it keeps, since it may run after its caller has gone on.
template <class Answer>
Task<absl::StatusOr<std::vector<Answer>>> AskTexts(Client client, const EmbeddingTable* contract,
                                                   TextsMethod<Answer> EmbeddingTable::* which, std::string_view what,
                                                   Texts texts, EmbeddingOptions options, CallOptions call) {
  const TextsMethod<Answer>& method = contract->*which;
  if (absl::Status status = MayAsk(client, *contract, method.path, what, texts, options); !status.ok()) {
    co_return status;
  }
  const TextCalls calls(client, *contract, texts, call);
  std::vector<Answer> out;
  out.reserve(texts.size());
  const std::size_t each = method.one_by_one ? 1 : static_cast<std::size_t>(options.max_batch);
  const absl::Status status = co_await InGroups<std::vector<Answer>>(
      texts.size(), each, static_cast<std::size_t>(options.max_in_flight),
      [&](std::size_t first, std::size_t count) {
        return calls.Start(method.path, method.decode, first, count,
                           [&](const Texts& group) { return method.encode(group, options); });
      },
      [&](std::size_t first, std::vector<Answer>&& answers) {
        const std::size_t expected = (std::min)(each, texts.size() - first);
        if (answers.size() != expected) {
          return Contradiction(Cat(answers.size(), " answers for ", expected, " texts"));
        }
        std::move(answers.begin(), answers.end(), std::back_inserter(out));
        return absl::OkStatus();
      });
  if (!status.ok()) co_return status;
  co_return out;
}

INFERWIRE_DECL absl::StatusOr<Embeddings> RowsOf(absl::StatusOr<std::vector<std::vector<float>>> vectors) {
  if (!vectors.ok()) return vectors.status();
  const std::size_t dimensions = vectors->front().size();
  std::vector<float> values;
  values.reserve(vectors->size() * dimensions);
  for (std::size_t i = 0; i < vectors->size(); ++i) {
    const std::vector<float>& one = (*vectors)[i];
    if (one.size() != dimensions || one.empty()) {
      return Contradiction(
          Cat("the vector of text ", i, " has ", one.size(), " dimensions, and that of text 0 has ", dimensions));
    }
    values.insert(values.end(), one.begin(), one.end());
  }
  return Embeddings(std::move(values), dimensions);
}

/// `info`: what the call writes to meanwhile.
INFERWIRE_DECL Task<absl::StatusOr<Embeddings>> EmbedTexts(Client client, const EmbeddingTable* contract, Texts texts,
                                                           EmbeddingOptions options, CallOptions call,
                                                           std::shared_ptr<CallInfo> info) {
  static_cast<void>(info);
  co_return RowsOf(co_await AskTexts(std::move(client), contract, &EmbeddingTable::embed, "method for embeddings",
                                     std::move(texts), std::move(options), std::move(call)));
}

/// What cannot be compared is worse than all else.
template <class Scored>
float ScoreOf(const Scored& one) {
  return std::isnan(one.score) ? -std::numeric_limits<float>::infinity() : one.score;
}

inline Task<absl::StatusOr<std::vector<Ranked>>> RankTexts(Client client, const EmbeddingTable* contract,
                                                           std::string query, Texts texts, EmbeddingOptions options,
                                                           CallOptions call, std::shared_ptr<CallInfo> info) {
  static_cast<void>(info);
  const auto& method = contract->rerank;
  if (absl::Status status = MayAsk(client, *contract, method.path, "method for reranking", texts, options);
      !status.ok()) {
    co_return status;
  }
  const TextCalls calls(client, *contract, texts, call);
  std::vector<Ranked> out(texts.size());
  const std::size_t each = static_cast<std::size_t>(options.max_batch);
  const absl::Status status = co_await InGroups<std::vector<Ranked>>(
      texts.size(), each, static_cast<std::size_t>(options.max_in_flight),
      [&](std::size_t first, std::size_t count) {
        return calls.Start(method.path, method.decode, first, count,
                           [&](const Texts& group) { return method.encode(query, group, options); });
      },
      [&](std::size_t first, std::vector<Ranked>&& ranks) {
        const std::size_t expected = (std::min)(each, texts.size() - first);
        std::vector<char> seen(expected);
        for (const Ranked& rank : ranks) {
          if (rank.index >= expected || std::exchange(seen[rank.index], 1) != 0) {
            return Contradiction(
                Cat("it ranks text ", rank.index, " of ", expected, rank.index < expected ? " twice" : ""));
          }
          out[first + rank.index] = {first + rank.index, rank.score};
        }
        return ranks.size() == expected ? absl::OkStatus()
                                        : Contradiction(Cat(ranks.size(), " ranks for ", expected, " texts"));
      });
  if (!status.ok()) co_return status;
  std::sort(out.begin(), out.end(), [](const Ranked& a, const Ranked& b) {
    return ScoreOf(a) != ScoreOf(b) ? ScoreOf(a) > ScoreOf(b) : a.index < b.index;
  });
  co_return out;
}

}  // namespace detail

INFERWIRE_DECL absl::StatusOr<Embeddings> AnyEmbeddingClient::Embed(std::vector<std::string> texts,
                                                                    EmbeddingOptions options, CallOptions call) const {
  return SyncWait(detail::EmbedTexts(client_, table_, std::move(texts), std::move(options), std::move(call), nullptr));
}
INFERWIRE_DECL Future<Embeddings> AnyEmbeddingClient::AsyncEmbed(std::vector<std::string> texts,
                                                                 EmbeddingOptions options, CallOptions call) const {
  return detail::TellInfo(call.info, [&](std::shared_ptr<CallInfo> info) {
    return Start(
        detail::EmbedTexts(client_, table_, std::move(texts), std::move(options), std::move(call), std::move(info)));
  });
}
INFERWIRE_DECL absl::StatusOr<std::vector<SparseEmbedding>> AnyEmbeddingClient::EmbedSparse(
    std::vector<std::string> texts, EmbeddingOptions options, CallOptions call) const {
  return SyncWait(detail::AskTexts(client_, table_, &detail::EmbeddingTable::sparse, "method for sparse embeddings",
                                   std::move(texts), std::move(options), std::move(call)));
}
INFERWIRE_DECL absl::StatusOr<std::vector<Embeddings>> AnyEmbeddingClient::EmbedTokens(std::vector<std::string> texts,
                                                                                       EmbeddingOptions options,
                                                                                       CallOptions call) const {
  return SyncWait(detail::AskTexts(client_, table_, &detail::EmbeddingTable::per_token,
                                   "method for the embeddings of tokens", std::move(texts), std::move(options),
                                   std::move(call)));
}
INFERWIRE_DECL absl::StatusOr<std::vector<Ranked>> AnyEmbeddingClient::Rerank(std::string query,
                                                                              std::vector<std::string> texts,
                                                                              EmbeddingOptions options,
                                                                              CallOptions call) const {
  return SyncWait(detail::RankTexts(client_, table_, std::move(query), std::move(texts), std::move(options),
                                    std::move(call), nullptr));
}
INFERWIRE_DECL Future<std::vector<Ranked>> AnyEmbeddingClient::AsyncRerank(std::string query,
                                                                           std::vector<std::string> texts,
                                                                           EmbeddingOptions options,
                                                                           CallOptions call) const {
  return detail::TellInfo(call.info, [&](std::shared_ptr<CallInfo> info) {
    return Start(detail::RankTexts(client_, table_, std::move(query), std::move(texts), std::move(options),
                                   std::move(call), std::move(info)));
  });
}
INFERWIRE_DECL absl::StatusOr<std::vector<std::vector<ClassScore>>> AnyEmbeddingClient::Classify(
    std::vector<std::string> texts, EmbeddingOptions options, CallOptions call) const {
  auto classes =
      SyncWait(detail::AskTexts(client_, table_, &detail::EmbeddingTable::classify, "method for classification",
                                std::move(texts), std::move(options), std::move(call)));
  if (!classes.ok()) return classes;
  for (std::vector<ClassScore>& one : *classes) {
    std::sort(one.begin(), one.end(), [](const ClassScore& a, const ClassScore& b) {
      return detail::ScoreOf(a) != detail::ScoreOf(b) ? detail::ScoreOf(a) > detail::ScoreOf(b) : a.label < b.label;
    });
  }
  return classes;
}
INFERWIRE_DECL absl::StatusOr<std::vector<std::vector<TextToken>>> AnyEmbeddingClient::Tokenize(
    std::vector<std::string> texts, EmbeddingOptions options, CallOptions call) const {
  return SyncWait(detail::AskTexts(client_, table_, &detail::EmbeddingTable::tokenize, "method for tokens",
                                   std::move(texts), std::move(options), std::move(call)));
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_EMBEDDING_H_
