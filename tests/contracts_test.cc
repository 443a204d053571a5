// SPDX-License-Identifier: Apache-2.0
#include "inferwire/contracts.h"

#include <algorithm>
#include <array>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "inferwire/admin.h"
#include "inferwire/batcher.h"
#include "inferwire/contract/open_inference.h"
#include "inferwire/contract/simple.h"
#include "inferwire/inference.h"
#include "inferwire/typed_model.h"
#include "server/server.h"
#include "support/inference.h"

using inferwire::AnyContract;
using inferwire::AnyInferenceClient;
using inferwire::InferenceClient;
using inferwire::InferRequest;
using inferwire::InferResult;
using inferwire::OpenInference;
using inferwire::Simple;
using namespace inferwire_test;  // NOLINT

namespace {

// Two functions, and nothing else: no streams, no metadata, nobody's administration.
struct ContractsBare {
  using Infer = Simple::Infer;
  static absl::StatusOr<inference::Request> Encode(const InferRequest& request) { return Simple::Encode(request); }
  static absl::StatusOr<InferResult> Decode(inference::Response&& response) {
    return Simple::Decode(std::move(response));
  }
};
// Another of a name that is taken.
struct ContractsTaken : ContractsBare {
  using Infer = inferwire::Rpc<&inference::Inference::Stub::RunInference, "elsewhere.Inference">;
  static constexpr std::string_view kName = "open_inference";
};

// Models of any contract, as an application keeps them.
class ContractsKeeper {
 public:
  void Add(const std::string& name, inferwire::Model model) { models_.emplace(name, std::move(model)); }
  absl::StatusOr<InferResult> Ask(const std::string& name, std::span<const float> pixels) const {
    return models_.at(name).Infer({{"image", pixels, {1, 64}}});
  }

 private:
  std::map<std::string, inferwire::Model> models_;
};

template <class Client>
concept TellsWhetherLive = requires(const Client& client) { client.Live(); };
static_assert(TellsWhetherLive<InferenceClient<OpenInference>>);
static_assert(TellsWhetherLive<AnyInferenceClient>);
static_assert(!TellsWhetherLive<InferenceClient<Simple>>, "what a contract lacks does not compile where it is known");
static_assert(std::is_same_v<decltype(std::declval<InferenceClient<Simple>&>().GetModel("m")), inferwire::Model>);

AnyInferenceClient Speak(const AnyContract& contract, const std::string& target) {
  return AnyInferenceClient(contract, Connect(target));
}
void Lacks(const absl::Status& status, const std::string& contract) {
  INFO(status);
  CHECK(status.code() == absl::StatusCode::kUnimplemented);
  CHECK(std::string(status.message()).starts_with("the contract " + contract + " has no "));
}

}  // namespace

TEST_CASE("a contract is chosen by name, and its models are those of its type", "[inference]") {
  auto server = inferwire::examples::EmbeddedServer::Start({});
  REQUIRE(server.ok());
  const std::array<float, 64> pixels{};
  ContractsKeeper keeper;
  for (const std::string name : {"open_inference", "simple"}) {
    const auto contract = inferwire::ContractByName(name);
    REQUIRE(contract.ok());
    CHECK(contract->name() == name);
    const auto client =
        AnyInferenceClient::Create(*contract, {.targets = {(*server)->target()}, .credentials = inferwire::Insecure()});
    REQUIRE(client.ok());
    const inferwire::Model model = client->GetModel("digits");
    CHECK(model.contract().name() == name);
    keeper.Add(name, model);
  }
  keeper.Add("typed", InferenceClient<OpenInference>(Connect((*server)->target())).GetModel("digits", "1"));
  const auto open = keeper.Ask("open_inference", pixels);
  const auto simple = keeper.Ask("simple", pixels);
  const auto typed = keeper.Ask("typed", pixels);
  REQUIRE(open.ok());
  REQUIRE(simple.ok());
  REQUIRE(typed.ok());
  const auto scores = open->Get<float>("scores");
  REQUIRE(scores.ok());
  const auto output = simple->Get<float>("output");
  REQUIRE(output.ok());
  CHECK(std::vector<float>(scores->begin(), scores->end()) == std::vector<float>(output->begin(), output->end()));
  CHECK(typed->Get<float>("scores").ok());
}

TEST_CASE("by name there is what there is by type: streams, sequences, batches, signatures, questions", "[inference]") {
  auto server = inferwire::examples::EmbeddedServer::Start({});
  REQUIRE(server.ok());
  const auto contract = inferwire::ContractByName("open_inference");
  REQUIRE(contract.ok());
  CHECK(contract->streams());
  CHECK(contract->shares_streams());
  CHECK(contract->tells_models());
  const AnyInferenceClient client = Speak(*contract, (*server)->target());
  CHECK(client.Live().value_or(false));
  CHECK(client.Ready().value_or(false));
  CHECK(client.CheckDialect().ok());
  const auto metadata = client.Metadata();
  REQUIRE(metadata.ok());
  CHECK(!metadata->name.empty());
  const inferwire::Model story = client.GetModel("storyteller");
  CHECK(story.Ready().value_or(false));
  CHECK(story.Metadata().ok());
  int parts = 0;
  auto stream = story.StreamInfer({{"prompt", std::vector<std::string>{"Once upon"}, {1}}});
  for (const InferResult& part : stream) parts += part.outputs().empty() ? 0 : 1;
  CHECK(stream.status().ok());
  CHECK(parts > 1);

  const std::array<float, 64> pixels{};
  const inferwire::Batcher batcher(client.GetModel("digits"), {.max_delay = absl::ZeroDuration()});
  CHECK(batcher.Infer({{"image", std::span<const float>(pixels), {1, 64}}}).ok());
  const auto classify = client.Bind<inferwire::Outputs<inferwire::Tensor<"scores", float, -1, 10>>,
                                    inferwire::Inputs<inferwire::Tensor<"image", float, -1, 64>>>("digits");
  REQUIRE(classify.ok());
  CHECK((*classify)(pixels).ok());
  const auto models = inferwire::Admin(client).RepositoryIndex();
  REQUIRE(models.ok());
  CHECK(!models->empty());
}

TEST_CASE("what a contract lacks is UNIMPLEMENTED, by its name, and nothing is sent", "[inference]") {
  auto server = inferwire::examples::EmbeddedServer::Start({});
  REQUIRE(server.ok());
  const AnyInferenceClient bare = Speak(AnyContract::Of<ContractsBare>(), (*server)->target());
  CHECK(bare.contract().name() == "ContractsBare");
  CHECK(!bare.contract().streams());
  Lacks(bare.Live().status(), "ContractsBare");
  Lacks(bare.Ready().status(), "ContractsBare");
  Lacks(bare.Metadata().status(), "ContractsBare");
  Lacks(bare.CheckDialect(), "ContractsBare");
  const inferwire::Model model = bare.GetModel("digits");
  Lacks(model.Ready().status(), "ContractsBare");
  Lacks(model.Metadata().status(), "ContractsBare");
  auto stream = model.StreamInfer({{"prompt", std::vector<std::string>{"Once"}, {1}}});
  CHECK(!stream.Read().has_value());
  Lacks(stream.status(), "ContractsBare");
  auto sequence = model.Sequence(42);
  Lacks(sequence.Step({}).status(), "ContractsBare");
  CHECK(bare.client().Stats().attempts == 0);

  // Without streams to share, over_stream is a call like any other, as a check is without metadata.
  const std::array<float, 64> pixels{};
  const auto result = bare.GetModel("digits", {.check = true, .over_stream = true})
                          .Infer({{"image", std::span<const float>(pixels), {1, 64}}});
  CHECK(result.ok());

  REQUIRE(inferwire::RegisterContract<ContractsBare>().ok());
  const auto named = inferwire::ContractByName("ContractsBare");
  REQUIRE(named.ok());
  const inferwire::Admin admin(Speak(*named, (*server)->target()));
  Lacks(admin.Config("m").status(), "ContractsBare");
  Lacks(admin.LoadModel("m"), "ContractsBare");
  Lacks(admin.RegisterSystemSharedMemory({"r", "/r", 0, 1}), "ContractsBare");
  Lacks(admin.GetLogSettings().status(), "ContractsBare");
}

TEST_CASE("a contract's administration comes with its type or its name", "[inference]") {
  const AnyInferenceClient client = Speak(AnyContract::Of<OpenInference>(), "127.0.0.1:1");
  const absl::Status status = inferwire::Admin(client).LoadModel("m");
  CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(std::string(status.message()) ==
        "the contract open_inference came without its administration; expected that of an InferenceClient<...>, or of "
        "ContractByName");
}

TEST_CASE("names of contracts: those that are linked, and the program's own", "[inference]") {
  const std::vector<std::string> names = inferwire::ContractNames();
  for (const char* const name :
       {"open_inference", "open_inference_kserve", "open_inference_mlserver", "open_inference_torchserve", "simple"}) {
    CHECK(std::find(names.begin(), names.end(), name) != names.end());
  }
  CHECK(std::is_sorted(names.begin(), names.end()));
  const absl::Status unknown = inferwire::ContractByName("tensorflow").status();
  CHECK(unknown.code() == absl::StatusCode::kNotFound);
  CHECK(std::string(unknown.message()).starts_with("no contract is called 'tensorflow'; there are '"));
  CHECK(std::string(unknown.message()).find("'simple'") != std::string::npos);
  CHECK(inferwire::RegisterContract<Simple>().ok());
  const absl::Status taken = inferwire::RegisterContract<ContractsTaken>();
  CHECK(taken.code() == absl::StatusCode::kAlreadyExists);
  CHECK(std::string(taken.message()).find("/elsewhere.Inference/RunInference") != std::string::npos);
  CHECK(inferwire::ContractByName("open_inference")->tells_models());
}
