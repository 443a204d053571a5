// SPDX-License-Identifier: Apache-2.0
//
// What makes a type a contract for text generation: which method streams, and how a request is said and a message
// understood in it.
#ifndef INFERWIRE_CONTRACT_GENERATION_CONTRACT_H_
#define INFERWIRE_CONTRACT_GENERATION_CONTRACT_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <concepts>
#include <cstdint>
#include <tuple>
#include <utility>

#include "inferwire/contract/generation_chunk.h"
#include "inferwire/generation_types.h"
#include "inferwire/rpc.h"

namespace inferwire {
inline namespace v0 {

/// What a contract can carry of a GenerationRequest, as bits.
struct GenerationFields {
  enum : std::uint32_t {
    kText = 1u << 0,
    kTokenIds = 1u << 1,
    kMessages = 1u << 2,
    kModel = 1u << 3,
    kMaxTokens = 1u << 4,
    kTemperature = 1u << 5,
    kTopP = 1u << 6,
    kTopK = 1u << 7,
    kMinP = 1u << 8,
    kPresencePenalty = 1u << 9,
    kFrequencyPenalty = 1u << 10,
    kRepetitionPenalty = 1u << 11,
    kSeed = 1u << 12,
    kN = 1u << 13,
    kStop = 1u << 14,  ///< where it is missing the client sees to it
    kStopTokenIds = 1u << 15,
    kIgnoreEos = 1u << 16,
    kLogprobs = 1u << 17,
    kJsonSchema = 1u << 18,
    kRegex = 1u << 19,
    kGrammar = 1u << 20,
    kChoice = 1u << 21,
    kAdapter = 1u << 22,
    kPriority = 1u << 23,
    kRequestId = 1u << 24,

    kSampling = kTemperature | kTopP | kTopK | kMinP | kPresencePenalty | kFrequencyPenalty | kRepetitionPenalty,
  };
};

/// C::GenerateStream names a method that streams a generation. C::Encode(const GenerationRequest&, bool stream) gives
/// an absl::StatusOr of its request, which holds nothing but what C::kCarries names; `stream` is false where the answer
/// is wanted as a whole. C::Decode(Response&&, GenerationChunk&) says what a message brings; the message is a
/// stranger's and is to be checked.
///
/// Optional: C::Generate, a unary method that takes the same request, with a C::Decode of its response;
/// C::Inspect(const Response&), the error that a message of a call that ends OK tells; C::kTellsFinish = false, where
/// no message says how a sequence ended; C::kGivesText = false, where messages have token ids alone;
/// C::kWantsRequestId; C::kResumes = false, where a
/// prompt is a turn of a conversation, which nothing can be appended to; C::kName, as configuration files write it.
template <class C>
concept GenerationMethod = ServerStreamRpc<typename C::GenerateStream> &&
                           requires(const GenerationRequest& request, typename C::GenerateStream::Response&& response,
                                    GenerationChunk& chunk) {
                             {
                               C::Encode(request, true)
                             } -> std::same_as<absl::StatusOr<typename C::GenerateStream::Request>>;
                             { C::Decode(std::move(response), chunk) } -> std::same_as<absl::Status>;
                             { C::kCarries } -> std::convertible_to<std::uint32_t>;
                           };

namespace detail {
template <class Forms>
inline constexpr bool kAreGenerationMethods = false;
template <class... Forms>
inline constexpr bool kAreGenerationMethods<std::tuple<Forms...>> = sizeof...(Forms) > 0 &&
                                                                    (GenerationMethod<Forms> && ...);
}  // namespace detail

/// One such method, or several: C::Forms is a std::tuple of them, and the first whose Takes(const GenerationRequest&)
/// says so is called, for instance one for text and one for token ids.
template <class C>
concept GenerationContract =
    GenerationMethod<C> || requires { requires detail::kAreGenerationMethods<typename C::Forms>; };

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_GENERATION_CONTRACT_H_
