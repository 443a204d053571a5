// SPDX-License-Identifier: Apache-2.0
#include "inferwire/contract/typed_contents.h"

#include <google/protobuf/unknown_field_set.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "support/catch.h"
#include "support/open_inference.h"

using namespace inferwire;  // NOLINT
using Typed = TypedContents<OpenInference>;

namespace {

template <class T>
open_inference::InferTensorContents Contents(std::vector<T> elements) {
  const auto n = static_cast<std::int64_t>(elements.size());
  const auto message = Typed::Encode({{"x", std::move(elements), {n}}});
  REQUIRE(message.ok());
  CHECK(message->raw_input_contents_size() == 0);
  REQUIRE(message->inputs(0).has_contents());
  return message->inputs(0).contents();
}

}  // namespace

TEST_CASE("typed requests say each datatype in its own field", "[contract]") {
  CHECK(Contents<bool>({true, false}).bool_contents(0));
  CHECK(Contents<std::int8_t>({-5}).int_contents(0) == -5);
  CHECK(Contents<std::int16_t>({-300}).int_contents(0) == -300);
  CHECK(Contents<std::int32_t>({-5, 70'000}).int_contents(1) == 70'000);
  CHECK(Contents<std::int64_t>({-1}).int64_contents(0) == -1);
  CHECK(Contents<std::uint8_t>({255}).uint_contents(0) == 255);
  CHECK(Contents<std::uint16_t>({65'535}).uint_contents(0) == 65'535);
  CHECK(Contents<std::uint32_t>({4'000'000'000}).uint_contents(0) == 4'000'000'000);
  CHECK(Contents<std::uint64_t>({~std::uint64_t{0}}).uint64_contents(0) == ~std::uint64_t{0});
  CHECK(Contents<float>({0.5f}).fp32_contents(0) == 0.5f);
  CHECK(Contents<double>({0.25}).fp64_contents(0) == 0.25);
  CHECK(Contents<std::string>({"a", std::string("\0b", 2)}).bytes_contents(1) == std::string("\0b", 2));
  CHECK(Contents<float>({}).fp32_contents_size() == 0);
}

TEST_CASE("16-bit floats have no typed form", "[contract][trap]") {
  const absl::Status status = Typed::Encode({{"h", std::vector<Float16>(2), {2}}}).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(status.message() == "input 'h': FP16 exists only as raw contents, and typed ones are sent here");
  CHECK_FALSE(Typed::Encode({{"b", std::vector<BFloat16>(2), {2}}}).ok());
}

TEST_CASE("a typed dialect refuses what the dialect refuses", "[contract]") {
  InferRequest request = {{"x", std::vector<float>{1}, {1}}};
  request.set_parameter("ratio", 0.5);
  CHECK_FALSE(TypedContents<OpenInferenceKServe>::Encode(request).ok());
  CHECK(Typed::Encode(request).ok());
}

TEST_CASE("TorchServe's dialect sends typed contents by itself", "[contract]") {
  const auto message = OpenInferenceTorchServe::Encode({{"x", std::vector<float>{0.5f, 2}, {2}}});
  REQUIRE(message.ok());
  CHECK(message->raw_input_contents_size() == 0);
  CHECK(message->inputs(0).contents().fp32_contents_size() == 2);
  const absl::Status half = OpenInferenceTorchServe::Encode({{"h", std::vector<Float16>(2), {2}}}).status();
  CHECK(half.code() == absl::StatusCode::kInvalidArgument);
  InferRequest request = {{"x", std::vector<float>{1}, {1}}};
  request.set_parameter("ratio", 0.5);
  CHECK_FALSE(OpenInferenceTorchServe::Encode(request).ok());
}

namespace {

// An answer with packed numbers in one field, as bytes.
std::string Packed(const std::string& datatype, int field, std::int64_t count, const std::string& packed) {
  open_inference::ModelInferResponse response;
  auto& output = *response.add_outputs();
  output.set_name("x");
  output.set_datatype(datatype);
  output.add_shape(count);
  google::protobuf::UnknownFieldSet& unknown =
      *output.mutable_contents()->GetReflection()->MutableUnknownFields(output.mutable_contents());
  unknown.AddLengthDelimited(field, packed);
  return response.SerializeAsString();
}

absl::StatusOr<InferResult> Read(const std::string& bytes, std::size_t piece = 0) {
  return OpenInference::Decode(inferwire_test::InPieces(bytes, piece));
}

// In pieces that the system takes back one by one, whatever the allocator does.
detail::wire::Reply Mapped(const std::string& bytes) {
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  std::vector<grpc::Slice> slices;
  for (std::size_t at = 0; at < bytes.size(); at += kPiece) {
    const std::size_t size = std::min(kPiece, bytes.size() - at);
    void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    std::memcpy(memory, bytes.data() + at, size);
    slices.emplace_back(memory, size, [](void* mapped, std::size_t length) { munmap(mapped, length); });
  }
  grpc::ByteBuffer buffer(slices.data(), slices.size());
  detail::wire::Reply reply;
  REQUIRE(grpc::SerializationTraits<detail::wire::Reply>::Deserialize(&buffer, &reply).ok());
  return reply;
}

// Where the system tells it: the most memory that the process has had since `Reset`, in bytes.
class PeakMemory {
 public:
  static bool Known() {
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return false;
#endif
#endif
    return std::ofstream("/proc/self/clear_refs").good() && Field("VmHWM:") > 0;
#else
    return false;
#endif
  }
  void Reset() {
    std::ofstream("/proc/self/clear_refs") << "5";
    before_ = Field("VmRSS:");
  }
  std::int64_t Taken() const { return Field("VmHWM:") - before_; }

 private:
  static std::int64_t Field(std::string_view name) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with(name)) return std::atoll(line.c_str() + name.size()) * 1024;
    }
    return 0;
  }
  std::int64_t before_ = 0;
};

}  // namespace

TEST_CASE("packed numbers are read wherever they are cut", "[contract]") {
  const std::string varints("\x01\xac\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", 14);
  const std::string doubles = std::string(8, '\0') + std::string("\0\0\0\0\0\0\xe0\x3f", 8);
  for (std::size_t piece = 0; piece < 20; ++piece) {
    const auto numbers = Read(Packed("INT64", 3, 4, varints), piece);
    INFO(numbers.status().ToString());
    REQUIRE(numbers.ok());
    const auto elements = *numbers->Get<std::int64_t>("x");
    CHECK(std::vector<std::int64_t>(elements.begin(), elements.end()) == std::vector<std::int64_t>{1, 300, -1, 0});
    const auto floats = Read(Packed("FP64", 7, 2, doubles), piece);
    REQUIRE(floats.ok());
    CHECK((*floats->Get<double>("x"))[1] == 0.5);
    // Cut short, and too long.
    CHECK_FALSE(Read(Packed("INT64", 3, 1, "\x80"), piece).ok());
    CHECK_FALSE(Read(Packed("INT64", 3, 1, std::string(10, '\x80') + "\x01"), piece).ok());
    CHECK_FALSE(Read(Packed("INT64", 3, 1, std::string(9, '\x80') + "\x02"), piece).ok());
    CHECK(Read(Packed("INT64", 3, 1, std::string(9, '\x80') + "\x01"), piece).ok());
    CHECK_FALSE(Read(Packed("FP64", 7, 1, std::string(7, '\0')), piece).ok());
    CHECK_FALSE(Read(Packed("FP32", 6, 2, std::string(7, '\0')), piece).ok());
    CHECK_FALSE(Read(Packed("INT8", 2, 2, std::string("\x01\xc8\x01", 3)), piece).ok());
  }
}

TEST_CASE("typed numbers take the room of their elements, and what arrived goes as they are read",
          "[contract][memory]") {
  if (!PeakMemory::Known()) return;  // the system does not tell, or another allocator is at work
  constexpr std::size_t kCount = std::size_t{24} << 20;
  const auto [datatype, field, width] = GENERATE(
      table<std::string, int, std::size_t>({{"INT64", 3, 8}, {"UINT64", 5, 8}, {"INT32", 2, 4}, {"BOOL", 1, 1}}));
  detail::wire::Reply reply =
      Mapped(Packed(datatype, field, static_cast<std::int64_t>(kCount), std::string(kCount, '\1')));
  PeakMemory peak;
  peak.Reset();
  {
    const auto result = OpenInference::Decode(std::move(reply));
    REQUIRE(result.ok());
    CHECK(result->outputs()[0].size() == kCount);
    CHECK(result->outputs()[0].bytes().back() == (width == 1 ? std::byte{1} : std::byte{0}));
  }
  INFO(datatype << ": " << peak.Taken() << " bytes beyond the " << kCount << " that arrived");
  CHECK(peak.Taken() < static_cast<std::int64_t>(width * kCount - kCount * 3 / 4));
}
