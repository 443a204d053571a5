// SPDX-License-Identifier: Apache-2.0
//
// The embedded server as a client sees it, through raw generated stubs: what it answers and how it refuses.
#include "server/server.h"

#include <grpc/grpc.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "inferwire/inference.grpc.pb.h"
#include "inferwire/version.h"
#include "open_inference_public.grpc.pb.h"
#include "server/digits.h"
#include "server/models.h"
#include "server/tensor.h"
#include "support/catch.h"

namespace inferwire::examples {
namespace {

using inference::ModelInferRequest;
using inference::ModelInferResponse;
using inference::Request;
using inference::Response;

// Far longer than anything here takes: a test that would hang fails instead.
constexpr std::chrono::seconds kPatience(60);

void CheckMentions(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    INFO("'" << text << "' should mention '" << part << "'");
    CHECK(text.find(part) != std::string::npos);
  }
}

struct Context : grpc::ClientContext {
  Context() { set_deadline(std::chrono::system_clock::now() + kPatience); }
};

std::unique_ptr<EmbeddedServer> StartServer(ServerOptions options = {}) {
  absl::StatusOr<std::unique_ptr<EmbeddedServer>> server = EmbeddedServer::Start(options);
  INFO(server.status().ToString());
  REQUIRE(server.ok());
  return *std::move(server);
}

absl::Status Refusal(const ServerOptions& options) { return EmbeddedServer::Start(options).status(); }

struct Fixture {
  explicit Fixture(ServerOptions options = {}) : server(StartServer(std::move(options))) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    channel = grpc::CreateCustomChannel(server->target(), grpc::InsecureChannelCredentials(), arguments);
    simple = inference::Inference::NewStub(channel);
    open = inference::GRPCInferenceService::NewStub(channel);
  }

  Response Run(const Request& request) {
    Context context;
    Response response;
    const grpc::Status status = simple->RunInference(&context, request, &response);
    INFO(status.error_message());
    REQUIRE(status.ok());
    return response;
  }

  grpc::Status RunStatus(const Request& request) {
    Context context;
    Response response;
    return simple->RunInference(&context, request, &response);
  }

  std::pair<std::vector<Response>, grpc::Status> Stream(const Request& request) {
    Context context;
    std::vector<Response> responses;
    auto reader = simple->StreamInference(&context, request);
    for (Response response; reader->Read(&response);) responses.push_back(response);
    return {responses, reader->Finish()};
  }

  ModelInferResponse Infer(const ModelInferRequest& request) {
    Context context;
    ModelInferResponse response;
    const grpc::Status status = open->ModelInfer(&context, request, &response);
    INFO(status.error_message());
    REQUIRE(status.ok());
    return response;
  }

  grpc::Status InferStatus(const ModelInferRequest& request) {
    Context context;
    ModelInferResponse response;
    return open->ModelInfer(&context, request, &response);
  }

  std::unique_ptr<EmbeddedServer> server;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<inference::Inference::Stub> simple;
  std::unique_ptr<inference::GRPCInferenceService::Stub> open;
};

Request Simple(const std::string& model, const std::vector<float>& input, const std::string& text = "") {
  Request request;
  request.set_model(model);
  request.mutable_input()->Assign(input.begin(), input.end());
  request.set_text(text);
  return request;
}

template <class T>
std::string Raw(const std::vector<T>& values) {
  return MakeTensor<T>("", "", {}, values).data;
}

std::string RawText(const std::string& text) {
  std::string data;
  AppendString(text, data);
  return data;
}

ModelInferRequest::InferInputTensor& AddInput(ModelInferRequest& request, const std::string& name,
                                              const std::string& datatype, const Shape& shape) {
  auto& input = *request.add_inputs();
  input.set_name(name);
  input.set_datatype(datatype);
  input.mutable_shape()->Assign(shape.begin(), shape.end());
  return input;
}

ModelInferRequest RawRequest(const std::string& model, const std::string& name, const std::string& datatype,
                             const Shape& shape, const std::string& data) {
  ModelInferRequest request;
  request.set_model_name(model);
  AddInput(request, name, datatype, shape);
  request.add_raw_input_contents(data);
  return request;
}

DigitSet HeldOut() {
  absl::StatusOr<DigitSet> set = LoadDigitSet(BuiltInDataDir() + "/digits/held_out.bin");
  REQUIRE(set.ok());
  return *std::move(set);
}

std::string Joined(const std::vector<Response>& responses) {
  std::string text;
  for (const Response& response : responses) text += response.text();
  return text;
}

}  // namespace

TEST_CASE("a server on port 0 says which port it got", "[examples][server]") {
  Fixture fixture;
  CHECK(fixture.server->port() > 0);
  CHECK(fixture.server->target() == "127.0.0.1:" + std::to_string(fixture.server->port()));
}

TEST_CASE("two servers share no port", "[examples][server]") {
  const auto first = StartServer();
  const absl::Status status = Refusal({.listen = first->target()});
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CheckMentions(std::string(status.message()), {first->target()});
}

TEST_CASE("an address that cannot be meant is refused with what is expected", "[examples][server]") {
  for (const char* listen : {"", ":", "localhost", "localhost:", ":80", "localhost:http", "localhost:65536", "h:1:2",
                             "localhost:-1", "unix:", "[::1]", "http://localhost:80"}) {
    const absl::Status status = Refusal({.listen = listen});
    INFO(listen << " " << status.ToString());
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CheckMentions(std::string(status.message()), {"expected host:port"});
  }
}

TEST_CASE("an unknown default model, a missing file and half a TLS setting are refused", "[examples][server]") {
  CheckMentions(std::string(Refusal({.default_model = "gpt"}).message()), {"'gpt'", "storyteller"});
  CHECK(Refusal({.data_dir = "/nonexistent"}).code() == absl::StatusCode::kNotFound);
  CheckMentions(std::string(Refusal({.certificate_file = "a.pem"}).message()), {"private key"});
  CheckMentions(std::string(Refusal({.private_key_file = "a.key"}).message()), {"only the private key"});
  CheckMentions(std::string(Refusal({.client_ca_file = "ca.pem"}).message()), {"certificate"});
  const absl::Status missing =
      Refusal({.certificate_file = "/nonexistent/a.pem", .private_key_file = "/nonexistent/b"});
  CHECK(missing.code() == absl::StatusCode::kNotFound);
  CheckMentions(std::string(missing.message()), {"/nonexistent/a.pem"});
  const std::string no_pem = BuiltInDataDir() + "/story/story.txt";
  CheckMentions(std::string(Refusal({.certificate_file = no_pem, .private_key_file = no_pem}).message()),
                {"expected PEM"});
}

TEST_CASE("identity gives back input, shape, text and id under its own name", "[examples][server]") {
  Fixture fixture;
  Request request = Simple("", {1, 2, 3, 4, 5, 6}, "text");
  request.add_shape(2);
  request.add_shape(3);
  request.set_id("seven");
  const Response response = fixture.Run(request);
  CHECK(std::vector<float>(response.output().begin(), response.output().end()) == std::vector<float>{1, 2, 3, 4, 5, 6});
  CHECK(std::vector<std::int64_t>(response.shape().begin(), response.shape().end()) == std::vector<std::int64_t>{2, 3});
  CHECK(response.text() == "text");
  CHECK(response.id() == "seven");
  CHECK(response.model() == "identity");
}

TEST_CASE("a default model answers requests that name none", "[examples][server]") {
  Fixture fixture({.default_model = "accumulate"});
  const Response response = fixture.Run(Simple("", {1, 2, 3}));
  CHECK(response.model() == "accumulate");
  CHECK(response.output(0) == 6);
}

TEST_CASE("the digits model classifies a batch over the wire", "[examples][server]") {
  Fixture fixture;
  const DigitSet set = HeldOut();
  const Response response = fixture.Run(Simple("digits", set.pixels));
  REQUIRE(response.shape_size() == 2);
  CHECK(response.shape(0) == static_cast<std::int64_t>(set.size()));
  CHECK(response.shape(1) == 10);
  REQUIRE(response.output_size() == static_cast<int>(set.size() * 10));
  std::size_t right = 0;
  for (std::size_t i = 0; i < set.size(); ++i) right += response.text()[2 * i] == '0' + set.labels[i] ? 1 : 0;
  CHECK(static_cast<double>(right) > 0.95 * static_cast<double>(set.size()));
}

TEST_CASE("a bad request is refused with what was given and what was expected", "[examples][server]") {
  Fixture fixture;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Request misshapen = Simple("identity", {1, 2, 3});
  misshapen.add_shape(2);
  Request negative = Simple("identity", {});
  negative.add_shape(-1);
  struct Row {
    Request request;
    grpc::StatusCode code;
    std::string part;
  };
  const Row rows[] = {
      {Simple("digit", {}), grpc::NOT_FOUND, "'digit'; there are accumulate, add_sub, digits"},
      {Simple(std::string(100'000, 'x'), {}), grpc::NOT_FOUND, "xxx...'"},
      {Simple("digits", {}), grpc::INVALID_ARGUMENT, "0 were given"},
      {Simple("digits", std::vector<float>(65)), grpc::INVALID_ARGUMENT, "65 were given"},
      {Simple("add_sub", {1}), grpc::INVALID_ARGUMENT, "Open Inference"},
      {misshapen, grpc::INVALID_ARGUMENT, "shape [2] needs 2 elements, but 3"},
      {negative, grpc::INVALID_ARGUMENT, "found -1"},
      {Simple("storyteller", {-1}), grpc::INVALID_ARGUMENT, "found -1"},
      {Simple("storyteller", {nan}), grpc::INVALID_ARGUMENT, "nan"},
      {Simple("storyteller", {100'001}), grpc::INVALID_ARGUMENT, "100001"},
      {Simple("storyteller", {1e30f}), grpc::INVALID_ARGUMENT, "max_tokens"},
      {Simple("storyteller", {1.5f}), grpc::INVALID_ARGUMENT, "1.5"},
      {Simple("storyteller", {1, nan}), grpc::INVALID_ARGUMENT, "seed"},
      {Simple("storyteller", {1, 2, 3}), grpc::INVALID_ARGUMENT, "found 3 elements"},
  };
  for (const Row& row : rows) {
    const grpc::Status status = fixture.RunStatus(row.request);
    CHECK(status.error_code() == row.code);
    CheckMentions(status.error_message(), {row.part});
  }
}

TEST_CASE("pixels that are no numbers are answered", "[examples][server]") {
  Fixture fixture;
  const Response response =
      fixture.Run(Simple("digits", std::vector<float>(64, std::numeric_limits<float>::quiet_NaN())));
  REQUIRE(response.output_size() == 10);
  CHECK(std::isnan(response.output(0)));
}

TEST_CASE("a story arrives token by token and joins to the whole one", "[examples][server]") {
  Fixture fixture;
  Request request = Simple("storyteller", {40, 9}, "Tom and Huck");
  request.set_id("story");
  const auto [pieces, status] = fixture.Stream(request);
  REQUIRE(status.ok());
  REQUIRE(pieces.size() == 40);
  CHECK(pieces.back().id() == "story");
  CHECK(pieces.back().model() == "storyteller");
  CHECK(Joined(pieces) == fixture.Run(request).text());
}

TEST_CASE("a story has 64 tokens of seed 0 unless asked otherwise", "[examples][server]") {
  Fixture fixture;
  const auto [pieces, status] = fixture.Stream(Simple("storyteller", {}, "Tom"));
  REQUIRE(status.ok());
  CHECK(pieces.size() == 64);
  CHECK(Joined(pieces) == fixture.Run(Simple("storyteller", {64, 0}, "Tom")).text());
  CHECK(fixture.Stream(Simple("storyteller", {0})).first.empty());
}

TEST_CASE("identity streams one message an element, and others refuse to stream", "[examples][server]") {
  Fixture fixture;
  const auto [pieces, status] = fixture.Stream(Simple("identity", {3, 1, 2}));
  REQUIRE(status.ok());
  REQUIRE(pieces.size() == 3);
  CHECK(pieces[0].output(0) == 3);
  CHECK(pieces[2].output(0) == 2);
  const grpc::Status refused = fixture.Stream(Simple("digits", std::vector<float>(64))).second;
  CHECK(refused.error_code() == grpc::INVALID_ARGUMENT);
  CheckMentions(refused.error_message(), {"identity and storyteller"});
  CHECK(fixture.Stream(Simple("none", {})).second.error_code() == grpc::NOT_FOUND);
}

TEST_CASE("a cancelled story stops being told", "[examples][server]") {
  // At this pace the story would take more than an hour; a drain that long would outlast every patience.
  Fixture fixture({.token_delay = std::chrono::milliseconds(50)});
  Context context;
  auto reader = fixture.simple->StreamInference(&context, Simple("storyteller", {100'000}));
  Response first;
  REQUIRE(reader->Read(&first));
  context.TryCancel();
  CHECK(reader->Finish().error_code() == grpc::CANCELLED);
  const auto begin = std::chrono::steady_clock::now();
  fixture.server->Shutdown(std::chrono::hours(1));
  CHECK(std::chrono::steady_clock::now() - begin < kPatience);
}

TEST_CASE("a drain lets what is running end and takes nothing new", "[examples][server]") {
  Fixture fixture;
  Context context;
  auto stream = fixture.simple->Converse(&context);
  REQUIRE(stream->Write(Simple("accumulate", {1})));
  Response response;
  REQUIRE(stream->Read(&response));
  std::thread drain([&] { fixture.server->Shutdown(std::chrono::hours(1)); });
  REQUIRE(stream->Write(Simple("", {2})));
  REQUIRE(stream->Read(&response));
  CHECK(response.output(0) == 3);
  REQUIRE(stream->WritesDone());
  CHECK(stream->Finish().ok());
  drain.join();
  CHECK(fixture.RunStatus(Simple("", {1})).error_code() == grpc::UNAVAILABLE);
}

TEST_CASE("a shutdown without a drain ends what is running", "[examples][server]") {
  Fixture fixture;
  Context context;
  auto stream = fixture.simple->Converse(&context);
  Response response;
  REQUIRE(stream->Write(Simple("", {1})));
  REQUIRE(stream->Read(&response));
  fixture.server->Shutdown(std::chrono::milliseconds(0));
  CHECK(!stream->Read(&response));
  CHECK(!stream->Finish().ok());
  fixture.server->Shutdown(std::chrono::milliseconds(0));
}

TEST_CASE("an upload is answered with the sum of everything and the number of requests", "[examples][server]") {
  Fixture fixture;
  for (const char* model : {"", "identity", "accumulate"}) {
    Context context;
    Response response;
    auto writer = fixture.simple->UploadInference(&context, &response);
    for (int i = 1; i <= 3; ++i) {
      Request request = Simple(i == 1 ? model : "", {static_cast<float>(i), 0.5f});
      request.set_id("part" + std::to_string(i));
      REQUIRE(writer->Write(request));
    }
    REQUIRE(writer->WritesDone());
    REQUIRE(writer->Finish().ok());
    REQUIRE(response.output_size() == 1);
    CHECK(response.output(0) == 7.5f);
    CHECK(response.text() == "3 requests");
    CHECK(response.id() == "part3");
    CHECK(response.model() == (*model == '\0' ? "identity" : model));
  }
}

TEST_CASE("an upload of nothing sums to nothing", "[examples][server]") {
  Fixture fixture;
  Context context;
  Response response;
  auto writer = fixture.simple->UploadInference(&context, &response);
  REQUIRE(writer->WritesDone());
  REQUIRE(writer->Finish().ok());
  CHECK(response.output(0) == 0);
  CHECK(response.text() == "0 requests");
}

TEST_CASE("a conversation is answered turn by turn with the running sum", "[examples][server]") {
  Fixture fixture;
  Context context;
  auto stream = fixture.simple->Converse(&context);
  float sum = 0;
  for (int i = 1; i <= 10; ++i) {
    Request request = Simple(i == 1 ? "accumulate" : "", {static_cast<float>(i)});
    request.set_id(std::to_string(i));
    REQUIRE(stream->Write(request));
    Response response;
    REQUIRE(stream->Read(&response));
    CHECK(response.output(0) == (sum += static_cast<float>(i)));
    CHECK(response.id() == std::to_string(i));
  }
  REQUIRE(stream->WritesDone());
  CHECK(stream->Finish().ok());
}

TEST_CASE("a stream of requests keeps to one model, and to one that can take it", "[examples][server]") {
  Fixture fixture;
  const auto converse = [&](const std::vector<Request>& requests) {
    Context context;
    auto stream = fixture.simple->Converse(&context);
    for (const Request& request : requests) stream->Write(request);
    stream->WritesDone();
    for (Response response; stream->Read(&response);) continue;
    return stream->Finish();
  };
  CheckMentions(converse({Simple("digits", {1})}).error_message(), {"accumulate and identity do"});
  CHECK(converse({Simple("nobody", {1})}).error_code() == grpc::NOT_FOUND);
  CheckMentions(converse({Simple("accumulate", {1}), Simple("identity", {1})}).error_message(),
                {"'accumulate'", "'identity'"});
}

TEST_CASE("many callers are served at once", "[examples][server]") {
  Fixture fixture;
  // Every conversation is open before any one ends: a server of one call at a time could not answer them all.
  constexpr int kCallers = 32;
  std::vector<std::unique_ptr<Context>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReaderWriter<Request, Response>>> streams;
  for (int i = 0; i < kCallers; ++i) {
    contexts.push_back(std::make_unique<Context>());
    streams.push_back(fixture.simple->Converse(contexts.back().get()));
    Response response;
    REQUIRE(streams.back()->Write(Simple("", {static_cast<float>(i)})));
    REQUIRE(streams.back()->Read(&response));
    CHECK(response.output(0) == static_cast<float>(i));
  }
  for (auto& stream : streams) {
    stream->WritesDone();
    CHECK(stream->Finish().ok());
  }
}

TEST_CASE("a tensor far beyond gRPC's own limit is received", "[examples][server]") {
  Fixture fixture;
  const std::string data(32 << 20, '\1');
  const ModelInferResponse response = fixture.Infer(RawRequest("identity", "INPUT0", "UINT8", {1 << 20, 32}, data));
  CHECK(response.raw_output_contents(0) == data);
}

TEST_CASE("the server is alive and ready, and says who it is", "[examples][server]") {
  Fixture fixture;
  inference::ServerLiveResponse live;
  inference::ServerReadyResponse ready;
  inference::ServerMetadataResponse metadata;
  Context first, second, third;
  REQUIRE(fixture.open->ServerLive(&first, {}, &live).ok());
  REQUIRE(fixture.open->ServerReady(&second, {}, &ready).ok());
  REQUIRE(fixture.open->ServerMetadata(&third, {}, &metadata).ok());
  CHECK(live.live());
  CHECK(ready.ready());
  CHECK(metadata.name() == "inferwire-server");
  CHECK(metadata.version() == INFERWIRE_VERSION);
}

TEST_CASE("the health service says that the server serves", "[examples][server]") {
  Fixture fixture;
  // grpc.health.v1 by hand: HealthCheckResponse{status = 1} is two bytes, and an empty request means the whole server.
  grpc::GenericStub stub(fixture.channel);
  Context context;
  grpc::CompletionQueue queue;
  auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::ByteBuffer(nullptr, 0), &queue);
  call->StartCall();
  grpc::ByteBuffer reply;
  grpc::Status status;
  call->Finish(&reply, &status, &queue);
  void* tag = nullptr;
  bool ok = false;
  REQUIRE(queue.Next(&tag, &ok));
  REQUIRE(status.ok());
  grpc::Slice slice;
  REQUIRE(reply.DumpToSingleSlice(&slice).ok());
  CHECK(std::string(slice.begin(), slice.end()) == "\x08\x01");
  // Other servers of this process keep what they chose.
  CHECK_FALSE(grpc::DefaultHealthCheckServiceEnabled());
}

TEST_CASE("the Open Inference Protocol is served under its public path", "[examples][server]") {
  CHECK(std::string(inference::GRPCInferenceService::service_full_name()) == "inference.GRPCInferenceService");
}

TEST_CASE("a model's readiness and metadata are those of its name and version", "[examples][server]") {
  Fixture fixture;
  const auto ready = [&](const std::string& name, const std::string& version) {
    Context context;
    inference::ModelReadyRequest request;
    request.set_name(name);
    request.set_version(version);
    inference::ModelReadyResponse response;
    const grpc::Status status = fixture.open->ModelReady(&context, request, &response);
    CHECK(status.ok() == response.ready());
    return status.error_code();
  };
  CHECK(ready("digits", "") == grpc::OK);
  CHECK(ready("digits", "1") == grpc::OK);
  CHECK(ready("digits", "2") == grpc::NOT_FOUND);
  CHECK(ready("nobody", "") == grpc::NOT_FOUND);

  Context context;
  inference::ModelMetadataRequest request;
  request.set_name("digits");
  inference::ModelMetadataResponse metadata;
  REQUIRE(fixture.open->ModelMetadata(&context, request, &metadata).ok());
  CHECK(metadata.name() == "digits");
  CHECK(metadata.versions(0) == "1");
  REQUIRE(metadata.inputs_size() == 1);
  CHECK(metadata.inputs(0).name() == "image");
  CHECK(metadata.inputs(0).datatype() == "FP32");
  CHECK(metadata.inputs(0).shape(0) == -1);
  CHECK(metadata.inputs(0).shape(1) == 64);
  REQUIRE(metadata.outputs_size() == 2);
  CHECK(metadata.outputs(0).name() == "scores");
  CHECK(metadata.outputs(1).name() == "label");
  CHECK(metadata.outputs(1).datatype() == "INT64");
}

TEST_CASE("a raw request gets a raw reply and a typed one a typed reply, with equal numbers", "[examples][server]") {
  Fixture fixture;
  const DigitSet set = HeldOut();
  const std::vector<float> pixels(set.image(0).begin(), set.image(0).end());
  ModelInferRequest raw = RawRequest("digits", "image", "FP32", {1, 64}, Raw(pixels));
  raw.set_id("raw");
  const ModelInferResponse raw_reply = fixture.Infer(raw);
  CHECK(raw_reply.id() == "raw");
  CHECK(raw_reply.model_name() == "digits");
  REQUIRE(raw_reply.outputs_size() == 2);
  REQUIRE(raw_reply.raw_output_contents_size() == 2);
  CHECK(!raw_reply.outputs(0).has_contents());
  CHECK(raw_reply.raw_output_contents(1) == Raw<std::int64_t>({set.labels[0]}));

  ModelInferRequest typed;
  typed.set_model_name("digits");
  auto& input = AddInput(typed, "image", "FP32", {1, 64});
  input.mutable_contents()->mutable_fp32_contents()->Assign(pixels.begin(), pixels.end());
  const ModelInferResponse typed_reply = fixture.Infer(typed);
  CHECK(typed_reply.raw_output_contents_size() == 0);
  const auto& scores = typed_reply.outputs(0).contents().fp32_contents();
  CHECK(Raw(std::vector<float>(scores.begin(), scores.end())) == raw_reply.raw_output_contents(0));
  CHECK(typed_reply.outputs(1).contents().int64_contents(0) == set.labels[0]);
}

TEST_CASE("only the requested outputs come, in the requested order", "[examples][server]") {
  Fixture fixture;
  ModelInferRequest request = RawRequest("digits", "image", "FP32", {1, 64}, std::string(256, '\0'));
  request.add_outputs()->set_name("label");
  ModelInferResponse response = fixture.Infer(request);
  REQUIRE(response.outputs_size() == 1);
  CHECK(response.outputs(0).name() == "label");
  CHECK(response.raw_output_contents(0).size() == 8);
  request.add_outputs()->set_name("scores");
  response = fixture.Infer(request);
  CHECK(response.outputs(1).name() == "scores");
  CHECK(response.raw_output_contents(1).size() == 40);
}

TEST_CASE("every typed field comes back from identity as it went", "[examples][server]") {
  Fixture fixture;
  const auto round_trip = [&](const std::string& datatype, const inference::InferTensorContents& contents) {
    ModelInferRequest request;
    request.set_model_name("identity");
    *AddInput(request, "INPUT0", datatype, {2}).mutable_contents() = contents;
    const ModelInferResponse response = fixture.Infer(request);
    INFO(datatype);
    CHECK(response.outputs(0).datatype() == datatype);
    CHECK(response.outputs(0).contents().SerializeAsString() == contents.SerializeAsString());
  };
  inference::InferTensorContents bools, ints, longs, uints, ulongs, floats, doubles, strings;
  for (const int value : {0, 1}) {
    bools.add_bool_contents(value != 0);
    ints.add_int_contents(-100 * value);
    longs.add_int64_contents(std::numeric_limits<std::int64_t>::min() + value);
    uints.add_uint_contents(static_cast<std::uint32_t>(200 * value));
    ulongs.add_uint64_contents(std::numeric_limits<std::uint64_t>::max() - static_cast<std::uint64_t>(value));
    floats.add_fp32_contents(0.1f * static_cast<float>(value));
    doubles.add_fp64_contents(0.1 * value);
    strings.add_bytes_contents(std::string(static_cast<std::size_t>(value) * 1000, '\xff'));
  }
  round_trip("BOOL", bools);
  for (const char* datatype : {"INT8", "INT16", "INT32"}) round_trip(datatype, ints);
  round_trip("INT64", longs);
  for (const char* datatype : {"UINT8", "UINT16", "UINT32"}) round_trip(datatype, uints);
  round_trip("UINT64", ulongs);
  round_trip("FP32", floats);
  round_trip("FP64", doubles);
  round_trip("BYTES", strings);
}

TEST_CASE("a story is told over the Open Inference Protocol too", "[examples][server]") {
  Fixture fixture;
  ModelInferRequest request = RawRequest("storyteller", "prompt", "BYTES", {1}, RawText("Tom and Huck"));
  AddInput(request, "max_tokens", "INT64", {1});
  request.add_raw_input_contents(Raw<std::int64_t>({40}));
  AddInput(request, "seed", "INT64", {1});
  request.add_raw_input_contents(Raw<std::int64_t>({9}));
  const std::string told = fixture.Run(Simple("storyteller", {40, 9}, "Tom and Huck")).text();
  CHECK(fixture.Infer(request).raw_output_contents(0) == RawText(told));
}

TEST_CASE("a bad ModelInfer is refused with what was given and what was expected", "[examples][server]") {
  Fixture fixture;
  const std::string image(256, '\0');
  const ModelInferRequest good = RawRequest("digits", "image", "FP32", {1, 64}, image);
  CHECK(fixture.InferStatus(good).ok());

  const auto changed = [&](auto change) {
    ModelInferRequest request = good;
    change(request);
    return request;
  };
  struct Row {
    ModelInferRequest request;
    grpc::StatusCode code;
    std::string part;
  };
  ModelInferRequest typed;
  typed.set_model_name("identity");
  AddInput(typed, "INPUT0", "INT8", {1});
  const auto contents = [&](const std::string& datatype, auto change) {
    ModelInferRequest request = typed;
    request.mutable_inputs(0)->set_datatype(datatype);
    change(*request.mutable_inputs(0)->mutable_contents());
    return request;
  };
  const Row rows[] = {
      {changed([](auto& r) { r.set_model_name("digit"); }), grpc::NOT_FOUND, "'digit'; there are"},
      {changed([](auto& r) { r.set_model_version("9"); }), grpc::NOT_FOUND, "'9'; there is version 1"},
      {changed([](auto& r) { r.mutable_inputs(0)->set_name("img"); }), grpc::INVALID_ARGUMENT, "'img'; expected image"},
      {changed([](auto& r) { r.mutable_inputs(0)->set_datatype("INT32"); }), grpc::INVALID_ARGUMENT, "expected FP32"},
      {changed([](auto& r) { r.mutable_inputs(0)->set_datatype("fp32"); }), grpc::INVALID_ARGUMENT, "'fp32'"},
      {changed([](auto& r) { r.mutable_inputs(0)->set_shape(0, 2); }), grpc::INVALID_ARGUMENT, "256 bytes"},
      {changed([](auto& r) { r.mutable_inputs(0)->set_shape(0, -1); }), grpc::INVALID_ARGUMENT, "found -1"},
      {changed([](auto& r) { r.mutable_inputs(0)->set_shape(0, 1LL << 60); }), grpc::INVALID_ARGUMENT, "more elements"},
      {changed([](auto& r) { r.mutable_inputs(0)->mutable_contents(); }), grpc::INVALID_ARGUMENT, "found both"},
      {changed([](auto& r) { r.add_raw_input_contents(""); }), grpc::INVALID_ARGUMENT, "found 2 for 1"},
      {changed([](auto& r) { r.clear_raw_input_contents(); }), grpc::INVALID_ARGUMENT, "0 bytes were given"},
      {changed([](auto& r) { r.add_outputs()->set_name("logits"); }), grpc::INVALID_ARGUMENT, "scores and label"},
      {changed([](auto& r) {
         r.add_outputs()->set_name("label");
         r.add_outputs()->set_name("label");
       }),
       grpc::INVALID_ARGUMENT, "twice"},
      {changed([](auto& r) {
         r.clear_inputs();
         r.clear_raw_input_contents();
       }),
       grpc::INVALID_ARGUMENT, "'image' is missing"},
      {changed(
           [](auto& r) { (*r.mutable_inputs(0)->mutable_parameters())["shared_memory_region"].set_string_param("x"); }),
       grpc::INVALID_ARGUMENT, "shared_memory_region"},
      {RawRequest("storyteller", "prompt", "BYTES", {1}, "Tom"), grpc::INVALID_ARGUMENT, "'prompt'"},
      {RawRequest("storyteller", "prompt", "BYTES", {1}, RawText("a") + RawText("b")), grpc::INVALID_ARGUMENT, "but 2"},
      {contents("INT8", [](auto& c) { c.add_int_contents(128); }), grpc::INVALID_ARGUMENT, "does not fit into 'INT8'"},
      {contents("UINT16", [](auto& c) { c.add_uint_contents(65536); }), grpc::INVALID_ARGUMENT, "'UINT16'"},
      {contents("FP32", [](auto& c) { c.add_fp64_contents(1); }), grpc::INVALID_ARGUMENT, "fp64_contents"},
      {contents("FP16", [](auto& c) { c.add_fp32_contents(1); }), grpc::INVALID_ARGUMENT, "raw_input_contents"},
      {contents("FP32", [](auto&) {}), grpc::INVALID_ARGUMENT, "0 bytes"},
  };
  for (const Row& row : rows) {
    const grpc::Status status = fixture.InferStatus(row.request);
    INFO(row.request.ShortDebugString().substr(0, 200));
    CHECK(status.error_code() == row.code);
    CheckMentions(status.error_message(), {row.part});
  }
}

TEST_CASE("tensors of no elements and scalars pass through", "[examples][server]") {
  Fixture fixture;
  CHECK(fixture.Infer(RawRequest("identity", "INPUT0", "FP16", {3, 0}, "")).raw_output_contents(0).empty());
  CHECK(fixture.Infer(RawRequest("identity", "INPUT0", "BF16", {}, "ab")).raw_output_contents(0) == "ab");
  ModelInferRequest typed;
  typed.set_model_name("identity");
  AddInput(typed, "INPUT0", "INT64", {0});
  CHECK(fixture.Infer(typed).outputs(0).shape(0) == 0);
}

namespace {

using inference::ModelStreamInferResponse;

ModelInferRequest StoryRequest(const std::string& id, std::int64_t tokens) {
  ModelInferRequest request = RawRequest("storyteller", "prompt", "BYTES", {1}, RawText("Tom"));
  AddInput(request, "max_tokens", "INT64", {1});
  request.add_raw_input_contents(Raw<std::int64_t>({tokens}));
  request.set_id(id);
  return request;
}

ModelInferRequest EchoRequest(const std::string& id) {
  ModelInferRequest request = RawRequest("identity", "INPUT0", "FP32", {1}, Raw<float>({1}));
  request.set_id(id);
  return request;
}

ModelInferRequest SumRequest(std::int32_t value) {
  return RawRequest("sequence_sum", "INPUT", "INT32", {1}, Raw<std::int32_t>({value}));
}

// "id:answer", "id:last" for an answer that is its request's last, "id:end" for one without outputs, "id:error".
std::string Word(const ModelStreamInferResponse& response) {
  const ModelInferResponse& answer = response.infer_response();
  const std::string id(answer.id());
  if (!response.error_message().empty()) return id + ":error";
  const auto mark = answer.parameters().find("triton_final_response");
  if (mark == answer.parameters().end()) return id + ":unmarked";
  if (!mark->second.bool_param()) return id + ":answer";
  return id + (answer.outputs().empty() ? ":end" : ":last");
}

// All that a stream answers to these requests.
std::pair<std::vector<ModelStreamInferResponse>, grpc::Status> StreamInfer(
    Fixture& fixture, const std::vector<ModelInferRequest>& requests, const std::string& header = "") {
  Context context;
  if (!header.empty()) context.AddMetadata(header, "true");
  auto stream = fixture.open->ModelStreamInfer(&context);
  for (const ModelInferRequest& request : requests) stream->Write(request);
  stream->WritesDone();
  std::vector<ModelStreamInferResponse> answers;
  for (ModelStreamInferResponse answer; stream->Read(&answer);) answers.push_back(answer);
  return {answers, stream->Finish()};
}

std::vector<std::string> Words(const std::vector<ModelStreamInferResponse>& answers) {
  std::vector<std::string> words;
  for (const ModelStreamInferResponse& answer : answers) words.push_back(Word(answer));
  return words;
}

}  // namespace

TEST_CASE("ordinary models answer a stream in the order of its requests", "[examples][server][stream]") {
  Fixture fixture;
  const auto [answers, status] = StreamInfer(fixture, {EchoRequest("a"), EchoRequest("b"), EchoRequest("c")});
  CHECK(status.ok());
  CHECK(Words(answers) == std::vector<std::string>{"a:last", "b:last", "c:last"});
}

TEST_CASE("a story streams token by token, and its end is said where it was asked for", "[examples][server][stream]") {
  Fixture fixture;
  const auto [quiet, first] = StreamInfer(fixture, {StoryRequest("s", 2)});
  CHECK(first.ok());
  CHECK(Words(quiet) == std::vector<std::string>{"s:answer", "s:answer"});
  ModelInferRequest marked = StoryRequest("s", 2);
  (*marked.mutable_parameters())["triton_enable_empty_final_response"].set_bool_param(true);
  const auto [answers, second] = StreamInfer(fixture, {marked});
  CHECK(second.ok());
  CHECK(Words(answers) == std::vector<std::string>{"s:answer", "s:answer", "s:end"});
  CHECK(answers.back().infer_response().model_name() == "storyteller");
  std::string told;
  for (const auto& answer : quiet) told += answer.infer_response().raw_output_contents(0).substr(4);
  CHECK(RawText(told) == fixture.Infer(StoryRequest("s", 2)).raw_output_contents(0));
  const auto [none, third] = StreamInfer(fixture, {StoryRequest("s", 0)});
  CHECK(third.ok());
  CHECK(none.empty());
}

TEST_CASE("stories on one stream are told beside one another, and beside other answers", "[examples][server][stream]") {
  Fixture fixture({.token_delay = std::chrono::milliseconds(20)});
  const auto [answers, status] = StreamInfer(fixture, {StoryRequest("s", 20), StoryRequest("t", 20), EchoRequest("e")});
  CHECK(status.ok());
  const std::vector<std::string> words = Words(answers);
  REQUIRE(words.size() == 41);
  const auto first = [&](const char* word) { return std::find(words.begin(), words.end(), word) - words.begin(); };
  const auto last = [&](const char* word) { return words.rend() - std::find(words.rbegin(), words.rend(), word); };
  CHECK(first("t:answer") < last("s:answer"));
  CHECK(first("s:answer") < last("t:answer"));
  CHECK(first("e:last") < last("s:answer"));
}

TEST_CASE("an error on a stream ends its own request", "[examples][server][stream]") {
  Fixture fixture;
  ModelInferRequest unknown = EchoRequest("u");
  unknown.set_model_name("nobody");
  ModelInferRequest wrong = EchoRequest("w");
  wrong.mutable_inputs(0)->set_name("wrong");
  ModelInferRequest story = StoryRequest("s", -1);
  const auto [answers, status] = StreamInfer(fixture, {unknown, wrong, EchoRequest("e")});
  CHECK(status.ok());
  CHECK(Words(answers) == std::vector<std::string>{"u:error", "w:error", "e:last"});
  CheckMentions(answers[0].error_message(), {"'nobody'"});
  CHECK(answers[0].infer_response().parameters().empty());
  CHECK(Words(StreamInfer(fixture, {story}).first) == std::vector<std::string>{"s:error"});
}

TEST_CASE("an error ends the stream with a status where the caller wants it so", "[examples][server][stream]") {
  Fixture fixture;
  ModelInferRequest unknown = EchoRequest("u");
  unknown.set_model_name("nobody");
  const auto [answers, status] = StreamInfer(fixture, {EchoRequest("a"), unknown}, "triton_grpc_error");
  CHECK(status.error_code() == grpc::NOT_FOUND);
  CHECK(Words(answers) == std::vector<std::string>{"a:last"});
}

TEST_CASE("a caller that goes leaves no story behind", "[examples][server][stream]") {
  Fixture fixture({.token_delay = std::chrono::milliseconds(1)});
  Context context;
  auto stream = fixture.open->ModelStreamInfer(&context);
  for (int i = 0; i < 70; ++i) stream->Write(StoryRequest(std::to_string(i), 100'000));
  ModelStreamInferResponse answer;
  bool refused = false;  // there is room for 64
  while (!refused && stream->Read(&answer)) refused = !answer.error_message().empty();
  CHECK(refused);
  context.TryCancel();
  while (stream->Read(&answer)) {
  }
  CHECK(stream->Finish().error_code() == grpc::CANCELLED);
}

TEST_CASE("a sequence is summed up, by number or by name", "[examples][server]") {
  Fixture fixture;
  const auto step = [&](std::int32_t value, const auto& id, bool start, bool end) {
    ModelInferRequest request = SumRequest(value);
    auto& parameters = *request.mutable_parameters();
    if constexpr (std::is_integral_v<std::decay_t<decltype(id)>>) {
      parameters["sequence_id"].set_int64_param(id);
    } else {
      parameters["sequence_id"].set_string_param(id);
    }
    parameters["sequence_start"].set_bool_param(start);
    parameters["sequence_end"].set_bool_param(end);
    return request;
  };
  const auto sum = [&](const ModelInferRequest& request) { return fixture.Infer(request).raw_output_contents(0); };
  CHECK(sum(step(1, 5, true, false)) == Raw<std::int32_t>({1}));
  CHECK(sum(step(7, "5", true, false)) == Raw<std::int32_t>({7}));
  CHECK(sum(step(2, 5, false, true)) == Raw<std::int32_t>({3}));
  CHECK(sum(step(1, "5", false, false)) == Raw<std::int32_t>({8}));
  CHECK(sum(step(4, "5", true, false)) == Raw<std::int32_t>({4}));  // begun again
  CheckMentions(fixture.InferStatus(step(2, 5, false, false)).error_message(), {"sequence_start"});
  CheckMentions(fixture.InferStatus(SumRequest(1)).error_message(), {"sequence_id"});
  CheckMentions(fixture.InferStatus(step(1, "", true, false)).error_message(), {"sequence_id"});
  ModelInferRequest floats = step(0, "5", false, false);
  floats.mutable_inputs(0)->set_datatype("FP32");
  CheckMentions(fixture.InferStatus(floats).error_message(), {"began with INT32; found FP32"});
}

TEST_CASE("reserved parameters of a wrong kind are refused", "[examples][server]") {
  Fixture fixture;
  const auto status = [&](const std::string& key, auto set) {
    ModelInferRequest request = EchoRequest("");
    set((*request.mutable_parameters())[key]);
    return fixture.InferStatus(request).error_code();
  };
  const auto number = [](auto& p) { p.set_int64_param(1); };
  const auto text = [](auto& p) { p.set_string_param("1"); };
  const auto wide = [](auto& p) { p.set_uint64_param(1); };
  CHECK(status("sequence_start", number) == grpc::INVALID_ARGUMENT);
  CHECK(status("priority", text) == grpc::INVALID_ARGUMENT);
  CHECK(status("timeout", [](auto& p) { p.set_int64_param(-1); }) == grpc::INVALID_ARGUMENT);
  CHECK(status("triton_other", number) == grpc::INVALID_ARGUMENT);
  CHECK(status("own", wide) == grpc::INVALID_ARGUMENT);
  CHECK(status("own", [](auto&) {}) == grpc::INVALID_ARGUMENT);
  CHECK(status("own", number) == grpc::OK);
  CHECK(status("own", text) == grpc::OK);
  CHECK(status("priority", wide) == grpc::OK);
}

}  // namespace inferwire::examples
