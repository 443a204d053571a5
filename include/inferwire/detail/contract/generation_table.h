// SPDX-License-Identifier: Apache-2.0
//
// A contract for text generation as a table of functions: made once from its type.
#ifndef INFERWIRE_DETAIL_CONTRACT_GENERATION_TABLE_H_
#define INFERWIRE_DETAIL_CONTRACT_GENERATION_TABLE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>

#include "inferwire/contract/generation_chunk.h"
#include "inferwire/contract/generation_contract.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/contract/table.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/protobuf.h"
#include "inferwire/generation_types.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

struct GenerationTable {
  std::string_view name;
  std::uint32_t carries = 0;
  bool foreign = true;
  bool tells_finish = true;
  bool gives_text = true;
  bool wants_request_id = false;
  bool resumes = true;

  /// Which requests it is for, where a contract has several methods; the first that takes a request is called.
  bool (*takes)(const GenerationRequest& request) = nullptr;
  std::span<const GenerationTable> forms = {};

  absl::StatusOr<wire::Payload> (*encode)(const GenerationRequest& request, bool stream) = nullptr;
  PathOf stream = nullptr;
  Decoder<GenerationChunk> decode = nullptr;
  PathOf once = nullptr;  // null: the stream it is
  Decoder<GenerationChunk> decode_once = nullptr;
  absl::Status (*inspect)(const wire::Reply& reply) = nullptr;  // null: errors are statuses
};

template <class C, class R>
absl::Status DecodeGeneration(wire::Reply&& reply, GenerationChunk& out) {
  const int attempt = reply.attempt();
  typename R::Response response;
  if (absl::Status status = wire::DecodeInto(std::move(reply), response); !status.ok()) return status;
  out = GenerationChunk();
  out.attempt = attempt;
  return InvokeUser("the contract's Decode", [&] { return C::Decode(std::move(response), out); });
}
template <class C>
absl::StatusOr<wire::Payload> EncodeGeneration(const GenerationRequest& request, bool stream) {
  const auto message = InvokeUser("the contract's Encode", [&] { return C::Encode(request, stream); });
  if (!message.ok()) return message.status();
  return wire::Encode(*message);
}
/// Whether a message may have this text in it: all do that are in several pieces, which few are.
inline bool MayHave(const wire::Reply& reply, std::string_view text) {
  grpc::Slice slice;
  wire::Reply copy = reply.Copy();
  if (!copy.buffer().TrySingleSlice(&slice).ok()) return true;
  return std::string_view(reinterpret_cast<const char*>(slice.begin()), slice.size()).find(text) !=
         std::string_view::npos;
}
template <class C>
absl::Status InspectGeneration(const wire::Reply& reply) {
  // Few messages tell an error, and all are looked at.
  if constexpr (requires { std::string_view(C::kErrorMark); }) {
    if (!MayHave(reply, C::kErrorMark)) return absl::OkStatus();
  }
  typename C::GenerateStream::Response response;
  // What cannot be understood is for those who decode it to say.
  if (!wire::DecodeInto(reply.Copy(), response).ok()) return absl::OkStatus();
  return C::Inspect(std::as_const(response));
}

template <class C>
constexpr GenerationTable MakeGenerationTable(std::string_view name, bool foreign) {
  GenerationTable out;
  out.name = name;
  out.carries = C::kCarries;
  out.foreign = foreign;
  if constexpr (requires(const GenerationRequest& request) { C::Takes(request); }) out.takes = C::Takes;
  if constexpr (requires { C::kTellsFinish; }) out.tells_finish = C::kTellsFinish;
  if constexpr (requires { C::kGivesText; }) out.gives_text = C::kGivesText;
  if constexpr (requires { C::kWantsRequestId; }) out.wants_request_id = C::kWantsRequestId;
  if constexpr (requires { C::kResumes; }) out.resumes = C::kResumes;
  out.encode = EncodeGeneration<C>;
  out.stream = C::GenerateStream::path;
  out.decode = DecodeGeneration<C, typename C::GenerateStream>;
  if constexpr (requires { requires UnaryRpc<typename C::Generate>; }) {
    out.once = C::Generate::path;
    out.decode_once = DecodeGeneration<C, typename C::Generate>;
  }
  if constexpr (requires(const typename C::GenerateStream::Response& response) { C::Inspect(response); }) {
    out.inspect = InspectGeneration<C>;
  }
  return out;
}

/// Those of the methods of a contract.
template <class C, class... Forms>
constexpr auto MakeForms(std::tuple<Forms...>*) {
  return std::array<GenerationTable, sizeof...(Forms)>{
      MakeGenerationTable<Forms>(ContractName<C>(), /*foreign=*/!kBuiltIn<C>)...};
}

/// That of C.
template <class C>
struct GenerationTableOf {
  static const GenerationTable& Get();
};
template <class C>
const GenerationTable& GenerationTableOf<C>::Get() {
  if constexpr (requires { typename C::Forms; }) {
    static constexpr auto kForms = MakeForms<C>(static_cast<typename C::Forms*>(nullptr));
    static constexpr GenerationTable kTable = [] {
      GenerationTable table;
      table.name = ContractName<C>();
      table.forms = kForms;
      return table;
    }();
    return kTable;
  } else {
    static constexpr GenerationTable kTable = MakeGenerationTable<C>(ContractName<C>(), /*foreign=*/!kBuiltIn<C>);
    return kTable;
  }
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CONTRACT_GENERATION_TABLE_H_
