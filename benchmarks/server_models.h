// SPDX-License-Identifier: Apache-2.0
//
// Open Inference models that look at no tensor, so that what is measured is the client and the way: "sink" answers
// none, "source:N" one of N bytes, and "echo" (or any other name) the ones that it got.
#ifndef INFERWIRE_BENCHMARKS_SERVER_MODELS_H_
#define INFERWIRE_BENCHMARKS_SERVER_MODELS_H_

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <inferwire/contract/open_inference.pb.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

using Bytes = std::vector<grpc::Slice>;

inline std::size_t SizeOf(const Bytes& bytes) {
  std::size_t size = 0;
  for (const grpc::Slice& slice : bytes) size += slice.size();
  return size;
}
inline void PutVarint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

/// Where a request's raw contents begin, and its model. Its fields come in the order of their numbers, as every
/// protobuf library writes them.
struct Head {
  explicit Head(std::string_view text) {
    while (end < text.size() && text[end] != kRawInput) {
      const char tag = text[end];
      std::size_t at = end + 1;
      std::size_t length = 0;
      for (int shift = 0; at < text.size(); shift += 7) {
        const auto byte = static_cast<unsigned char>(text[at++]);
        length |= static_cast<std::size_t>(byte & 0x7f) << shift;
        if (byte < 0x80) break;
      }
      if (tag == kModelName) model = text.substr(at, length);
      end = at + length;
    }
    end = std::min(end, text.size());
  }
  // Tags of ModelInferRequest and ModelInferResponse, which agree in all that comes before the raw contents.
  static constexpr char kModelName = 1 << 3 | 2, kRawInput = 7 << 3 | 2, kRawOutput = 6 << 3 | 2;
  std::string_view model;
  std::size_t end = 0;
};

class Models {
 public:
  /// What a model answers; with the mark that servers put on the last answer of a stream, if `last`.
  Bytes Answer(const Bytes& request, bool last) {
    std::string start;  // enough of it
    for (const grpc::Slice& slice : request) {
      if (start.size() >= 1024) break;
      start.append(reinterpret_cast<const char*>(slice.begin()), std::min<std::size_t>(slice.size(), 1024));
    }
    const Head head(start);
    std::string before = start.substr(0, head.end);
    constexpr std::string_view kSource = "source:";
    if (head.model == "sink") {
      before = start.substr(0, 2 + head.model.size());
    } else if (head.model.starts_with(kSource)) {
      return Source(std::strtoull(std::string(head.model.substr(kSource.size())).c_str(), nullptr, 10));
    }
    if (last) before += kLast;
    Bytes out{grpc::Slice(before)};
    if (head.model == "sink") return out;
    std::size_t skip = head.end;
    for (const grpc::Slice& slice : request) {
      if (skip >= slice.size()) {
        skip -= slice.size();
        continue;
      }
      out.push_back(skip == 0 ? slice : slice.sub(skip, slice.size()));
      skip = 0;
    }
    if (out.size() > 1) Retag(out);
    return out;
  }

 private:
  // parameters { key: "triton_final_response" value { bool_param: true } }
  static constexpr std::string_view kLast = "\x22\x1b\x0a\x15triton_final_response\x12\x02\x08\x01";

  // Every raw content has a tag, and only the tags are written anew.
  static void Retag(Bytes& raw) {
    std::string tag(1, Head::kRawOutput);
    const std::size_t size = SizeOf(raw) - raw[0].size();
    if (size <= 4096) {  // small requests, of any number of tensors
      std::string text;
      for (std::size_t i = 1; i < raw.size(); ++i) {
        text.append(reinterpret_cast<const char*>(raw[i].begin()), raw[i].size());
      }
      for (std::size_t at = 0; at < text.size();) {
        text[at++] = Head::kRawOutput;
        std::size_t length = 0;
        for (int shift = 0; at < text.size(); shift += 7) {
          const auto byte = static_cast<unsigned char>(text[at++]);
          length |= static_cast<std::size_t>(byte & 0x7f) << shift;
          if (byte < 0x80) break;
        }
        at += length;
      }
      raw.resize(1);
      raw.emplace_back(text);
      return;
    }
    raw[1] = raw[1].sub(1, raw[1].size());  // large ones have one tensor
    raw.insert(raw.begin() + 1, grpc::Slice(tag));
  }

  // Made once for each size.
  Bytes Source(std::size_t size) {
    std::lock_guard lock(mutex_);
    Bytes& made = sources_[size];
    if (made.empty()) {
      inferwire::open_inference::ModelInferResponse response;
      auto* const output = response.add_outputs();
      output->set_name("tensor");
      output->set_datatype("FP32");
      output->add_shape(1);
      output->add_shape(static_cast<std::int64_t>(size / sizeof(float)));
      std::string before = response.SerializeAsString();
      before.push_back(Head::kRawOutput);
      PutVarint(before, size);
      made.emplace_back(before);
      grpc::Slice elements(size);
      // The slice is new and nobody else's.
      std::fill_n(reinterpret_cast<float*>(const_cast<std::uint8_t*>(elements.begin())), size / sizeof(float), 0.5f);
      made.push_back(elements);
    }
    return made;
  }

  std::mutex mutex_;
  std::map<std::size_t, Bytes> sources_;
};

/// Calls of any method; those on a stream have answers as Triton wraps them.
class ModelService final : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    return new Call(models_, context->method().ends_with("/ModelStreamInfer"));
  }

 private:
  struct Call final : grpc::ServerGenericBidiReactor {
    Call(Models& served_models, bool stream) : models(served_models), streams(stream) { StartRead(&message); }
    void OnReadDone(bool ok) override {
      if (!ok) return Finish(grpc::Status());
      Bytes request;
      message.Dump(&request);
      Bytes answer = models.Answer(request, streams);
      if (!streams) {
        message = grpc::ByteBuffer(answer.data(), answer.size());
        return StartWriteAndFinish(&message, {}, grpc::Status());
      }
      std::string wrapper(1, 2 << 3 | 2);  // ModelStreamInferResponse.infer_response
      PutVarint(wrapper, SizeOf(answer));
      answer.insert(answer.begin(), grpc::Slice(wrapper));
      message = grpc::ByteBuffer(answer.data(), answer.size());
      StartWrite(&message);
    }
    void OnWriteDone(bool ok) override {
      if (!streams) return;
      if (!ok) return Finish(grpc::Status());
      message.Clear();
      StartRead(&message);
    }
    void OnDone() override { delete this; }
    Models& models;
    const bool streams;
    grpc::ByteBuffer message;
  };

  Models models_;
};

}  // namespace bench

#endif  // INFERWIRE_BENCHMARKS_SERVER_MODELS_H_
