// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/contract/open_inference_admin.h"

#include <fstream>
#include <iterator>
#include <limits>
#include <string>

#include "inferwire/contract/open_inference.h"
#include "support/catch.h"
#include "support/open_inference.h"

using namespace inferwire;  // NOLINT
using inferwire_test::Decoded;
using inferwire_test::InPieces;
namespace oip = inferwire::open_inference;

namespace {

// A message as its server wrote it.
template <class Message>
Message Golden(const std::string& name) {
  std::ifstream file(std::string(INFERWIRE_GOLDEN) + "/" + name + ".bin", std::ios::binary);
  REQUIRE(file.good());
  Message message;
  REQUIRE(message.ParseFromString(std::string(std::istreambuf_iterator<char>(file), {})));
  return message;
}

}  // namespace

TEST_CASE("recorded answers of Triton mean in neutral types what they say", "[contract][golden]") {
  const auto server = OpenInference::Decode(Golden<oip::ServerMetadataResponse>("triton_v2/server_metadata_response"));
  CHECK(server.name == "triton");
  CHECK_FALSE(server.extensions.empty());
  const auto model = OpenInference::Decode(Golden<oip::ModelMetadataResponse>("triton_v2/model_metadata_response"));
  REQUIRE(model.ok());
  CHECK_FALSE(model->inputs.empty());
  const auto config = OpenInference::Decode(Golden<oip::ModelConfigResponse>("triton_v2/model_config_response"));
  REQUIRE(config.ok());
  CHECK_FALSE(config->name.empty());
  CHECK(config->json.find("\"name\":\"" + config->name + "\"") != std::string::npos);
  CHECK(OpenInference::Decode(Golden<oip::ModelStatisticsResponse>("triton_v2/model_statistics_response")).size() == 1);
  CHECK_FALSE(
      OpenInference::Decode(Golden<oip::RepositoryIndexResponse>("triton_v2/repository_index_response")).empty());
}

TEST_CASE("a recorded raw answer is read, and a recorded bare one of MLServer's stream", "[contract][golden]") {
  const auto result = Decoded(Golden<oip::ModelInferResponse>("triton_v2/infer_response_raw"));
  REQUIRE(result.ok());
  CHECK((*result->Get<float>("PROB"))[1] == 0.5f);
  CHECK((*result->Get<std::string_view>("TXT"))[1] == "dog");
  const auto streamed = Golden<oip::ModelStreamInferResponse>("triton_v2/stream_response_data");
  const auto part = OpenInference::DecodeStreamed(InPieces(streamed.SerializeAsString(), 5));
  REQUIRE(part.ok());
  REQUIRE(part->placed_outputs().size() == 1);
  CHECK(part->placed_outputs()[0].name == "SHM");
  const auto bare = Golden<oip::ModelInferResponse>("oip_v2_mlserver/stream_response");
  CHECK(OpenInferenceMlServer::DecodeStreamed(InPieces(bare.SerializeAsString())).ok());
  // Its metadata has a field that means something else elsewhere.
  CHECK(OpenInferenceMlServer::Decode(Golden<oip::ModelMetadataResponse>("oip_v2_mlserver/model_metadata_response"))
            .ok());
  CHECK(OpenInferenceKServe::Decode(
            Golden<oip::kserve::RepositoryModelLoadResponse>("oip_v2_kserve/repository_model_load_response"))
            .ok());
}

TEST_CASE("numbers beyond what a duration holds are cut, not wrapped", "[contract][trap]") {
  oip::ModelStatisticsResponse response;
  auto& model = *response.add_model_stats();
  model.set_last_inference(std::numeric_limits<std::uint64_t>::max());
  model.mutable_inference_stats()->mutable_success()->set_ns(std::numeric_limits<std::uint64_t>::max());
  const auto statistics = OpenInference::Decode(std::move(response));
  CHECK(statistics[0].success.total > absl::Hours(24 * 365 * 200));
  CHECK(statistics[0].last_inference > absl::Now());
}

TEST_CASE("a configuration with a datatype from the future leaves it open", "[contract][trap]") {
  oip::ModelConfigResponse response;
  response.mutable_config()->add_input()->set_data_type(static_cast<oip::DataType>(99));
  const auto config = OpenInference::Decode(std::move(response));
  REQUIRE(config.ok());
  CHECK_FALSE(config->inputs[0].datatype.has_value());
}

TEST_CASE("what is loaded travels as each dialect says it", "[contract]") {
  const auto load = OpenInference::LoadRequest("m", {.config = "{}", .files = {{"1/model.onnx", "bytes"}}});
  REQUIRE(load.ok());
  CHECK(load->model_name() == "m");
  CHECK(load->parameters().at("config").string_param() == "{}");
  CHECK(load->parameters().at("file:1/model.onnx").bytes_param() == "bytes");
  CHECK_FALSE(OpenInference::LoadRequest("m", {.files = {{"1/model.onnx", "bytes"}}}).ok());
  CHECK(OpenInference::UnloadRequest("m", {.dependents = true})->parameters().at("unload_dependents").bool_param());
  CHECK(OpenInferenceKServe::LoadRequest("m", {})->SerializeAsString() == "\x0a\x01m");
  CHECK(OpenInference::LoadRequest("m", {})->SerializeAsString() == "\x12\x01m");
  CHECK_FALSE(OpenInferenceKServe::LoadRequest("m", {.config = "{}"}).ok());
  CHECK_FALSE(OpenInferenceKServe::UnloadRequest("m", {.dependents = true}).ok());
  CHECK_FALSE(OpenInferenceMlServer::LoadRequest("m", {.config = "{}"}).ok());
  CHECK_FALSE(OpenInferenceMlServer::UnloadRequest("m", {.dependents = true}).ok());
}

TEST_CASE("KServe's word that it did not load is an error", "[contract]") {
  oip::kserve::RepositoryModelLoadResponse response;
  response.set_model_name("m");
  CHECK(OpenInferenceKServe::Decode(std::move(response)).code() == absl::StatusCode::kFailedPrecondition);
  oip::kserve::RepositoryModelUnloadResponse unloaded;
  unloaded.set_isunloaded(true);
  CHECK(OpenInferenceKServe::Decode(std::move(unloaded)).ok());
}

TEST_CASE("log settings of every kind go out and come back", "[contract]") {
  const LogSettings settings{{"flag", true}, {"level", 3}, {"format", "ISO8601"}};
  const auto request = OpenInference::Encode(settings);
  REQUIRE(request.ok());
  oip::LogSettingsResponse response;
  REQUIRE(response.ParseFromString(request->SerializeAsString()));
  CHECK(OpenInference::Decode(std::move(response)) == settings);
  CHECK_FALSE(OpenInference::Encode(LogSettings{{"level", -1}}).ok());
  CHECK_FALSE(OpenInference::Encode(LogSettings{{"level", std::int64_t{1} << 32}}).ok());
}

TEST_CASE("each dialect has its own paths", "[contract]") {
  CHECK(OpenInference::ModelStreamInfer::kPath == "/inference.GRPCInferenceService/ModelStreamInfer");
  CHECK(OpenInferenceMlServer::ModelStreamInfer::kPath == OpenInference::ModelStreamInfer::kPath);
  CHECK(OpenInferenceMlServer::Infer::kPath == OpenInference::Infer::kPath);
  CHECK(OpenInferenceKServe::RepositoryModelLoad::kPath == OpenInference::RepositoryModelLoad::kPath);
  CHECK(OpenInferenceTorchServe::Infer::kPath ==
        "/org.pytorch.serve.grpc.openinference.GRPCInferenceService/ModelInfer");
  CHECK(OpenInference::TraceSetting::kPath == "/inference.GRPCInferenceService/TraceSetting");
  CHECK(OpenInference::CudaSharedMemoryUnregister::kPath ==
        "/inference.GRPCInferenceService/CudaSharedMemoryUnregister");
  CHECK(OpenInference::RestrictedProtocol("admin", "secret") ==
        std::pair<std::string, std::string>("triton-grpc-protocol-admin", "secret"));
}

TEST_CASE("a server of another dialect is told by its name", "[contract]") {
  CHECK(OpenInference::CheckServer({"triton", "2", {}}).ok());
  CHECK(OpenInference::CheckServer({"something else", "1", {}}).ok());
  const absl::Status other = OpenInference::CheckServer({"mlserver", "1.7.1", {}});
  CHECK(other.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(other.message() ==
        "the server calls itself 'mlserver' 1.7.1 and speaks another dialect; expected "
        "InferenceClient<OpenInferenceMlServer>");
  CHECK(OpenInferenceMlServer::CheckServer({"mlserver", "1", {}}).ok());
  CHECK_FALSE(OpenInferenceMlServer::CheckServer({"triton", "1", {}}).ok());
  CHECK(OpenInferenceKServe::CheckServer({"kserve", "1", {}}).ok());
  CHECK_FALSE(OpenInferenceKServe::CheckServer({"mlserver", "1", {}}).ok());
}
