// SPDX-License-Identifier: Apache-2.0
//
// A contract for embeddings as a table of functions: made once from its type.
#ifndef INFERWIRE_DETAIL_CONTRACT_EMBEDDING_TABLE_H_
#define INFERWIRE_DETAIL_CONTRACT_EMBEDDING_TABLE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/contract/table.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/protobuf.h"
#include "inferwire/embedding_types.h"
#include "inferwire/rpc.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

using Texts = std::vector<std::string>;

/// An answer for several texts at most, each of which has one entry in it.
template <class Answer>
struct TextsMethod : ContractMethod<std::vector<Answer>, Texts, EmbeddingOptions> {
  bool one_by_one = true;  // a request has a single text
};

struct EmbeddingTable {
  std::string_view name;
  bool foreign = true;
  absl::Status (*check)(const EmbeddingOptions& options) = nullptr;
  TextsMethod<std::vector<float>> embed = {};
  TextsMethod<SparseEmbedding> sparse = {};
  TextsMethod<Embeddings> per_token = {};
  TextsMethod<std::vector<ClassScore>> classify = {};
  TextsMethod<std::vector<TextToken>> tokenize = {};
  ContractMethod<std::vector<Ranked>, std::string, Texts, EmbeddingOptions> rerank = {};
};

/// Form is one method of a contract: its Rpc as `Method`, Encode(const Texts&, const EmbeddingOptions&) and
/// Decode(Response&&, std::vector<Answer>&); one text a request unless it says `static constexpr bool kBatches = true`.
template <class Form>
absl::StatusOr<wire::Payload> EncodeTexts(const Texts& texts, const EmbeddingOptions& options) {
  const auto message = InvokeUser("the contract's Encode", [&] { return Form::Encode(texts, options); });
  if (!message.ok()) return message.status();
  return wire::Encode(*message);
}
template <class Form, class Answer>
absl::Status DecodeTexts(wire::Reply&& reply, std::vector<Answer>& out) {
  typename Form::Method::Response response;
  if (absl::Status status = wire::DecodeInto(std::move(reply), response); !status.ok()) return status;
  out.clear();
  return InvokeUser("the contract's Decode", [&] { return Form::Decode(std::move(response), out); });
}
template <class Form, class Answer>
constexpr TextsMethod<Answer> MakeTextsMethod() {
  TextsMethod<Answer> out;
  out.path = Form::Method::path;
  out.encode = EncodeTexts<Form>;
  out.decode = DecodeTexts<Form, Answer>;
  if constexpr (requires { Form::kBatches; }) out.one_by_one = !Form::kBatches;
  return out;
}
template <class Form>
absl::StatusOr<wire::Payload> EncodeRerank(const std::string& query, const Texts& texts,
                                           const EmbeddingOptions& options) {
  const auto message = InvokeUser("the contract's Encode", [&] { return Form::Encode(query, texts, options); });
  if (!message.ok()) return message.status();
  return wire::Encode(*message);
}

template <class C>
constexpr EmbeddingTable MakeEmbeddingTable() {
  EmbeddingTable out;
  out.name = ContractName<C>();
  out.foreign = !kBuiltIn<C>;
  out.check = C::CheckOptions;
  if constexpr (requires { typename C::EmbedForm; }) {
    out.embed = MakeTextsMethod<typename C::EmbedForm, std::vector<float>>();
  }
  if constexpr (requires { typename C::EmbedSparseForm; }) {
    out.sparse = MakeTextsMethod<typename C::EmbedSparseForm, SparseEmbedding>();
  }
  if constexpr (requires { typename C::EmbedTokensForm; }) {
    out.per_token = MakeTextsMethod<typename C::EmbedTokensForm, Embeddings>();
  }
  if constexpr (requires { typename C::ClassifyForm; }) {
    out.classify = MakeTextsMethod<typename C::ClassifyForm, std::vector<ClassScore>>();
  }
  if constexpr (requires { typename C::TokenizeForm; }) {
    out.tokenize = MakeTextsMethod<typename C::TokenizeForm, std::vector<TextToken>>();
  }
  if constexpr (requires { typename C::RerankForm; }) {
    using Form = typename C::RerankForm;
    out.rerank = {Form::Method::path, EncodeRerank<Form>, DecodeTexts<Form, Ranked>};
  }
  return out;
}

/// That of C.
template <class C>
struct EmbeddingTableOf {
  static const EmbeddingTable& Get();
};
template <class C>
const EmbeddingTable& EmbeddingTableOf<C>::Get() {
  static constexpr EmbeddingTable kTable = MakeEmbeddingTable<C>();
  return kTable;
}

}  // namespace detail

/// C::CheckOptions(const EmbeddingOptions&) gives INVALID_ARGUMENT for what C cannot carry, and at least C::EmbedForm
/// names a method; contract/tei.h shows the forms.
template <class C>
concept EmbeddingContract = requires(const EmbeddingOptions& options) {
  typename C::EmbedForm::Method;
  { C::CheckOptions(options) } -> std::same_as<absl::Status>;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CONTRACT_EMBEDDING_TABLE_H_
