// SPDX-License-Identifier: Apache-2.0
//
// What Triton tells of itself and lets itself be told: metadata, configuration, statistics, its repository, shared
// memory, settings, and what a request says beside its tensors.
#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "inferwire/admin.h"
#include "inferwire/contract/typed_contents.h"
#include "inferwire/shared_memory.h"
#include "support/inference.h"
#include "support/interop.h"

using namespace inferwire;       // NOLINT
using namespace inferwire_test;  // NOLINT

namespace {

// Names of regions are the machine's.
std::string Unique(const std::string& name) { return name + "_" + std::to_string(getpid()); }

}  // namespace

TEST_CASE("Triton says what it is, and another dialect's client is told so", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto server = ConnectTo(*target);
  CHECK(Answered(server.Live()));
  CHECK(Answered(server.Ready()));
  CHECK(Answered(server.GetModel("add_sub").Ready()));
  CHECK_FALSE(Answered(server.GetModel("nobody").Ready()));
  const ServerMetadata metadata = Answered(server.Metadata());
  CHECK(metadata.name == "triton");
  CHECK(metadata.version == "2.51.0");
  CHECK(std::count(metadata.extensions.begin(), metadata.extensions.end(), "sequence") == 1);
  CheckOk(server.CheckDialect());
  const absl::Status other = ConnectTo<OpenInferenceMlServer>(*target).CheckDialect();
  CHECK(other.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(Contains(other, "expected InferenceClient<OpenInference>"));
}

TEST_CASE("Triton tells how its models are configured and what they did", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto server = ConnectTo(*target);
  const Admin admin(server);
  const auto add_sub = admin.Config("add_sub");
  CheckOk(add_sub.status());
  CHECK(add_sub->max_batch_size == 8);
  CHECK(add_sub->backend == "python");
  CHECK(add_sub->dynamic_batching);
  CHECK(add_sub->inputs[1].name == "INPUT1");
  CHECK(add_sub->inputs[1].datatype == DataType::kInt32);
  CHECK(add_sub->inputs[1].shape == Shape{4});
  CHECK(add_sub->json.find("\"max_batch_size\":8") != std::string::npos);
  CHECK(admin.Config("repeat_decoupled")->decoupled);
  CHECK(admin.Config("simple_sequence")->sequence);
  CHECK(admin.Config("nobody").status().code() == absl::StatusCode::kNotFound);

  const auto before = admin.Statistics("add_sub");
  CheckOk(before.status());
  CheckOk(server.GetModel("add_sub").Infer(AddSub()).status());
  const auto after = admin.Statistics("add_sub");
  CheckOk(after.status());
  CHECK(after->at(0).inference_count == before->at(0).inference_count + 1);
  CHECK(after->at(0).success.count == before->at(0).success.count + 1);
  CHECK(after->at(0).success.total > before->at(0).success.total);
  CHECK(after->at(0).last_inference > absl::FromUnixSeconds(1'600'000'000));
  CHECK_FALSE(after->at(0).batches.empty());
  CHECK(admin.Statistics()->size() >= 19);
}

TEST_CASE("Triton loads and unloads, with a configuration and files of the caller's", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto server = ConnectTo(*target);
  const Admin admin(server);
  const auto state = [&](const std::string& name) {
    const auto index = admin.RepositoryIndex();
    CheckOk(index.status());
    const auto found = std::find_if(index->begin(), index->end(), [&](const auto& m) { return m.name == name; });
    return found == index->end() ? "none" : found->state;
  };
  CHECK(state("identity_bytes") == "READY");
  CheckOk(admin.UnloadModel("identity_bytes", {.dependents = true}));
  CHECK(Eventually([&] { return state("identity_bytes") == "UNAVAILABLE"; }));
  CHECK(admin.RepositoryIndex(true)->size() + 1 == admin.RepositoryIndex()->size());
  CheckOk(admin.LoadModel("identity_bytes"));
  CHECK(state("identity_bytes") == "READY");

  // The configuration as it was told, changed and given back.
  std::string config = admin.Config("add_sub")->json;
  const std::string eight = "\"max_batch_size\":8";
  config.replace(config.find(eight), eight.size(), "\"max_batch_size\":16");
  CheckOk(admin.LoadModel("add_sub", {.config = config}));
  CHECK(admin.Config("add_sub")->max_batch_size == 16);
  CheckOk(server.GetModel("add_sub").Infer(AddSub()).status());
  // A model that has not changed in the repository keeps its configuration until it was unloaded.
  CheckOk(admin.UnloadModel("add_sub"));
  CheckOk(admin.LoadModel("add_sub"));
  CHECK(admin.Config("add_sub")->max_batch_size == 8);

  const std::string model = Unique("from_memory");
  const LoadOptions from_memory{
      .config = R"({"backend": "python", "input": [{"name": "X", "data_type": "TYPE_FP32", "dims": [1]}],
                    "output": [{"name": "Y", "data_type": "TYPE_FP32", "dims": [1]}]})",
      .files = {{"1/model.py",
                 "import triton_python_backend_utils as u\n"
                 "class TritonPythonModel:\n"
                 "  def execute(self, requests):\n"
                 "    return [u.InferenceResponse([u.Tensor('Y', u.get_input_tensor_by_name(r, 'X').as_numpy() * 2)])\n"
                 "            for r in requests]\n"}}};
  CheckOk(admin.LoadModel(model, from_memory, {.timeout = absl::Minutes(1)}));
  const auto doubled = server.GetModel(model).Infer({{"X", std::vector<float>{21}, {1}}});
  CheckOk(doubled.status());
  if (doubled.ok()) CHECK(doubled->Get<float>("Y")->front() == 42);
  CheckOk(admin.UnloadModel(model));
  CHECK_FALSE(admin.LoadModel("nobody").ok());
}

TEST_CASE("tensors go to Triton and back through shared memory", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto server = ConnectTo(*target);
  const Admin admin(server);
  auto region = SharedMemoryRegion::Create(Unique("inferwire_triton"), 1 << 16);
  CheckOk(region.status());
  auto registration = admin.Register(*region);
  CheckOk(registration.status());
  CHECK(admin.Register(*region).status().code() == absl::StatusCode::kAlreadyExists);
  const auto known = admin.SystemSharedMemoryStatus(region->name());
  CheckOk(known.status());
  CHECK(known->at(0).key == region->key());
  CHECK(known->at(0).byte_size == 1 << 16);

  auto left = region->Allocate<std::int32_t>(4);
  auto right = region->Allocate<std::int32_t>(4);
  auto sum = region->Allocate<std::int32_t>(4);
  std::iota(left->elements().begin(), left->elements().end(), 10);
  std::iota(right->elements().begin(), right->elements().end(), 1);
  InferRequest request{left->Input("INPUT0", {1, 4}), right->Input("INPUT1", {1, 4})};
  request.add_output(sum->Output("OUTPUT0"));
  request.add_output({.name = "OUTPUT1"});
  const auto result = server.GetModel("add_sub").Infer(request);
  CheckOk(result.status());
  CHECK(sum->elements()[3] == 17);
  const auto read = sum->Read(*result, "OUTPUT0");
  CheckOk(read.status());
  CHECK(read->data() == sum->elements().data());
  CHECK(read->size() == 4);
  CHECK(Values<std::int32_t>(result, "OUTPUT1") == std::vector<std::int32_t>{9, 9, 9, 9});

  const std::vector<std::string> words{"a", "", "three"};
  auto input = region->PlaceStrings("INPUT0", words, {1, 3});
  CheckOk(input.status());
  auto room = region->Allocate<std::byte>(100);
  InferRequest text{*input};
  text.add_output(room->Output("OUTPUT0"));
  const auto echoed = server.GetModel("identity_bytes").Infer(text);
  CheckOk(echoed.status());
  const auto strings = room->ReadStrings(*echoed, "OUTPUT0");
  CheckOk(strings.status());
  CHECK(*strings == std::vector<std::string_view>{"a", "", "three"});

  // One input there and one in the request.
  const auto mixed = server.GetModel("add_sub").Infer(
      {left->Input("INPUT0", {1, 4}), {"INPUT1", std::vector<std::int32_t>{1, 1, 1, 1}, {1, 4}}});
  CHECK(Values<std::int32_t>(mixed, "OUTPUT0") == std::vector<std::int32_t>{11, 12, 13, 14});

  // It lets go of a request's memory a little after it has answered.
  CHECK(Eventually([&] { return admin.UnregisterSystemSharedMemory(region->name()).ok(); }));
  CheckOk(registration->Unregister());
  CheckOk(registration->Unregister());
  const auto gone = admin.SystemSharedMemoryStatus();
  CheckOk(gone.status());
  CHECK(std::none_of(gone->begin(), gone->end(), [&](const auto& r) { return r.name == region->name(); }));
  CHECK_FALSE(server.GetModel("add_sub").Infer(request).ok());
}

TEST_CASE("Triton without a GPU refuses CUDA memory and tells what it has of it", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto server = ConnectTo(*target);
  const Admin admin(server);
  CHECK_FALSE(admin.RegisterCudaSharedMemory({"gpu", 0, 64}, std::string(64, '\1')).ok());
  const auto known = admin.CudaSharedMemoryStatus();
  INFO(known.status());
  CHECK((!known.ok() || known->empty()));
}

TEST_CASE("Triton's trace and log settings are read and set", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto server = ConnectTo(*target);
  const Admin admin(server);
  const auto trace = admin.GetTraceSettings();
  CheckOk(trace.status());
  CHECK(trace->count("trace_rate") == 1);
  const auto changed = admin.SetTraceSettings({{"trace_rate", {"500"}}}, "add_sub");
  CheckOk(changed.status());
  if (changed.ok()) CHECK(changed->at("trace_rate") == std::vector<std::string>{"500"});
  CHECK(admin.GetTraceSettings()->at("trace_rate") == trace->at("trace_rate"));
  const auto back = admin.SetTraceSettings({{"trace_rate", {}}}, "add_sub");
  CheckOk(back.status());
  if (back.ok()) CHECK(back->at("trace_rate") == trace->at("trace_rate"));

  const auto log = admin.SetLogSettings({{"log_verbose_level", 1}, {"log_info", true}});
  CheckOk(log.status());
  CHECK(log->at("log_verbose_level") == LogSetting(std::int64_t{1}));
  CHECK(admin.SetLogSettings({{"log_verbose_level", 0}})->at("log_verbose_level") == LogSetting(std::int64_t{0}));
  CHECK(admin.GetLogSettings()->at("log_info") == LogSetting(true));
}

TEST_CASE("Triton takes priorities, timeouts, parameters and classifications", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto server = ConnectTo(*target);
  InferRequest request = AddSub();
  request.set_id("me");
  request.set_priority(1);
  request.set_queue_timeout(absl::Seconds(10));
  request.set_parameter("flag", true);
  request.set_parameter("number", 5);
  request.set_parameter("ratio", 0.5);
  request.set_parameter("text", "x");
  const auto result = server.GetModel("add_sub").Infer(request);
  CHECK(Values<std::int32_t>(result, "OUTPUT0") == std::vector<std::int32_t>{6, 8, 10, 12});
  CHECK(result->id() == "me");
  InferRequest mistaken = AddSub();
  mistaken.set_parameter("sequence_start", 1);
  CHECK(server.GetModel("add_sub").Infer(mistaken).status().code() == absl::StatusCode::kInvalidArgument);

  InferRequest classify{{"INPUT0", std::vector<float>{1, 9, 3, 4}, {1, 4}}};
  classify.add_output({.name = "OUTPUT0", .classification = 2});
  const auto classes = server.GetModel("identity_fp32").Infer(classify);
  CheckOk(classes.status());
  const auto best = classes->Get<std::string_view>("OUTPUT0");
  CheckOk(best.status());
  CHECK(best->size() == 2);
  CHECK(best->front().ends_with(":1"));

  const auto typed = ConnectTo<TypedContents<OpenInference>>(*target).GetModel("add_sub").Infer(AddSub());
  CHECK(Values<std::int32_t>(typed, "OUTPUT1") == std::vector<std::int32_t>{4, 4, 4, 4});
}
