// SPDX-License-Identifier: Apache-2.0
//
// A contract as a table of functions, so that who speaks it need not be compiled for each: made once from its type.
#ifndef INFERWIRE_DETAIL_CONTRACT_TABLE_H_
#define INFERWIRE_DETAIL_CONTRACT_TABLE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "inferwire/contract/contract.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/detail/model/request_check.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/protobuf.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/model_metadata.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// A method's path, which lives as long as the process.
using PathOf = const std::string& (*)();

/// A unary method that takes neutral arguments and gives a neutral answer; none where `path` is null. What the
/// contract's functions throw is a status.
template <class Answer, class... Args>
struct ContractMethod {
  PathOf path = nullptr;
  absl::StatusOr<wire::Payload> (*encode)(const Args&... args) = nullptr;
  Decoder<Answer> decode = nullptr;
};

/// What is asked about models and servers, by no more than their names.
template <class Answer>
using AboutModel = ContractMethod<Answer, std::string, std::string>;  // its name and version
template <class Answer>
using AboutServer = ContractMethod<Answer>;

/// What the neutral layer asks of a contract. Null, or no path, is what the contract lacks.
struct ContractTable {
  std::string_view name;
  std::string_view type;  // as the compiler spells it
  /// Its functions may take any time, and are not called where other calls wait for it.
  bool foreign = true;

  // Infer.

  PathOf infer = nullptr;
  absl::StatusOr<wire::Payload> (*encode)(const InferRequest& request) = nullptr;
  Decoder<InferResult> decode = nullptr;
  Decoder<InferResult> decode_placed = nullptr;  // of a request that asked for outputs in shared memory
  bool (*draining)(const absl::Status& status) = nullptr;

  // StreamInfer: a request and its answers on a call of their own, and on a stream with others.

  PathOf stream = nullptr;
  Decoder<InferResult> decode_streamed = nullptr;
  PathOf shared = nullptr;                       // the stream that requests share
  bool streams_alone = false;                    // StreamInfer's is another method
  Decoder<InferResult> decode_shared = nullptr;  // ids are engine::WireId's
  absl::Status (*ask_for_end)(InferRequest& request) = nullptr;
  engine::Speech speech = {};

  // What models and servers say of themselves.

  AboutModel<ModelMetadata> model_metadata = {};
  Decoder<ModelMetadata> decode_kept_metadata = nullptr;  // what is kept: nothing that takes much room
  bool checks_by_default = false;                         // requests are held against it
  AlsoTakes also_takes = nullptr;
  AboutModel<bool> model_ready = {};
  AboutServer<bool> server_ready = {};
  AboutServer<bool> server_live = {};
  AboutServer<ServerMetadata> server_metadata = {};
  absl::Status (*check_server)(const ServerMetadata& server) = nullptr;

  bool shares_streams() const { return decode_shared != nullptr; }
};

/// UNIMPLEMENTED, of what the contract has no method for.
inline absl::Status Lacks(const ContractTable& contract, std::string_view what) {
  return MakeError(absl::StatusCode::kUnimplemented, Cat("the contract ", contract.name, " has no ", what));
}

/// A received message of a contract, in whatever form the contract reads it.
template <class C, class Response>
absl::StatusOr<InferResult> DecodeAs(wire::Reply&& reply) {
  if constexpr (std::is_same_v<Response, typename C::Infer::Response> && DecodesBytes<C>) {
    return InvokeUser("the contract's Decode", [&] { return C::Decode(std::move(reply)); });
  } else {
    Response response;
    if (absl::Status status = wire::DecodeInto(std::move(reply), response); !status.ok()) return status;
    return InvokeUser("the contract's Decode", [&] { return C::Decode(std::move(response)); });
  }
}
inline absl::Status Keep(absl::StatusOr<InferResult> result, InferResult& out) {
  if (!result.ok()) return result.status();
  if (!result->status().ok()) return detail::InternalError(result->status().message());
  out = *std::move(result);
  return absl::OkStatus();
}
inline absl::Status RefusePlaced(const InferResult& result) {
  if (result.placed_outputs().empty()) return absl::OkStatus();
  return detail::InternalError(Cat("the server's answer contradicts itself: output '",
                                   result.placed_outputs().front().name, "' came without elements"));
}

/// The neutral result. `Placed`: the request asked for outputs in shared memory.
template <class C, class Response, bool Placed = false>
absl::Status DecodeResult(wire::Reply&& reply, InferResult& out) {
  if (absl::Status status = Keep(DecodeAs<C, Response>(std::move(reply)), out); !status.ok()) return status;
  return Placed ? absl::OkStatus() : RefusePlaced(out);
}
/// The same from C::ModelStreamInfer. `Shared`: on a stream where the id is engine::WireId's.
template <class C, bool Shared>
absl::Status DecodeStreamed(wire::Reply&& reply, InferResult& out) {
  absl::StatusOr<InferResult> result =
      InvokeUser("the contract's DecodeStreamed", [&] { return C::DecodeStreamed(std::move(reply)); });
  if (absl::Status status = Keep(std::move(result), out); !status.ok()) return status;
  if (Shared) out.set_id(engine::UserId(out.id()));
  return absl::OkStatus();
}

template <class C>
absl::StatusOr<wire::Payload> EncodeRequest(const InferRequest& request) {
  if (absl::Status status = request.Validate(); !status.ok()) return status;
  const auto encode = [&] { return InvokeUser("the contract's Encode", [&] { return C::Encode(request); }); };
  if constexpr (EncodesBytes<C>) {
    return encode();
  } else {
    absl::StatusOr<typename C::Infer::Request> message = encode();
    if (!message.ok()) return message.status();
    return wire::Encode(*message);
  }
}

template <class C>
absl::StatusOr<engine::ReplyTag> ReadTag(wire::Reply& reply) {
  return InvokeUser("the contract's ReadTag", [&] { return C::template ReadTag<engine::ReplyTag>(reply); });
}
template <class C>
wire::Payload WithId(const wire::Payload& request, const std::string& id) {
  const absl::StatusOr<wire::Payload> named =
      InvokeUser("the contract's WithId", [&] { return C::WithId(request, id); });
  return named.ok() ? *named : request;  // whose answer counts where it is the only one
}
template <class C>
absl::Status RequestFinalResponse(InferRequest& request) {
  return InvokeUser("the contract's RequestFinalResponse", [&] { C::RequestFinalResponse(request); });
}

/// An answer of one of the contract's methods, by the overload of C::Decode that takes it.
template <class C, class R, class Answer>
absl::Status DecodeAnswer(wire::Reply&& reply, Answer& out) {
  typename R::Response response;
  if (absl::Status status = wire::DecodeInto(std::move(reply), response); !status.ok()) return status;
  absl::StatusOr<Answer> answer = InvokeUser("the contract's Decode", [&] { return C::Decode(std::move(response)); });
  if (!answer.ok()) return answer.status();
  out = *std::move(answer);
  return absl::OkStatus();
}
template <class C>
absl::Status DecodeKeptMetadata(wire::Reply&& reply, ModelMetadata& out) {
  constexpr std::size_t kMost = std::size_t{1} << 20;
  if (reply.size() > kMost) return detail::ResourceExhaustedError(Cat("metadata of ", reply.size(), " bytes"));
  return DecodeAnswer<C, typename C::ModelMetadata>(std::move(reply), out);
}
/// An answer with a field `ready`, or `live`.
template <class R>
absl::Status DecodeFlag(wire::Reply&& reply, bool& out) {
  typename R::Response response;
  if (absl::Status status = wire::DecodeInto(std::move(reply), response); !status.ok()) return status;
  if constexpr (requires { response.ready(); }) {
    out = response.ready();
  } else {
    out = response.live();
  }
  return absl::OkStatus();
}

template <class R>
absl::StatusOr<wire::Payload> EncodeNothing() {
  return wire::Encode(typename R::Request());
}
template <class R>
absl::StatusOr<wire::Payload> EncodeName(const std::string& name, const std::string& version) {
  typename R::Request request;
  request.set_name(name);
  request.set_version(version);
  return wire::Encode(request);
}

/// Its type as the compiler spells it.
template <class C>
constexpr std::string_view ContractType() {
#if defined(_MSC_VER) && !defined(__clang__)
  std::string_view text = __FUNCSIG__;
  text = text.substr(0, text.rfind(">(void)"));
  return text.substr(text.rfind("ContractType<") + 13);
#else
  std::string_view text = __PRETTY_FUNCTION__;
  text = text.substr(text.find("C = ") + 4);
  return text.substr(0, text.find_first_of(";]"));
#endif
}
/// C::kName, or what its type is called without the namespaces.
template <class C>
constexpr std::string_view ContractName() {
  if constexpr (requires { std::string_view(C::kName); }) {
    return C::kName;
  } else {
    const std::string_view text = ContractType<C>();
    const std::string_view open = text.substr(0, text.find('<'));  // a template's argument has namespaces of its own
    const std::size_t last = open.find_last_of(": ");
    return last == std::string_view::npos ? text : text.substr(last + 1);
  }
}

template <class C>
constexpr ContractTable MakeTable() {
  ContractTable out;
  out.name = ContractName<C>();
  out.type = ContractType<C>();
  out.foreign = !kBuiltIn<C>;
  out.infer = C::Infer::path;
  out.encode = EncodeRequest<C>;
  out.decode = DecodeResult<C, typename C::Infer::Response>;
  out.decode_placed = DecodeResult<C, typename C::Infer::Response, true>;
  if constexpr (DetectsDraining<C>) out.draining = C::Draining;
  if constexpr (ServerStreaming<C>) {
    out.stream = C::StreamInfer::path;
    out.decode_streamed = DecodeResult<C, typename C::StreamInfer::Response>;
  } else if constexpr (BidiStreaming<C>) {
    out.stream = C::ModelStreamInfer::path;
    out.decode_streamed = DecodeStreamed<C, false>;
  }
  if constexpr (MultiplexedStreaming<C>) {
    out.shared = C::ModelStreamInfer::path;
    out.streams_alone = ServerStreaming<C>;
    out.decode_shared = DecodeStreamed<C, true>;
    out.ask_for_end = RequestFinalResponse<C>;
    out.speech = {ReadTag<C>, WithId<C>, !kBuiltIn<C>};
  }
  if constexpr (HasModelMetadata<C>) {
    using R = typename C::ModelMetadata;
    out.model_metadata = {R::path, EncodeName<R>, DecodeAnswer<C, R, ModelMetadata>};
    out.decode_kept_metadata = DecodeKeptMetadata<C>;
  }
  if constexpr (requires { C::kMetadataIsAuthoritative; }) out.checks_by_default = C::kMetadataIsAuthoritative;
  if constexpr (KnowsWhatElse<C>) out.also_takes = C::AlsoTakes;
  if constexpr (requires { requires UnaryRpc<typename C::ModelReady>; }) {
    out.model_ready = {C::ModelReady::path, EncodeName<typename C::ModelReady>, DecodeFlag<typename C::ModelReady>};
  }
  if constexpr (requires { requires UnaryRpc<typename C::ServerReady>; }) {
    using R = typename C::ServerReady;
    out.server_ready = {R::path, EncodeNothing<R>, DecodeFlag<R>};
  }
  if constexpr (requires { requires UnaryRpc<typename C::ServerLive>; }) {
    using R = typename C::ServerLive;
    out.server_live = {R::path, EncodeNothing<R>, DecodeFlag<R>};
  }
  if constexpr (requires { requires UnaryRpc<typename C::ServerMetadata>; }) {
    using R = typename C::ServerMetadata;
    out.server_metadata = {R::path, EncodeNothing<R>, DecodeAnswer<C, R, ServerMetadata>};
  }
  if constexpr (ChecksDialect<C>) out.check_server = C::CheckServer;
  return out;
}

/// That of C. No guard is taken to make it, nor at the process's start and end.
template <class C>
struct TableOf {
  static const ContractTable& Get();
};
template <class C>
const ContractTable& TableOf<C>::Get() {
  static constexpr ContractTable kTable = MakeTable<C>();
  return kTable;
}

}  // namespace detail

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CONTRACT_TABLE_H_
