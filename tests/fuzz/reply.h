// SPDX-License-Identifier: Apache-2.0
//
// An answer read in every way there is, and compared with what generated code reads in the same bytes.
#ifndef INFERWIRE_TESTS_FUZZ_REPLY_H_
#define INFERWIRE_TESTS_FUZZ_REPLY_H_

#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "fuzz/heap.h"
#include "fuzz/lenient.pb.h"
#include "inferwire/detail/wire/reader.h"
#include "inferwire/infer_result.h"
#include "inferwire/tensor.h"

namespace inferwire_fuzz {

/// What an answer of so many bytes may take: at most 4096 tensors and as many parameters are kept, none of which takes
/// more than half a KiB. Typed numbers arrive in as little as a byte and are 8 bytes wide: those are not raw.
inline std::size_t MostForReply(std::string_view bytes) {
  bool raw = false;
  inferwire::detail::wire::Reader reader(bytes);
  while (reader.Next()) raw = raw || reader.field() == 6;
  return Twice(bytes.size(), 256, std::size_t{4} << 20, raw ? 2 : 8);
}

template <class T>
void CheckNumbers(const inferwire::InferResult& result, const inferwire::InferOutput& output,
                  const std::string& bytes) {
  const auto get = result.Get<T>(output.name());
  if (output.datatype() != inferwire::DataTypeOf<T>) return Require(!get.ok(), "a wrong type is refused");
  Require(get.ok() && get->size() == output.size() && get->size_bytes() == bytes.size(), "an output has its elements");
  Require(reinterpret_cast<std::uintptr_t>(get->data()) % alignof(T) == 0, "elements are aligned");
  if (!bytes.empty()) Require(std::memcmp(get->data(), bytes.data(), bytes.size()) == 0, "Get reads what came");
  const std::unique_ptr<T[]> to(new T[get->size() + 1]);
  Require(result.CopyTo(output.name(), std::span(to.get(), get->size())).ok(), "CopyTo copies");
  if (!bytes.empty()) Require(std::memcmp(to.get(), bytes.data(), bytes.size()) == 0, "CopyTo copies what came");
  Require(!result.CopyTo(output.name(), std::span(to.get(), get->size() + 1)).ok(), "a wrong size is refused");
}

/// The elements as they lie in memory, each string behind its length; read in every way, all of which must agree.
inline std::string ReadAll(const inferwire::InferResult& result, const inferwire::InferOutput& output) {
  std::string bytes;
  for (const auto chunk : output.chunks()) {
    Require(!chunk.empty(), "no chunk is empty");
    bytes.append(reinterpret_cast<const char*>(chunk.data()), chunk.size());
  }
  const auto count = inferwire::ElementCount(output.shape());
  Require(count.ok() && static_cast<std::uint64_t>(*count) == output.size(), "the shape holds the elements");
  const auto strings = result.Get<std::string_view>(output.name());
  Require(strings.ok() == (output.datatype() == inferwire::DataType::kBytes), "strings are for BYTES");
  if (strings.ok()) {
    std::string joined;
    for (const std::string_view element : *strings) {
      const auto length = static_cast<std::uint32_t>(element.size());
      joined.append(reinterpret_cast<const char*>(&length), 4).append(element);
    }
    Require(strings->size() == output.size() && joined == bytes, "the strings are what came");
    Require(output.bytes().empty(), "BYTES have no bytes()");
  } else {
    const auto flat = output.bytes();
    Require(std::string_view(reinterpret_cast<const char*>(flat.data()), flat.size()) == bytes, "bytes() is what came");
  }
  CheckNumbers<bool>(result, output, bytes);
  CheckNumbers<std::int8_t>(result, output, bytes);
  CheckNumbers<std::int16_t>(result, output, bytes);
  CheckNumbers<std::int32_t>(result, output, bytes);
  CheckNumbers<std::int64_t>(result, output, bytes);
  CheckNumbers<std::uint8_t>(result, output, bytes);
  CheckNumbers<std::uint16_t>(result, output, bytes);
  CheckNumbers<std::uint32_t>(result, output, bytes);
  CheckNumbers<std::uint64_t>(result, output, bytes);
  CheckNumbers<inferwire::Float16>(result, output, bytes);
  CheckNumbers<inferwire::BFloat16>(result, output, bytes);
  CheckNumbers<float>(result, output, bytes);
  CheckNumbers<double>(result, output, bytes);
  return bytes;
}

/// The same of typed contents as generated code read them.
inline std::string TypedBytes(inferwire::DataType type, const inferwire::fuzz::Contents& contents) {
  using enum inferwire::DataType;
  std::string out;
  const auto put = [&]<class T>(T, const auto& numbers) {
    for (const auto number : numbers) {
      const T element = static_cast<T>(number);
      out.append(reinterpret_cast<const char*>(&element), sizeof element);
    }
  };
  switch (type) {
    case kBool:
      put(bool(), contents.bool_contents());
      break;
    case kInt8:
      put(std::int8_t(), contents.int_contents());
      break;
    case kInt16:
      put(std::int16_t(), contents.int_contents());
      break;
    case kInt32:
      put(std::int32_t(), contents.int_contents());
      break;
    case kInt64:
      put(std::int64_t(), contents.int64_contents());
      break;
    case kUint8:
      put(std::uint8_t(), contents.uint_contents());
      break;
    case kUint16:
      put(std::uint16_t(), contents.uint_contents());
      break;
    case kUint32:
      put(std::uint32_t(), contents.uint_contents());
      break;
    case kUint64:
      put(std::uint64_t(), contents.uint64_contents());
      break;
    case kFp32:
      put(float(), contents.fp32_contents());
      break;
    case kFp64:
      put(double(), contents.fp64_contents());
      break;
    case kBytes:
      for (const auto& element : contents.bytes_contents()) {
        const auto length = static_cast<std::uint32_t>(element.size());
        out.append(reinterpret_cast<const char*>(&length), 4).append(element);
      }
      break;
    case kFp16:
    case kBf16:
      Require(false, "a datatype without typed contents was read from some");
  }
  return out;
}

/// Whether a parameter is what generated code read, bit by bit: a NaN is one.
inline bool Equal(const inferwire::Parameter& ours, const inferwire::fuzz::Value& theirs) {
  using inferwire::fuzz::Value;
  switch (theirs.choice_case()) {
    case Value::kBoolParam:
      return ours == inferwire::Parameter(theirs.bool_param());
    case Value::kInt64Param:
      return ours == inferwire::Parameter(std::int64_t{theirs.int64_param()});
    case Value::kStringParam:
      return ours == inferwire::Parameter(std::string(theirs.string_param()));
    case Value::kDoubleParam: {
      const double* const number = std::get_if<double>(&ours);
      const double expected = theirs.double_param();
      return number != nullptr && std::memcmp(number, &expected, sizeof expected) == 0;
    }
    case Value::kUint64Param:
      if (const auto* const number = std::get_if<std::int64_t>(&ours)) {
        return *number >= 0 && static_cast<std::uint64_t>(*number) == theirs.uint64_param();
      }
      return ours == inferwire::Parameter(static_cast<double>(theirs.uint64_param()));
    case Value::CHOICE_NOT_SET:
      break;
  }
  return false;
}

inline void CheckParameters(const inferwire::Parameters& ours,
                            const google::protobuf::RepeatedPtrField<inferwire::fuzz::Entry>& theirs) {
  std::map<std::string, const inferwire::fuzz::Value*> last;
  for (const auto& entry : theirs) {
    if (entry.value().choice_case() != inferwire::fuzz::Value::CHOICE_NOT_SET) last[entry.key()] = &entry.value();
  }
  Require(ours.size() == last.size(), "there are as many parameters");
  for (const auto& [key, value] : last) {
    const auto found = ours.find(key);
    Require(found != ours.end() && Equal(found->second, *value), "a parameter is what came");
  }
}

/// All of an answer against what generated code made of it.
inline void CheckResult(const inferwire::InferResult& result, const inferwire::fuzz::Response& theirs) {
  Require(
      result.model() == theirs.model_name() && result.version() == theirs.model_version() && result.id() == theirs.id(),
      "names are what came");
  CheckParameters(result.parameters(), theirs.parameters());
  const auto outputs = static_cast<std::size_t>(theirs.outputs_size());
  Require(result.outputs().size() + result.placed_outputs().size() == outputs, "all outputs are there");
  std::size_t next = 0, placed = 0;
  for (int i = 0; i < theirs.outputs_size(); ++i) {
    const auto& tensor = theirs.outputs(i);
    const inferwire::Shape shape(
        std::span<const std::int64_t>(tensor.shape().data(), static_cast<std::size_t>(tensor.shape_size())));
    if (next == result.outputs().size() || result.outputs()[next].name() != tensor.name()) {
      Require(placed < result.placed_outputs().size(), "outputs keep their order");
      const inferwire::PlacedOutput& output = result.placed_outputs()[placed++];
      Require(output.name == tensor.name() && output.shape == shape &&
                  inferwire::DataTypeName(output.datatype) == std::string_view(tensor.datatype()),
              "a placed output is what came");
      continue;
    }
    const inferwire::InferOutput& output = result.outputs()[next++];
    Require(
        output.shape() == shape && inferwire::DataTypeName(output.datatype()) == std::string_view(tensor.datatype()),
        "shape and datatype are what came");
    const std::string expected = theirs.raw_output_contents_size() > 0
                                     ? std::string(theirs.raw_output_contents(i))
                                     : TypedBytes(output.datatype(), tensor.contents());
    Require(ReadAll(result, output) == expected, "elements are what came");
  }
}

}  // namespace inferwire_fuzz

#endif  // INFERWIRE_TESTS_FUZZ_REPLY_H_
