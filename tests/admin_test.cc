// SPDX-License-Identifier: Apache-2.0
#include "inferwire/admin.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "inferwire/contract/typed_contents.h"
#include "server/server.h"
#include "support/inference.h"

using namespace inferwire;       // NOLINT
using namespace inferwire_test;  // NOLINT
namespace oip = inferwire::open_inference;

namespace {

// An embedded server and its administration.
struct Fixture {
  Fixture() : embedded(Start()), server(Connect(embedded->target())), admin(server) {}

  static std::unique_ptr<examples::EmbeddedServer> Start() {
    auto started = examples::EmbeddedServer::Start({});
    REQUIRE(started.ok());
    return *std::move(started);
  }
  static SharedMemoryRegion Region(const std::string& name) {
    auto region = SharedMemoryRegion::Create(name + "_" + std::to_string(getpid()), 1 << 16);
    INFO(region.status().ToString());
    REQUIRE(region.ok());
    return *std::move(region);
  }
  std::string State(const std::string& model) const {
    const auto index = admin.RepositoryIndex();
    REQUIRE(index.ok());
    const auto found = std::find_if(index->begin(), index->end(), [&](const auto& m) { return m.name == model; });
    return found == index->end() ? "none" : found->state;
  }

  std::unique_ptr<examples::EmbeddedServer> embedded;
  InferenceClient<OpenInference> server;
  Admin admin;
};

// Answers every call with one message, and keeps the last request.
class Scripted {
 public:
  explicit Scripted(std::string bytes)
      : raw([this, bytes = std::move(bytes)](RawCall& call) {
          const std::string request = call.Read().value_or("");
          {
            const std::lock_guard lock(mutex_);
            last_ = {call.method(), call.header("triton-grpc-protocol-admin"), request};
          }
          call.Write(bytes);
        }) {}

  std::string method() const { return last()[0]; }
  std::string key() const { return last()[1]; }
  std::string request() const { return last()[2]; }

 private:
  std::array<std::string, 3> last() const {
    const std::lock_guard lock(mutex_);
    return last_;
  }

  mutable std::mutex mutex_;
  std::array<std::string, 3> last_;

 public:
  RawServer raw;  // ends before what it writes to
};

}  // namespace

TEST_CASE("a server tells how its models are configured", "[admin]") {
  const Fixture fixture;
  const auto digits = fixture.admin.Config("digits");
  REQUIRE(digits.ok());
  CHECK(digits->inputs.at(0).datatype == DataType::kFp32);
  CHECK(digits->inputs[0].shape == Shape{-1, 64});
  CHECK_FALSE(digits->decoupled);
  CHECK(digits->json.find("\"platform\":\"neural_network\"") != std::string::npos);
  CHECK(fixture.admin.Config("storyteller")->decoupled);
  CHECK(fixture.admin.Config("storyteller")->inputs[1].optional);
  CHECK(fixture.admin.Config("sequence_sum")->sequence);
  CHECK(fixture.admin.Config("digits", "9").status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("a server counts what its models do", "[admin]") {
  const Fixture fixture;
  const auto model = fixture.server.GetModel("identity", {.check = false});
  REQUIRE(model.Infer({{"INPUT0", std::vector<float>{1}, {1}}}).ok());
  REQUIRE_FALSE(model.Infer({{"wrong", std::vector<float>{1}, {1}}}).ok());
  const auto statistics = fixture.admin.Statistics("identity");
  REQUIRE(statistics.ok());
  REQUIRE(statistics->size() == 1);
  CHECK(statistics->front().success.count == 1);
  CHECK(statistics->front().fail.count == 1);
  CHECK(statistics->front().success.total > absl::ZeroDuration());
  CHECK(statistics->front().last_inference > absl::FromUnixSeconds(1'600'000'000));
  CHECK(fixture.admin.Statistics()->size() == 6);
  CHECK(fixture.admin.Statistics("nobody").status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("a model is unloaded and loaded again", "[admin]") {
  const Fixture fixture;
  CHECK(fixture.State("identity") == "READY");
  REQUIRE(fixture.admin.UnloadModel("identity").ok());
  CHECK(fixture.State("identity") == "UNAVAILABLE");
  CHECK(fixture.admin.RepositoryIndex(true)->size() == 5);
  CHECK(fixture.server.GetModel("identity").Infer({{"INPUT0", std::vector<float>{1}, {1}}}).status().code() ==
        absl::StatusCode::kNotFound);
  REQUIRE(fixture.admin.LoadModel("identity").ok());
  CHECK(fixture.State("identity") == "READY");
  CHECK(fixture.admin.LoadModel("nobody").code() == absl::StatusCode::kNotFound);
  CHECK(fixture.admin.LoadModel("identity", {.config = "{}"}).code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("tensors go to a server and back through shared memory", "[admin][shared_memory]") {
  const Fixture fixture;
  SharedMemoryRegion region = Fixture::Region("admin_both_ways");
  auto registration = fixture.admin.Register(region);
  REQUIRE(registration.ok());
  CHECK(fixture.admin.Register(region).status().code() == absl::StatusCode::kAlreadyExists);
  const auto known = fixture.admin.SystemSharedMemoryStatus(region.name());
  REQUIRE(known.ok());
  CHECK(known->at(0).key == region.key());
  CHECK(known->at(0).byte_size == region.size());

  const auto left = region.Allocate<float>(3);
  const auto sum = region.Allocate<float>(3);
  left->elements()[0] = 4;
  InferRequest request{left->Input("INPUT0", {3}), {"INPUT1", std::vector<float>{1, 2, 3}, {3}}};
  request.add_output(sum->Output("OUTPUT0"));
  request.add_output({.name = "OUTPUT1"});
  const auto result = fixture.server.GetModel("add_sub").Infer(request);
  INFO(result.status().ToString());
  REQUIRE(result.ok());
  const auto read = sum->Read(*result, "OUTPUT0");
  REQUIRE(read.ok());
  CHECK(std::vector<float>(read->begin(), read->end()) == std::vector<float>{5, 2, 3});
  CHECK((*result->Get<float>("OUTPUT1"))[0] == 3);
  const auto later = fixture.server.GetModel("add_sub").AsyncInfer(request).Get();
  REQUIRE(later.ok());
  CHECK(later->placed_outputs().size() == 1);

  const auto words = region.PlaceStrings("INPUT0", std::vector<std::string>{"a", "", "three"}, {3});
  const auto room = region.Allocate<std::byte>(64);
  InferRequest text{*words};
  text.add_output(room->Output("OUTPUT0"));
  const auto echoed = fixture.server.GetModel("identity", {.check = false}).Infer(text);
  REQUIRE(echoed.ok());
  CHECK(*room->ReadStrings(*echoed, "OUTPUT0") == std::vector<std::string_view>{"a", "", "three"});

  const auto tight = region.Allocate<float>(2);
  InferRequest cramped{left->Input("INPUT0", {3}), left->Input("INPUT1", {3})};
  cramped.add_output(tight->Output("OUTPUT0"));
  const absl::Status refused = fixture.server.GetModel("add_sub").Infer(cramped).status();
  CHECK(refused.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(refused, "takes 12 bytes; shared memory of 8 was given"));
}

TEST_CASE("a registration ends with its owner, or when it is told to", "[admin][shared_memory]") {
  const Fixture fixture;
  const SharedMemoryRegion region = Fixture::Region("admin_registration");
  const auto known = [&] { return fixture.admin.SystemSharedMemoryStatus()->size(); };
  {
    auto first = fixture.admin.Register(region);
    REQUIRE(first.ok());
    CHECK(known() == 1);
    SharedMemoryRegistration second = *std::move(first);
    CHECK(second.name() == region.name());
    CHECK(known() == 1);
  }
  CHECK(known() == 0);
  auto third = fixture.admin.Register(region);
  CHECK(third->Unregister().ok());
  CHECK(third->Unregister().ok());
  CHECK(known() == 0);
  CHECK(fixture.admin.SystemSharedMemoryStatus(region.name()).status().code() == absl::StatusCode::kNotFound);
  REQUIRE(fixture.admin.RegisterSystemSharedMemory({region.name(), region.key(), 64, 128}).ok());
  CHECK(fixture.admin.SystemSharedMemoryStatus()->at(0).offset == 64);
  CHECK(fixture.admin.UnregisterSystemSharedMemory("").code() == absl::StatusCode::kInvalidArgument);
  CHECK(known() == 1);
  CHECK(fixture.admin.UnregisterAllSystemSharedMemory().ok());
  CHECK(known() == 0);
  CHECK(fixture.admin.RegisterSystemSharedMemory({"r", "/inferwire_no_such_key", 0, 8}).code() ==
        absl::StatusCode::kNotFound);
  CHECK(fixture.admin.RegisterSystemSharedMemory({"r", region.key(), 0, region.size() + 1}).code() ==
        absl::StatusCode::kInvalidArgument);
}

TEST_CASE("sequences are carried by fields of the request", "[admin]") {
  const Fixture fixture;
  const auto model = fixture.server.GetModel("sequence_sum");
  const auto step = [&](std::int32_t value, SequenceStep sequence) -> absl::StatusOr<std::int32_t> {
    InferRequest request{{"INPUT", std::vector<std::int32_t>{value}, {1}}};
    request.set_sequence(std::move(sequence));
    const auto result = model.Infer(request);
    if (!result.ok()) return result.status();
    return result->Get<std::int32_t>("OUTPUT")->front();
  };
  CHECK(step(1, {.id = 7, .start = true}).value() == 1);
  CHECK(step(10, {.id = "seven", .start = true}).value() == 10);
  CHECK(step(2, {.id = 7}).value() == 3);
  CHECK(step(5, {.id = "seven"}).value() == 15);
  CHECK(step(3, {.id = 7, .end = true}).value() == 6);
  CHECK(step(3, {.id = 7}).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(step(1, {}).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(step(1, {.start = true}).status(), "needs its id"));
}

TEST_CASE("typed requests are understood as raw ones are", "[admin]") {
  const Fixture fixture;
  const auto result = InferenceClient<TypedContents<OpenInference>>(fixture.server.client())
                          .GetModel("add_sub")
                          .Infer({{"INPUT0", std::vector<float>{3}, {1}}, {"INPUT1", std::vector<float>{1}, {1}}});
  REQUIRE(result.ok());
  CHECK((*result->Get<float>("OUTPUT1"))[0] == 2);
}

TEST_CASE("a method that a server lacks is UNIMPLEMENTED", "[admin]") {
  const Fixture fixture;
  CHECK(fixture.admin.CudaSharedMemoryStatus().status().code() == absl::StatusCode::kUnimplemented);
  CHECK(fixture.admin.RegisterCudaSharedMemory({"gpu", 0, 64}, "handle").code() == absl::StatusCode::kUnimplemented);
  CHECK(fixture.admin.GetTraceSettings().status().code() == absl::StatusCode::kUnimplemented);
  CHECK(fixture.admin.GetLogSettings().status().code() == absl::StatusCode::kUnimplemented);
}

TEST_CASE("an output without elements is INTERNAL unless it was asked for in shared memory", "[admin][trap]") {
  oip::ModelInferResponse response;
  auto& output = *response.add_outputs();
  output.set_name("y");
  output.set_datatype("FP32");
  output.add_shape(2);
  response.add_raw_output_contents();
  const Scripted scripted(response.SerializeAsString());
  const auto model = InferenceClient<OpenInference>(Connect(scripted.raw.target())).GetModel("m");
  CHECK(Contains(model.Infer({}).status(), "output 'y' came without elements"));
  CHECK(model.AsyncInfer({}).Get().status().code() == absl::StatusCode::kInternal);
  InferRequest placed;
  placed.add_output({.name = "y", .placement = SharedMemoryPlacement{"region", 8}});
  CHECK(model.Infer(placed)->placed_outputs().size() == 1);
}

TEST_CASE("CUDA memory, settings and restricted protocols are said as Triton reads them", "[admin]") {
  oip::TraceSettingResponse settings;
  (*settings.mutable_settings())["trace_level"].add_value("TIMESTAMPS");
  Scripted trace(settings.SerializeAsString());
  const Admin traced{InferenceClient<OpenInference>(Connect(trace.raw.target()))};
  const auto set = traced.SetTraceSettings({{"trace_rate", {}}, {"trace_level", {"A", "B"}}}, "m",
                                           {.metadata = {OpenInference::RestrictedProtocol("admin", "secret")}});
  REQUIRE(set.ok());
  CHECK(set->at("trace_level") == std::vector<std::string>{"TIMESTAMPS"});
  CHECK(trace.key() == "secret");
  oip::TraceSettingRequest asked;
  REQUIRE(asked.ParseFromString(trace.request()));
  CHECK(asked.model_name() == "m");
  CHECK(asked.settings().at("trace_rate").value_size() == 0);
  CHECK(asked.settings().at("trace_level").value_size() == 2);

  Scripted cuda("");
  const Admin device{InferenceClient<OpenInference>(Connect(cuda.raw.target()))};
  REQUIRE(device.RegisterCudaSharedMemory({"gpu", 1, 4096}, std::string("h\0ndle", 6)).ok());
  oip::CudaSharedMemoryRegisterRequest registered;
  REQUIRE(registered.ParseFromString(cuda.request()));
  CHECK(registered.raw_handle() == std::string("h\0ndle", 6));
  CHECK(registered.device_id() == 1);
  CHECK(device.RegisterCudaSharedMemory({"gpu", ~0ULL, 1}, "h").code() == absl::StatusCode::kInvalidArgument);
  CHECK(device.UnregisterCudaSharedMemory("").code() == absl::StatusCode::kInvalidArgument);
  CHECK(device.UnregisterCudaSharedMemory("gpu").ok());
  CHECK(cuda.method() == "/inference.GRPCInferenceService/CudaSharedMemoryUnregister");
  CHECK(cuda.request() == "\x0a\x03gpu");
  CHECK(device.UnregisterAllCudaSharedMemory().ok());
  CHECK(cuda.request().empty());
}

TEST_CASE("KServe and MLServer are administered in their own words", "[admin]") {
  oip::kserve::RepositoryModelLoadResponse loaded;
  loaded.set_model_name("m");
  loaded.set_isloaded(true);
  Scripted kserve(loaded.SerializeAsString());
  const Admin admin{InferenceClient<OpenInferenceKServe>(Connect(kserve.raw.target()))};
  CHECK(admin.LoadModel("m").ok());
  CHECK(kserve.request() == "\x0a\x01m");
  CHECK(admin.LoadModel("m", {.repository = "r"}).code() == absl::StatusCode::kInvalidArgument);
  Scripted mlserver("");
  const Admin other{InferenceClient<OpenInferenceMlServer>(Connect(mlserver.raw.target()))};
  CHECK(other.UnloadModel("m").ok());
  CHECK(mlserver.request() == "\x12\x01m");
  CHECK(other.RepositoryIndex()->empty());
}

TEST_CASE("a change is not made twice by itself", "[admin]") {
  RawServer server([](RawCall& call) { call.Finish(grpc::Status(grpc::UNAVAILABLE, "perhaps it was done")); });
  const Admin admin{InferenceClient<OpenInference>(Connect(server.target()))};
  CHECK_FALSE(admin.LoadModel("m").ok());
  CHECK(server.calls() == 1);
  CHECK_FALSE(admin.RegisterSystemSharedMemory({"r", "/r", 0, 1}).ok());
  CHECK(server.calls() == 2);
  CHECK_FALSE(admin.RepositoryIndex().ok());
  CHECK(server.calls() > 3);
}

TEST_CASE("a server of another dialect is found out by asking it", "[admin]") {
  oip::ServerMetadataResponse metadata;
  metadata.set_name("mlserver");
  metadata.set_version("1.7.1");
  const Scripted mlserver(metadata.SerializeAsString());
  const Client client = Connect(mlserver.raw.target());
  CHECK(InferenceClient<OpenInference>(client).CheckDialect().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(InferenceClient<OpenInferenceMlServer>(client).CheckDialect().ok());
  const Fixture fixture;
  CHECK(fixture.server.CheckDialect().ok());
}
