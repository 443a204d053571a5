// SPDX-License-Identifier: Apache-2.0
//
// What real servers of language models answered, and how a contract understands it.
#ifndef INFERWIRE_TESTS_SUPPORT_GENERATION_H_
#define INFERWIRE_TESTS_SUPPORT_GENERATION_H_

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <deque>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/detail/contract/generation_table.h"
#include "inferwire/detail/generation/assembler.h"
#include "inferwire/generation.h"
#include "support/catch.h"

namespace inferwire_test {

inline std::string FromHex(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return out;
}

/// One call of tests/data/captures/NAME.json.
struct CapturedCall {
  std::string name, path, status;
  std::string request;                // serialised
  std::vector<std::string> messages;  // the same
};

inline std::vector<CapturedCall> Captured(const std::string& name) {
  std::ifstream file(std::string(INFERWIRE_CAPTURES) + "/" + name + ".json");
  std::stringstream text;
  text << file.rdbuf();
  google::protobuf::Struct all;
  REQUIRE(google::protobuf::util::JsonStringToMessage(text.str(), &all).ok());
  std::vector<CapturedCall> out;
  const auto string = [](const google::protobuf::Struct& from, const char* key) {
    const auto found = from.fields().find(key);
    return found != from.fields().end() ? std::string(found->second.string_value()) : std::string();
  };
  for (const auto& value : all.fields().at("calls").list_value().values()) {
    const google::protobuf::Struct& call = value.struct_value();
    CapturedCall& one = out.emplace_back();
    one.name = string(call, "name");
    one.path = string(call, "path");
    one.status = string(call, "status");
    one.request = FromHex(string(call, "request_hex"));
    for (const auto& message : call.fields().at("messages").list_value().values()) {
      one.messages.push_back(FromHex(string(message.struct_value(), "hex")));
    }
  }
  return out;
}

/// Of these messages of a stream, what a reader would get.
struct Assembled {
  std::vector<inferwire::GenerationDelta> deltas;
  inferwire::GenerationUsage usage;
  absl::Status status;

  std::string text(int index = 0) const {
    std::string out;
    for (const auto& delta : deltas) out += delta.index == index ? delta.text : "";
    return out;
  }
  std::vector<std::int32_t> token_ids(int index = 0) const {
    std::vector<std::int32_t> out;
    for (const auto& delta : deltas) {
      if (delta.index == index) out.insert(out.end(), delta.token_ids.begin(), delta.token_ids.end());
    }
    return out;
  }
  /// Of the last delta.
  std::optional<inferwire::FinishReason> finish_reason() const {
    return deltas.empty() ? std::nullopt : deltas.back().finish_reason;
  }
};
inline inferwire::detail::wire::Reply ReplyOf(const std::string& bytes) {
  grpc::Slice slice(bytes);
  inferwire::detail::wire::Reply reply;
  grpc::ByteBuffer buffer(&slice, 1);
  static_cast<void>(grpc::SerializationTraits<inferwire::detail::wire::Reply>::Deserialize(&buffer, &reply));
  return reply;
}
/// `decode`: a table's, for the method that was called.
inline Assembled Assemble(inferwire::detail::Decoder<inferwire::GenerationChunk> decode,
                          const std::vector<std::string>& messages, inferwire::detail::Assembler::Terms terms = {}) {
  Assembled out;
  inferwire::detail::Assembler assembler(std::move(terms));
  std::deque<inferwire::GenerationDelta> deltas;
  for (const std::string& message : messages) {
    inferwire::GenerationChunk chunk;
    if (out.status.ok()) out.status = decode(ReplyOf(message), chunk);
    if (out.status.ok()) out.status = assembler.Feed(std::move(chunk), deltas);
  }
  if (out.status.ok()) out.status = assembler.Close(deltas);
  for (auto& delta : deltas) out.deltas.push_back(std::move(delta));
  out.usage = assembler.usage();
  return out;
}

template <class C>
inferwire::GenerationClient<C> ConnectTo(const std::string& target, inferwire::ClientOptions options = {}) {
  options.targets = {target};
  options.credentials = inferwire::Insecure();
  auto client = inferwire::GenerationClient<C>::Create(std::move(options));
  REQUIRE(client.ok());
  return *std::move(client);
}

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_GENERATION_H_
