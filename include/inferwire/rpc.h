// SPDX-License-Identifier: Apache-2.0
//
// Rpc names one method of a generated gRPC service by its stub's member pointer.
#ifndef INFERWIRE_RPC_H_
#define INFERWIRE_RPC_H_

#include <grpcpp/support/sync_stream.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

#include "inferwire/detail/base/fixed_string.h"

namespace grpc {
class ClientContext;
class Status;
}  // namespace grpc

namespace inferwire {
inline namespace v0 {

/// The four shapes a gRPC method can have.
enum class RpcKind { kUnary, kServerStream, kClientStream, kBidiStream };

namespace detail {

template <class Method>
struct MethodTraits;  // defined for the signatures protoc gives the blocking methods of a stub, and for nothing else

template <class Stub, class Req, class Res>
struct MethodTraits<grpc::Status (Stub::*)(grpc::ClientContext*, const Req&, Res*)> {
  using Request = Req;
  using Response = Res;
  static constexpr RpcKind kKind = RpcKind::kUnary;
};
template <class Stub, class Req, class Res>
struct MethodTraits<std::unique_ptr<grpc::ClientReader<Res>> (Stub::*)(grpc::ClientContext*, const Req&)> {
  using Request = Req;
  using Response = Res;
  static constexpr RpcKind kKind = RpcKind::kServerStream;
};
template <class Stub, class Req, class Res>
struct MethodTraits<std::unique_ptr<grpc::ClientWriter<Req>> (Stub::*)(grpc::ClientContext*, Res*)> {
  using Request = Req;
  using Response = Res;
  static constexpr RpcKind kKind = RpcKind::kClientStream;
};
template <class Stub, class Req, class Res>
struct MethodTraits<std::unique_ptr<grpc::ClientReaderWriter<Req, Res>> (Stub::*)(grpc::ClientContext*)> {
  using Request = Req;
  using Response = Res;
  static constexpr RpcKind kKind = RpcKind::kBidiStream;
};

template <auto Method>
concept GeneratedStubMethod = requires { MethodTraits<decltype(Method)>::kKind; };

/// How the compiler spells the template argument: "acme::v1::Scorer::Stub::Score". A method pointer's name is to be had
/// in no other way; that its spelling ends so is checked by SplitMethod at compile time.
template <auto Method>
consteval std::string_view MethodSpelling() {
#if defined(_MSC_VER) && !defined(__clang__)
  std::string_view text = __FUNCSIG__;
  text = text.substr(0, text.rfind(">(void)"));
  const std::size_t from = text.rfind("MethodSpelling<") + 15;
#else
  std::string_view text = __PRETTY_FUNCTION__;
  text = text.substr(text.rfind("Method = ") + 9);
  text = text.substr(0, text.find_first_of(";]"));
  const std::size_t from = 0;
#endif
  text = text.substr(from);
  // What precedes the qualified name is a cast or an ampersand, depending on the compiler.
  if (const std::size_t cut = text.find_last_of("&) "); cut != std::string_view::npos) text = text.substr(cut + 1);
  return text.substr(text.starts_with("::") ? 2 : 0);
}

/// "acme::v1::Scorer::Stub::Score" as "/acme.v1.Scorer/Score"; `Service`, if not empty, stands in for "acme.v1.Scorer".
template <auto Method, FixedString Service>
struct MethodPath {
  static constexpr std::string_view kSpelling = MethodSpelling<Method>();
  static constexpr std::size_t kStub = kSpelling.rfind("::Stub::");
  static_assert(kStub != std::string_view::npos, "inferwire: expected a pointer to a method of a generated ...::Stub");
  static constexpr std::string_view kMethod = kSpelling.substr(kStub + 8);
  static constexpr std::string_view kClass = kSpelling.substr(0, kStub);

  static consteval std::size_t ServiceSize() {
    if (!Service.view().empty()) return Service.view().size();
    std::size_t size = 0;
    for (std::size_t i = 0; i < kClass.size(); ++i, ++size) {
      if (kClass[i] == ':') ++i;
    }
    return size;
  }
  static consteval auto Build() {
    std::array<char, 1 + ServiceSize() + 1 + kMethod.size()> out{};
    std::size_t at = 0;
    out[at++] = '/';
    if (!Service.view().empty()) {
      for (char c : Service.view()) out[at++] = c;
    } else {
      for (std::size_t i = 0; i < kClass.size(); ++i) {
        out[at++] = kClass[i] == ':' ? '.' : kClass[i];
        if (kClass[i] == ':') ++i;
      }
    }
    out[at++] = '/';
    for (char c : kMethod) out[at++] = c;
    return out;
  }
  static constexpr auto kText = Build();
};

}  // namespace detail

/// One method of a generated service: `Rpc<&acme::Scorer::Stub::Score>`. The request, the response and the kind come
/// from the member pointer's type, the path ("/acme.Scorer/Score") from its spelling. `Service` overrides the service's
/// public name where it differs from the C++ one: a package that is a C++ keyword, or messages kept in a private
/// package.
template <auto Method, detail::FixedString Service = "">
struct Rpc {
  static_assert(
      detail::GeneratedStubMethod<Method>,
      "inferwire: Rpc takes a pointer to a blocking method of a generated stub, such as &acme::Scorer::Stub::Score");
  using Request = typename detail::MethodTraits<decltype(Method)>::Request;
  using Response = typename detail::MethodTraits<decltype(Method)>::Response;
  static constexpr RpcKind kKind = detail::MethodTraits<decltype(Method)>::kKind;
  static constexpr std::string_view kPath{detail::MethodPath<Method, Service>::kText.data(),
                                          detail::MethodPath<Method, Service>::kText.size()};

  /// The path as gRPC takes it. Lives as long as the process, so that calls may refer to it.
  static const std::string& path() {
    // No guard as that of a static object: one who is forked while another thread holds it would wait for ever.
    static constinit std::atomic<const std::string*> known{nullptr};
    const std::string* text = known.load(std::memory_order_acquire);
    if (text != nullptr) return *text;
    auto made = std::make_unique<const std::string>(kPath);
    return known.compare_exchange_strong(text, made.get(), std::memory_order_acq_rel) ? *made.release() : *text;
  }
};

/// Any specialisation of Rpc, or a type of the same form.
template <class R>
concept RpcType = requires {
  typename R::Request;
  typename R::Response;
  { R::kKind } -> std::convertible_to<RpcKind>;
  { R::path() } -> std::convertible_to<const std::string&>;
};
template <class R>
concept UnaryRpc = RpcType<R> && R::kKind == RpcKind::kUnary;
template <class R>
concept ServerStreamRpc = RpcType<R> && R::kKind == RpcKind::kServerStream;
template <class R>
concept ClientStreamRpc = RpcType<R> && R::kKind == RpcKind::kClientStream;
template <class R>
concept BidiStreamRpc = RpcType<R> && R::kKind == RpcKind::kBidiStream;

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_RPC_H_
