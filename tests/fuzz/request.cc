// SPDX-License-Identifier: Apache-2.0
//
// Requests made of what the input says: what Validate lets through is written, and generated code reads the same.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/heap.h"
#include "fuzz/lenient.pb.h"
#include "fuzz/pieces.h"
#include "inferwire/detail/contract/open_inference_codec.h"

using inferwire::DataType;
using inferwire::InferInput;
using inferwire::InferRequest;
using inferwire::OpenInferenceCodec;
using inferwire::Parameter;
using inferwire::Shape;
using inferwire_fuzz::Require;

namespace {

// What the input decides, from its begin to its end and then zeros.
class Choices {
 public:
  explicit Choices(std::string_view bytes) : rest_(bytes) {}
  std::uint8_t Byte() {
    if (rest_.empty()) return 0;
    const auto byte = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return byte;
  }
  bool Coin() { return (Byte() & 1) != 0; }
  std::size_t Below(std::size_t bound) { return Byte() % bound; }
  std::int64_t Number() {
    std::uint64_t value = 0;
    for (std::size_t i = Below(9); i > 0; --i) value = value << 8 | Byte();
    return static_cast<std::int64_t>(value);
  }
  std::string Bytes(std::size_t count) {
    std::string out(rest_.substr(0, count));
    rest_.remove_prefix(out.size());
    return out;
  }
  // ASCII: generated code, which is to write the same, complains of what is no UTF-8.
  std::string Text() {
    static constexpr std::string_view kReserved[] = {
        "timeout",  "priority",       "sequence_id",          "sequence_start",
        "triton_x", "classification", "shared_memory_region", "binary_data",
        "headers"};
    const std::size_t kind = Below(40);
    if (kind < std::size(kReserved)) return std::string(kReserved[kind]);
    std::string out = Bytes(kind - std::size(kReserved));
    for (char& c : out) c = static_cast<char>(c & 0x7f);
    return out;
  }
  Parameter Value() {
    switch (Below(4)) {
      case 0:
        return Coin();
      case 1:
        return Number();
      case 2:
        return std::bit_cast<double>(Number());
      default:
        return Text();
    }
  }

 private:
  std::string_view rest_;
};

std::size_t Elements(Choices& choices) {
  // Around where tensors are sent from where they lie.
  if (choices.Below(16) == 0) return OpenInferenceCodec::kSentInPlace - 4 + choices.Below(8);
  return choices.Below(20);
}
Shape ShapeOf(Choices& choices, std::size_t elements) {
  const auto count = static_cast<std::int64_t>(elements);
  switch (choices.Below(8)) {
    case 0:
      return {choices.Number(), choices.Number()};
    case 1:
      return {1, 1, 1, 1, 1, count};
    case 2:
      return count == 1 ? Shape() : Shape{count, 1};
    default:
      return {count};
  }
}

InferInput Input(Choices& choices, std::vector<std::shared_ptr<std::string>>& lent) {
  std::string name = choices.Text();
  const std::size_t kind = choices.Below(17);
  if (kind == 14) {
    return InferInput(
        std::move(name),
        {choices.Text(), static_cast<std::uint64_t>(choices.Number()), static_cast<std::uint64_t>(choices.Number())},
        static_cast<DataType>(choices.Below(14)), {choices.Number()});
  }
  const auto type = static_cast<DataType>(kind % 14);
  const std::size_t count = Elements(choices);
  Shape shape = ShapeOf(choices, count);
  if (type == DataType::kBytes) {
    std::vector<std::string> strings(count > 20 ? 2 : count);
    for (std::string& element : strings) element = choices.Bytes(choices.Below(12));
    if (count > 20) strings[1].resize(count), shape = {2};
    return InferInput(std::move(name), std::move(strings), std::move(shape));
  }
  auto bytes = std::make_shared<std::string>(choices.Bytes((std::min<std::size_t>)(count, 16)));
  bytes->resize(count * inferwire::ElementSize(type));
  const auto view = std::as_bytes(std::span<const char>(*bytes));
  if (choices.Coin()) return InferInput::FromBytes(std::move(name), type, view, std::move(shape), bytes);
  lent.push_back(bytes);
  return InferInput::FromBytes(std::move(name), type, view, std::move(shape));
}

InferRequest Request(Choices& choices, std::vector<std::shared_ptr<std::string>>& lent) {
  InferRequest request;
  request.set_model(choices.Text());
  request.set_version(choices.Text());
  request.set_id(choices.Text());
  if (choices.Coin()) request.set_priority(choices.Number());
  if (choices.Coin()) request.set_queue_timeout(absl::Nanoseconds(choices.Number()));
  if (choices.Coin()) {
    inferwire::SequenceStep step;
    if (choices.Coin()) {
      step.id = choices.Text();
    } else {
      step.id = choices.Number();
    }
    step.start = choices.Coin();
    step.end = choices.Coin();
    request.set_sequence(std::move(step));
  }
  for (std::size_t i = choices.Below(4); i > 0; --i) {
    std::string key = choices.Text();
    request.set_parameter(std::move(key), choices.Value());
  }
  for (std::size_t i = choices.Below(4); i > 0; --i) {
    InferInput input = Input(choices, lent);
    for (std::size_t k = choices.Below(3); k > 0; --k) {
      std::string key = choices.Text();
      input.set_parameter(std::move(key), choices.Value());
    }
    request.add_input(std::move(input));
  }
  for (std::size_t i = choices.Below(4); i > 0; --i) {
    inferwire::RequestedOutput output;
    output.name = choices.Text();
    if (choices.Coin()) output.classification = choices.Number();
    if (choices.Coin()) {
      output.placement = {choices.Text(), static_cast<std::uint64_t>(choices.Number()),
                          static_cast<std::uint64_t>(choices.Number())};
    }
    for (std::size_t k = choices.Below(3); k > 0; --k) {
      std::string key = choices.Text();
      output.parameters.insert_or_assign(std::move(key), choices.Value());
    }
    request.add_output(std::move(output));
  }
  return request;
}

std::string BytesOf(const inferwire::detail::wire::Payload& payload) {
  std::string out;
  for (const grpc::Slice& slice : payload.slices()) {
    out.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  Require(out.size() == payload.size(), "a payload knows its size");
  return out;
}

// Maps have no order on the wire.
void Sort(google::protobuf::RepeatedPtrField<inferwire::fuzz::Entry>& parameters) {
  std::sort(parameters.pointer_begin(), parameters.pointer_end(),
            [](const auto* a, const auto* b) { return a->key() < b->key(); });
}
std::string Sorted(inferwire::fuzz::Request message) {
  Sort(*message.mutable_parameters());
  for (auto& tensor : *message.mutable_inputs()) Sort(*tensor.mutable_parameters());
  for (auto& output : *message.mutable_outputs()) Sort(*output.mutable_parameters());
  return message.SerializeAsString();
}

std::string Raw(const InferInput& input) {
  if (input.datatype() != DataType::kBytes) {
    return std::string(reinterpret_cast<const char*>(input.bytes().data()), input.bytes().size());
  }
  std::string out;
  for (const std::string& element : input.strings()) {
    const auto length = static_cast<std::uint32_t>(element.size());
    out.append(reinterpret_cast<const char*>(&length), 4).append(element);
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Choices choices(std::string_view(reinterpret_cast<const char*>(data), size));
  std::vector<std::shared_ptr<std::string>> lent;
  const InferRequest request = Request(choices, lent);
  const absl::Status valid = request.Validate();
  if (!valid.ok()) {
    Require(valid.code() == absl::StatusCode::kInvalidArgument && !valid.message().empty(), "a refusal says why");
    return 0;
  }
  // Elements are not copied where there are many.
  const auto payload =
      inferwire_fuzz::Within(64 * size + (std::size_t{256} << 10), [&] { return OpenInferenceCodec::Encode(request); });
  const auto header = OpenInferenceCodec::EncodeHeader(request);
  Require(payload.ok() == header.ok(), "both ways of writing refuse the same");
  if (!payload.ok()) {
    Require(payload.status().code() == absl::StatusCode::kInvalidArgument, "a refusal is INVALID_ARGUMENT");
    return 0;
  }
  inferwire::fuzz::Request whole, expected;
  const std::string bytes = BytesOf(*payload);
  Require(whole.ParseFromString(bytes), "what is written is a message");
  Require(expected.ParseFromString(header->SerializeAsString()), "and so is what generated code writes");
  for (const InferInput& input : request.inputs()) {
    if (!input.placement().has_value()) expected.add_raw_input_contents(Raw(input));
  }
  Require(Sorted(whole) == Sorted(expected), "both say the same");
  Require(BytesOf(inferwire::detail::wire::Owned(*payload)) == bytes, "and so does a copy that lends nothing");
  return 0;
}
