// SPDX-License-Identifier: Apache-2.0
//
// Large tensors to a server, from it, and both ways; beside what loopback and memory themselves take.
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "open.h"
#include "socket.h"

namespace bench {
namespace {

using inferwire::InferRequest;
using inferwire::InferResult;

constexpr float kValue = 0.5f;  // of every element, also of those the server makes up

// Memory is touched before anything is measured.
struct Buffer {
  explicit Buffer(const Aim& aim, float value = kValue) : floats(aim.bytes / sizeof(float), value) {}
  std::span<const float> lent() const { return floats; }
  std::span<float> room() { return floats; }
  inferwire::Shape shape() const { return {1, static_cast<std::int64_t>(floats.size())}; }
  std::vector<float> floats;
};

void Check(std::span<const float> answer, std::size_t bytes) {
  if (answer.size_bytes() != bytes || answer.front() != kValue || answer.back() != kValue) {
    Give("the tensor that came is not the one that was expected");
  }
}
std::span<const float> Floats(const std::string& bytes) {
  return {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)};
}

// Models of the server: "sink" answers no tensor, "source:N" one of N bytes, "echo" the one that it got.
enum class Does { kSend, kReceive, kEcho };
std::string ModelFor(Does does, std::size_t bytes) {
  return does == Does::kSend ? "sink" : does == Does::kEcho ? "echo" : "source:" + std::to_string(bytes);
}
constexpr float kTiny[1] = {kValue};

// The first call, a small one, connects.

template <Does kDoes>
struct RawTensor final : RawOpen {
  explicit RawTensor(const Aim& aim) : RawOpen(aim), bytes(aim.bytes) {
    if (kDoes != Does::kReceive) input.emplace(aim);
    open::ModelInferRequest request;
    request.set_model_name("sink");
    Add(request, "tensor", kTiny);
    Infer(request);
  }
  void Make(int calls, int, Latencies& latencies) override {
    for (int i = 0; i < calls; ++i) {
      const auto from = Clock::now();
      open::ModelInferRequest request;
      request.set_model_name(ModelFor(kDoes, bytes));
      Add(request, "tensor", input ? input->lent() : kTiny);
      const open::ModelInferResponse response = Infer(request);
      if (kDoes != Does::kSend) Check(Floats(response.raw_output_contents(0)), bytes);
      latencies.Add(from);
    }
  }
  double KeptBytes() const override { return kDoes == Does::kSend ? 0 : static_cast<double>(bytes); }
  const std::size_t bytes;
  std::optional<Buffer> input;
};

// gRPC's generic stub with default arguments, used as well as it can be: a request that refers to the tensor, an answer
// that is copied once, from the pieces in which it came.
template <Does kDoes>
struct GenericTensor final : Way {
  explicit GenericTensor(const Aim& aim) : bytes(aim.bytes) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    stub.emplace(grpc::CreateCustomChannel(aim.target, grpc::InsecureChannelCredentials(), arguments));
    if (kDoes != Does::kReceive) input.emplace(aim);
    if (kDoes != Does::kSend) output.emplace(aim, 0.0f);
    Infer("sink");
  }
  ~GenericTensor() override { queue.Shutdown(); }
  void Make(int calls, int, Latencies& latencies) override {
    for (int i = 0; i < calls; ++i) {
      const auto from = Clock::now();
      const grpc::ByteBuffer response = Infer(ModelFor(kDoes, bytes));
      if (kDoes != Does::kSend) {
        CopyTail(response);
        Check(output->lent(), bytes);
      }
      latencies.Add(from);
    }
  }
  grpc::ByteBuffer Infer(const std::string& model) {
    const std::span<const float> sent = input ? input->lent() : std::span<const float>(kTiny);
    open::ModelInferRequest request;
    request.set_model_name(model);
    RawOpen::Describe(request, "tensor", sent);
    std::string head = request.SerializeAsString();
    google::protobuf::io::StringOutputStream appended(&head);
    google::protobuf::io::CodedOutputStream out(&appended);
    out.WriteTag(open::ModelInferRequest::kRawInputContentsFieldNumber << 3 | 2);
    out.WriteVarint64(sent.size_bytes());
    out.Trim();
    const std::array<grpc::Slice, 2> slices{grpc::Slice(head),
                                            grpc::Slice(sent.data(), sent.size_bytes(), grpc::Slice::STATIC_SLICE)};
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
    grpc::ByteBuffer response;
    grpc::Status status;
    const auto call = stub->PrepareUnaryCall(&context, "/inference.GRPCInferenceService/ModelInfer",
                                             grpc::ByteBuffer(slices.data(), slices.size()), &queue);
    call->StartCall();
    call->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    Expect(status);
    return response;
  }
  // The tensor is what an answer ends with.
  void CopyTail(const grpc::ByteBuffer& response) {
    std::vector<grpc::Slice> slices;
    if (response.Length() < bytes || !response.Dump(&slices).ok()) Give("the answer holds no tensor");
    std::size_t skip = response.Length() - bytes;
    auto to = std::as_writable_bytes(output->room()).begin();
    for (const grpc::Slice& slice : slices) {
      const std::span<const std::byte> piece = std::as_bytes(std::span(slice.begin(), slice.size()));
      const std::size_t skipped = std::min(skip, piece.size());
      to = std::copy(piece.begin() + static_cast<std::ptrdiff_t>(skipped), piece.end(), to);
      skip -= skipped;
    }
  }
  const std::size_t bytes;
  std::optional<grpc::GenericStub> stub;
  grpc::CompletionQueue queue;
  std::optional<Buffer> input, output;
};

// `kInto`: into the caller's buffer. Otherwise the result keeps what was received in the pieces in which it came.
template <Does kDoes, bool kInto = true>
struct OursTensor final : OursOpen {
  explicit OursTensor(const Aim& aim) : OursOpen(aim, ModelFor(kDoes, aim.bytes)), bytes(aim.bytes) {
    if (kDoes != Does::kReceive) input.emplace(aim);
    if (kDoes != Does::kSend && kInto) output.emplace(aim, 0.0f);
    Expect(inferwire::InferenceClient<inferwire::OpenInference>(model.client())
               .GetModel("sink", {.check = false})
               .Infer({{"tensor", Sent(), {1, static_cast<std::int64_t>(Sent().size())}}})
               .status());
  }
  std::span<const float> Sent() const { return input ? input->lent() : std::span<const float>(kTiny); }
  void Make(int calls, int, Latencies& latencies) override {
    for (int i = 0; i < calls; ++i) {
      const auto from = Clock::now();
      InferRequest request{{"tensor", Sent(), {1, static_cast<std::int64_t>(Sent().size())}}};
      if (output) request.set_output_buffer("tensor", output->room());
      const InferResult result = Infer(std::move(request));
      if (output) {
        Check(output->lent(), bytes);
      } else if (kDoes != Does::kSend) {
        CheckPieces(result);
      }
      latencies.Add(from);
    }
  }
  void CheckPieces(const InferResult& result) const {
    std::size_t size = 0;
    for (const auto& output_of_result : result.outputs()) {
      for (const std::span<const std::byte> piece : output_of_result.chunks()) size += piece.size();
    }
    if (size != bytes) Give("the tensor that came is not the one that was expected");
  }
  double KeptBytes() const override { return kDoes == Does::kSend || kInto ? 0 : static_cast<double>(bytes); }
  const std::size_t bytes;
  std::optional<Buffer> input, output;
};

template <Does kDoes>
struct TcpTensor final : Way {
  explicit TcpTensor(const Aim& aim) : socket(Socket::Connect(aim.target)), input(aim), output(aim, 0.0f) {}
  void Make(int calls, int, Latencies& latencies) override {
    const TcpRequest request{kDoes != Does::kReceive ? input.floats.size() * sizeof(float) : 0,
                             kDoes != Does::kSend ? input.floats.size() * sizeof(float) : 1};
    for (int i = 0; i < calls; ++i) {
      const auto from = Clock::now();
      socket.Write(std::as_bytes(std::span(&request, 1)));
      if (request.sent > 0) socket.Write(std::as_bytes(input.lent()));
      socket.Read(std::as_writable_bytes(output.room()).first(request.answered));
      if (kDoes != Does::kSend) Check(output.lent(), request.answered);
      latencies.Add(from);
    }
  }
  Socket socket;
  Buffer input, output;
};

struct Memcpy final : Way {
  explicit Memcpy(const Aim& aim) : input(aim), output(aim, 0.0f) {}
  void Make(int calls, int, Latencies& latencies) override {
    for (int i = 0; i < calls; ++i) {
      const auto from = Clock::now();
      std::memcpy(output.floats.data(), input.floats.data(), input.floats.size() * sizeof(float));
      Check(output.lent(), input.floats.size() * sizeof(float));
      latencies.Add(from);
    }
  }
  Buffer input, output;
};

}  // namespace

void AddTensors(Ways& ways) {
  ways["raw_send"] = Make<RawTensor<Does::kSend>>();
  ways["raw_receive"] = Make<RawTensor<Does::kReceive>>();
  ways["raw_echo"] = Make<RawTensor<Does::kEcho>>();
  ways["generic_send"] = Make<GenericTensor<Does::kSend>>();
  ways["generic_receive"] = Make<GenericTensor<Does::kReceive>>();
  ways["generic_echo"] = Make<GenericTensor<Does::kEcho>>();
  ways["ours_send"] = Make<OursTensor<Does::kSend>>();
  ways["ours_receive"] = Make<OursTensor<Does::kReceive>>();
  ways["ours_receive_pieces"] = Make<OursTensor<Does::kReceive, false>>();
  ways["ours_echo"] = Make<OursTensor<Does::kEcho>>();
  ways["tcp_send"] = Make<TcpTensor<Does::kSend>>();
  ways["tcp_receive"] = Make<TcpTensor<Does::kReceive>>();
  ways["tcp_echo"] = Make<TcpTensor<Does::kEcho>>();
  ways["memcpy"] = Make<Memcpy>();
}

}  // namespace bench
