// SPDX-License-Identifier: Apache-2.0
//
// The Open Inference Protocol (KServe v2), one contract a dialect: Triton, MLServer, KServe's own servers, TorchServe.
#ifndef INFERWIRE_CONTRACT_OPEN_INFERENCE_H_
#define INFERWIRE_CONTRACT_OPEN_INFERENCE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "inferwire/admin_types.h"
#include "inferwire/contract/contract.h"
#include "inferwire/contract/open_inference.grpc.pb.h"
#include "inferwire/contract/open_inference_kserve.grpc.pb.h"
#include "inferwire/contract/open_inference_mlserver.grpc.pb.h"
#include "inferwire/contract/typed_contents.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/contract/open_inference_admin.h"
#include "inferwire/detail/contract/open_inference_codec.h"
#include "inferwire/detail/contract/table.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/inference.h"  // IWYU pragma: export
#include "inferwire/model_metadata.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// What all dialects have. The messages live in private packages, so that an application may link other copies of them,
/// and are called under the service's public name. `NoDoubles` names the server if it knows no parameters of that type.
template <class GeneratedStub, FixedString Service, FixedString NoDoubles = "">
struct OpenInferenceDialect : OpenInferenceAdmin {
  using Stub = GeneratedStub;
  using Infer = Rpc<&Stub::ModelInfer, Service>;
  using ServerLive = Rpc<&Stub::ServerLive, Service>;
  using ServerReady = Rpc<&Stub::ServerReady, Service>;
  using ModelReady = Rpc<&Stub::ModelReady, Service>;
  using ServerMetadata = Rpc<&Stub::ServerMetadata, Service>;
  using ModelMetadata = Rpc<&Stub::ModelMetadata, Service>;

  using OpenInferenceAdmin::Decode;
  using OpenInferenceAdmin::Encode;

  /// INVALID_ARGUMENT for what the protocol cannot say, or servers would misunderstand.
  static absl::StatusOr<detail::wire::Payload> Encode(const InferRequest& request) {
    if (absl::Status status = Check(request); !status.ok()) return status;
    return OpenInferenceCodec::Encode(request);
  }
  /// The same without the elements of the inputs.
  static absl::StatusOr<open_inference::ModelInferRequest> EncodeHeader(const InferRequest& request) {
    if (absl::Status status = Check(request); !status.ok()) return status;
    return OpenInferenceCodec::EncodeHeader(request);
  }
  /// INTERNAL, naming the output and what is wrong with it, where the server contradicts itself.
  static absl::StatusOr<InferResult> Decode(detail::wire::Reply&& reply) {
    return OpenInferenceCodec::Decode(std::move(reply));
  }

 protected:
  static absl::Status Check(const InferRequest& request) {
    if (NoDoubles.view().empty()) return absl::OkStatus();
    return OpenInferenceCodec::RefuseDoubles(request, NoDoubles.view());
  }
  static absl::Status Speaks(const v0::ServerMetadata& server, std::string_view contract) {
    return detail::FailedPreconditionError(Cat("the server calls itself '", server.name, "' ", server.version,
                                               " and speaks another dialect; expected InferenceClient<", contract,
                                               ">"));
  }
};

}  // namespace detail

/// As Triton, KServe and OpenVINO Model Server speak it, with all that Triton adds. A method that a server lacks is
/// UNIMPLEMENTED there. KServe's own servers load and unload models by OpenInferenceKServe.
struct OpenInference
    : detail::OpenInferenceDialect<open_inference::GRPCInferenceService::Stub, "inference.GRPCInferenceService"> {
  static constexpr std::string_view kName = "open_inference";
  /// What models say of their inputs is what they take.
  static constexpr bool kMetadataIsAuthoritative = true;
  /// But OpenVINO Model Server (its models' platform is "OpenVINO"; Triton's backend of that name is "openvino") takes
  /// BYTES for any input, which it decodes: images, and texts. And where a model's batch or shape is "auto", the sizes
  /// are those of the request before, and the model takes others; the metadata does not tell which models do.
  static bool AlsoTakes(const v0::ModelMetadata& model, const TensorMetadata& expected, DataType given,
                        std::size_t rank) {
    if (model.platform != "OpenVINO") return false;
    return given == DataType::kBytes || (given == expected.datatype && rank == expected.shape.rank());
  }

  using ModelStreamInfer = Rpc<&Stub::ModelStreamInfer, "inference.GRPCInferenceService">;
  static absl::StatusOr<InferResult> DecodeStreamed(detail::wire::Reply&& reply) {
    return OpenInferenceCodec::DecodeStreamed(std::move(reply));
  }
  template <class Label>
  static absl::StatusOr<Label> ReadTag(detail::wire::Reply& reply) {
    return OpenInferenceCodec::ReadTag<Label>(reply);
  }
  static detail::wire::Payload WithId(const detail::wire::Payload& request, const std::string& id) {
    return OpenInferenceCodec::WithId(request, id);
  }
  /// A decoupled model may answer any number of times, none included.
  static void RequestFinalResponse(InferRequest& request) {
    request.set_parameter("triton_enable_empty_final_response", true);
  }

  /// Triton, once it was asked to exit, goes on taking calls, and refuses them by these words: NOT_FOUND for the models
  /// it has let go, UNAVAILABLE by the others. What a model says may hold the same words, but does not begin with them.
  static bool Draining(const absl::Status& status) {
    const std::string_view message = detail::ToStd(status.message());
    const auto says = [&](std::string_view sentence) { return OpenInferenceCodec::Says(message, sentence); };
    switch (status.code()) {
      case absl::StatusCode::kNotFound:
        return says("Request for unknown model: '*' has no available versions") ||
               says("'*' has no available versions");
      case absl::StatusCode::kUnavailable:
      case absl::StatusCode::kUnknown:
        return says("Server is stopping, *has stopped accepting new inference requests") ||
               says("GRPC server is shutting down and has stopped accepting new requests");
      default:
        return false;
    }
  }

  using ModelConfig = Rpc<&Stub::ModelConfig, "inference.GRPCInferenceService">;
  using ModelStatistics = Rpc<&Stub::ModelStatistics, "inference.GRPCInferenceService">;
  using RepositoryIndex = Rpc<&Stub::RepositoryIndex, "inference.GRPCInferenceService">;
  using RepositoryModelLoad = Rpc<&Stub::RepositoryModelLoad, "inference.GRPCInferenceService">;
  using RepositoryModelUnload = Rpc<&Stub::RepositoryModelUnload, "inference.GRPCInferenceService">;
  using SystemSharedMemoryStatus = Rpc<&Stub::SystemSharedMemoryStatus, "inference.GRPCInferenceService">;
  using SystemSharedMemoryRegister = Rpc<&Stub::SystemSharedMemoryRegister, "inference.GRPCInferenceService">;
  using SystemSharedMemoryUnregister = Rpc<&Stub::SystemSharedMemoryUnregister, "inference.GRPCInferenceService">;
  using CudaSharedMemoryStatus = Rpc<&Stub::CudaSharedMemoryStatus, "inference.GRPCInferenceService">;
  using CudaSharedMemoryRegister = Rpc<&Stub::CudaSharedMemoryRegister, "inference.GRPCInferenceService">;
  using CudaSharedMemoryUnregister = Rpc<&Stub::CudaSharedMemoryUnregister, "inference.GRPCInferenceService">;
  using TraceSetting = Rpc<&Stub::TraceSetting, "inference.GRPCInferenceService">;
  using LogSettings = Rpc<&Stub::LogSettings, "inference.GRPCInferenceService">;

  /// The header that opens a protocol which Triton was started to restrict (--grpc-restricted-protocol=...:KEY=VALUE),
  /// for ClientOptions::metadata or CallOptions::metadata. Without it Triton says UNAVAILABLE.
  static std::pair<std::string, std::string> RestrictedProtocol(std::string_view key, std::string value) {
    return {detail::Cat("triton-grpc-protocol-", key), std::move(value)};
  }

  /// FAILED_PRECONDITION where the server says that it speaks another dialect.
  static absl::Status CheckServer(const v0::ServerMetadata& server) {
    return server.name == "mlserver" ? Speaks(server, "OpenInferenceMlServer") : absl::OkStatus();
  }
};
static_assert(Contract<OpenInference>);

/// As MLServer speaks it: its streams answer without Triton's wrapper, an error ends them, and it knows no parameters
/// of type double.
struct OpenInferenceMlServer : detail::OpenInferenceDialect<open_inference::mlserver::GRPCInferenceService::Stub,
                                                            "inference.GRPCInferenceService", "MLServer"> {
  static constexpr std::string_view kName = "open_inference_mlserver";
  using ModelStreamInfer = Rpc<&Stub::ModelStreamInfer, "inference.GRPCInferenceService">;
  static absl::StatusOr<InferResult> DecodeStreamed(detail::wire::Reply&& reply) {
    return OpenInferenceCodec::Decode(std::move(reply));
  }

  using RepositoryIndex = Rpc<&Stub::RepositoryIndex, "inference.GRPCInferenceService">;
  using RepositoryModelLoad = Rpc<&Stub::RepositoryModelLoad, "inference.GRPCInferenceService">;
  using RepositoryModelUnload = Rpc<&Stub::RepositoryModelUnload, "inference.GRPCInferenceService">;

  /// MLServer reads no parameters when it loads or unloads.
  static absl::StatusOr<open_inference::RepositoryModelLoadRequest> LoadRequest(const std::string& model,
                                                                                const LoadOptions& options) {
    if (options.config.empty() && options.files.empty()) return OpenInferenceAdmin::LoadRequest(model, options);
    return detail::InvalidArgumentError("MLServer loads models as its repository has them; a configuration was given");
  }
  static absl::StatusOr<open_inference::RepositoryModelUnloadRequest> UnloadRequest(const std::string& model,
                                                                                    const UnloadOptions& options) {
    if (!options.dependents) return OpenInferenceAdmin::UnloadRequest(model, options);
    return detail::InvalidArgumentError("MLServer unloads one model at a time; its dependents were asked for");
  }

  static absl::Status CheckServer(const v0::ServerMetadata& server) {
    const bool other = server.name == "triton" || server.name == "kserve" || server.name == "OpenVINO Model Server";
    return other ? Speaks(server, "OpenInference") : absl::OkStatus();
  }
};
static_assert(Contract<OpenInferenceMlServer>);

/// As KServe's own servers speak it: OpenInference without Triton's additions, and with calls of their own to load and
/// unload a model.
struct OpenInferenceKServe : detail::OpenInferenceDialect<open_inference::kserve::GRPCInferenceService::Stub,
                                                          "inference.GRPCInferenceService", "KServe"> {
  static constexpr std::string_view kName = "open_inference_kserve";
  using RepositoryModelLoad = Rpc<&Stub::RepositoryModelLoad, "inference.GRPCInferenceService">;
  using RepositoryModelUnload = Rpc<&Stub::RepositoryModelUnload, "inference.GRPCInferenceService">;

  using OpenInferenceDialect::Decode;  // beside those below

  static absl::StatusOr<open_inference::kserve::RepositoryModelLoadRequest> LoadRequest(const std::string& model,
                                                                                        const LoadOptions& options) {
    if (!options.config.empty() || !options.files.empty() || !options.repository.empty()) {
      return detail::InvalidArgumentError("KServe loads a model by its name alone");
    }
    open_inference::kserve::RepositoryModelLoadRequest out;
    out.set_model_name(model);
    return out;
  }
  static absl::StatusOr<open_inference::kserve::RepositoryModelUnloadRequest> UnloadRequest(
      const std::string& model, const UnloadOptions& options) {
    if (options.dependents || !options.repository.empty()) {
      return detail::InvalidArgumentError("KServe unloads a model by its name alone");
    }
    open_inference::kserve::RepositoryModelUnloadRequest out;
    out.set_model_name(model);
    return out;
  }
  /// FAILED_PRECONDITION where the server says that it did not.
  static absl::Status Decode(open_inference::kserve::RepositoryModelLoadResponse&& response) {
    if (response.isloaded()) return absl::OkStatus();
    return detail::FailedPreconditionError(
        detail::Cat("the server did not load '", std::string_view(response.model_name()), "'"));
  }
  static absl::Status Decode(open_inference::kserve::RepositoryModelUnloadResponse&& response) {
    if (response.isunloaded()) return absl::OkStatus();
    return detail::FailedPreconditionError(
        detail::Cat("the server did not unload '", std::string_view(response.model_name()), "'"));
  }

  static absl::Status CheckServer(const v0::ServerMetadata& server) {
    if (server.name == "mlserver") return Speaks(server, "OpenInferenceMlServer");
    return server.name == "triton" ? Speaks(server, "OpenInference") : absl::OkStatus();
  }
};
static_assert(Contract<OpenInferenceKServe>);

/// As TorchServe speaks it: the unary part, under a name of its own. It passes over raw contents without an error, so
/// that typed ones are sent: FP16 and BF16, which have no typed form, are INVALID_ARGUMENT. It tells nothing of itself
/// (Metadata is UNIMPLEMENTED), and of a model no tensors.
struct OpenInferenceTorchServe
    : TypedContents<
          detail::OpenInferenceDialect<open_inference::GRPCInferenceService::Stub,
                                       "org.pytorch.serve.grpc.openinference.GRPCInferenceService", "TorchServe">> {
  static constexpr std::string_view kName = "open_inference_torchserve";
};
static_assert(Contract<OpenInferenceTorchServe>);
template <>
inline constexpr bool kBuiltIn<OpenInference> = true;
template <>
inline constexpr bool kBuiltIn<OpenInferenceMlServer> = true;
template <>
inline constexpr bool kBuiltIn<OpenInferenceKServe> = true;
template <>
inline constexpr bool kBuiltIn<OpenInferenceTorchServe> = true;
template <class Dialect>
inline constexpr bool kBuiltIn<TypedContents<Dialect>> = kBuiltIn<Dialect>;
static_assert(Contract<TypedContents<OpenInference>>);

#if defined(INFERWIRE_SEPARATE_COMPILATION)
namespace detail {
extern template struct TableOf<OpenInference>;
extern template struct TableOf<OpenInferenceMlServer>;
extern template struct TableOf<OpenInferenceKServe>;
extern template struct TableOf<OpenInferenceTorchServe>;
}  // namespace detail
#endif

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_OPEN_INFERENCE_H_
