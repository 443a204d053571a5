// SPDX-License-Identifier: Apache-2.0
//
// Answers of servers that lie, err, or mean harm. What finds such by itself is in tests/fuzz.
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "inferwire/detail/wire/writer.h"
#include "inferwire/inference.h"
#include "support/inference.h"
#include "support/open_inference.h"

using inferwire::DataType;
using inferwire::InferResult;
using inferwire::OpenInference;
using inferwire::Shape;
using inferwire::detail::wire::Field;
using inferwire::detail::wire::Varint;
using namespace inferwire_test;  // NOLINT

namespace {

// Of ModelInferResponse, its tensors and their contents.
constexpr std::uint32_t kModel = 1, kVersion = 2, kId = 3, kParameters = 4, kOutputs = 5, kRaw = 6;
constexpr std::uint32_t kName = 1, kDatatype = 2, kShape = 3, kTensorParameters = 4, kContents = 5;
constexpr std::uint32_t kInts = 2, kFloats = 6, kStrings = 8;

const std::string kNoMessage = "the server's answer is no ModelInferResponse";

std::string Times(std::size_t count, std::string_view text) {
  std::string out;
  out.reserve(count * text.size());
  for (std::size_t i = 0; i < count; ++i) out += text;
  return out;
}
std::string Tag(std::uint32_t number, std::uint32_t type) { return Varint(std::uint64_t{number} << 3 | type); }
std::string Number(std::uint32_t number, std::uint64_t value) { return Tag(number, 0) + Varint(value); }

std::string Tensor(std::string_view datatype, std::initializer_list<std::int64_t> shape, std::string_view name = "x") {
  std::string packed;
  for (const std::int64_t dimension : shape) packed += Varint(static_cast<std::uint64_t>(dimension));
  return Field(kName, name) + Field(kDatatype, datatype) + Field(kShape, packed);
}
std::string Raw(std::string_view datatype, std::initializer_list<std::int64_t> shape, std::string_view raw) {
  return Field(kOutputs, Tensor(datatype, shape)) + Field(kRaw, raw);
}
std::string Typed(std::string_view datatype, std::initializer_list<std::int64_t> shape, std::string_view contents) {
  return Field(kOutputs, Tensor(datatype, shape) + Field(kContents, contents));
}
std::string Prefixed(std::uint32_t length, std::string_view bytes) {
  std::string out(4, '\0');
  std::memcpy(out.data(), &length, 4);
  return out.append(bytes);
}
std::string Entry(std::string_view key, std::string_view value) { return Field(1, key) + Field(2, value); }
std::string Double(double value) {
  return inferwire::detail::wire::Written([&](auto& out) { inferwire::detail::wire::PutDouble(out, 4, value); });
}
std::string Nested(std::size_t levels) {
  std::string out;
  for (std::size_t i = 0; i < levels; ++i) out = Field(15, out);
  return out;
}

struct Row {
  std::string sentence;
  std::string bytes;
  std::string says;
};

std::vector<Row> Lies() {
  const std::string x = Field(kOutputs, Tensor("FP32", {1}));
  return {
      // Sizes.
      {"raw contents do not fill the shape", Raw("FP32", {2}, "abcd"), "FP32 [2] does not take 4 bytes"},
      {"raw contents overfill the shape", Raw("FP32", {1}, "abcdefgh"), "FP32 [1] does not take 8 bytes"},
      {"raw contents end within an element", Raw("FP64", {1}, "abcdefg"), "FP64 [1] does not take 7 bytes"},
      {"a tensor without elements has some", Raw("INT8", {3, 0}, "a"), "INT8 [3,0] does not take 1 bytes"},
      {"a dimension is negative", Raw("FP32", {-1}, "abcd"), "negative dimension -1"},
      {"a dimension is negative beside a zero", Raw("FP32", {0, -3}, ""), "negative dimension -3"},
      {"a shape overflows", Raw("FP32", {1LL << 62, 4}, "abcd"), "more than 2^63 - 1 elements"},
      {"a shape's bytes overflow", Raw("FP64", {1LL << 61}, ""), ""},  // none came: as Triton says shared memory
      {"a shape wraps around to what came", Raw("FP64", {(1LL << 61) + 1}, "abcdefgh"), "does not take 8 bytes"},
      {"a shape has 65 dimensions", Field(kOutputs, Field(kShape, Times(65, "\x01"))), "more than 64 dimensions"},
      {"a shape has 65 dimensions one by one", Field(kOutputs, Times(65, Number(kShape, 1))),
       "more than 64 dimensions"},
      {"a shape's numbers are cut off", Field(kOutputs, Field(kShape, "\x80")), kNoMessage},
      // Claims.
      {"10 bytes claim to be 2 GiB of raw contents", std::string("\x32\xff\xff\xff\xff\x07") + "abcd", kNoMessage},
      {"10 bytes claim to be 2 GiB of output", std::string("\x2a\xff\xff\xff\xff\x07") + "abcd", kNoMessage},
      {"10 bytes claim to be 2^64 of them", "\x2a\xff\xff\xff\xff\xff\xff\xff\xff\x01", kNoMessage},
      {"a shape claims 2 GiB that did not come", Typed("FP32", {1LL << 29}, ""), "holds 536870912 elements, but 0"},
      {"a shape claims 2^62 strings that did not come", Typed("BYTES", {1LL << 62}, ""), "elements, but 0 were given"},
      {"packed numbers claim 2 GiB", Typed("FP32", {1}, "\x32\xff\xff\xff\xff\x07"), kNoMessage},
      // BYTES.
      {"a string claims more than there is", Raw("BYTES", {1}, Prefixed(100, "abc")), "claims 100 bytes where 3"},
      {"a string claims 4 GiB", Raw("BYTES", {1}, Prefixed(0xffffffff, "abc")), "claims 4294967295 bytes where 3"},
      {"a string's length is cut off", Raw("BYTES", {1}, "\1\0"), "bytes are left over"},
      {"there is a string too many", Raw("BYTES", {1}, Prefixed(0, "") + Prefixed(0, "")), "but 2 were given"},
      {"there is a string too few", Raw("BYTES", {3}, Prefixed(0, "") + Prefixed(0, "")), "but 2 were given"},
      {"a typed string is too many", Typed("BYTES", {1}, Field(kStrings, "a") + Field(kStrings, "b")), "but 2 were"},
      // Outputs and contents.
      {"an output has no raw contents", x + Raw("FP32", {1}, "abcd"), "2 outputs but 1 raw contents"},
      {"raw contents have no output", Raw("FP32", {1}, "abcd") + Field(kRaw, "abcd"), "1 outputs but 2 raw contents"},
      {"there are raw contents alone", Field(kRaw, "abcd"), "0 outputs but 1 raw contents"},
      {"contents are raw and typed", Typed("FP32", {1}, Field(kFloats, "abcd")) + Field(kRaw, "abcd"),
       "output 'x' has raw and typed contents"},
      {"contents are there twice",
       Field(kOutputs, Tensor("FP32", {1}) + Times(2, Field(kContents, Field(kFloats, "abcd")))),
       "output 'x' has contents twice"},
      {"a name is there twice", x + x + Times(2, Field(kRaw, "abcd")), "output 'x' was given twice"},
      {"a name is there twice, once in shared memory", x + x + Field(kRaw, "abcd") + Field(kRaw, ""),
       "output 'x' was given twice"},
      {"a datatype is unknown", Raw("FLOAT", {1}, "abcd"), "unknown datatype 'FLOAT'"},
      {"a datatype is missing", Raw("", {1}, "abcd"), "unknown datatype ''"},
      {"a datatype is no text", Raw("\xff\xfe", {1}, "abcd"), "unknown datatype"},
      {"a BOOL is neither", Raw("BOOL", {2}, "\1\2"), "a BOOL element is neither 0 nor 1"},
      {"a 16-bit float is typed", Typed("BF16", {1}, Field(kFloats, "abcd")), "BF16 exists only as raw contents"},
      {"numbers are in another datatype's field", Typed("FP32", {1}, Number(kInts, 1)), "but 0 were given"},
      {"a number does not fit its datatype", Typed("INT8", {1}, Number(kInts, 128)), "128 is no INT8"},
      {"a number has more bits than its field", Typed("INT32", {1}, Number(kInts, 1ULL << 32)),
       "4294967296 is no INT32"},
      {"half a float is packed", Typed("FP32", {1}, Field(kFloats, "ab")), kNoMessage},
      // Too long, too many.
      {"a name has no end", Field(kOutputs, Tensor("FP32", {1}, std::string(100'000, 'n'))),
       "of 100000 bytes; expected"},
      {"a datatype has no end", Raw(std::string(100'000, 'd'), {1}, "abcd"), "of 100000 bytes; expected at most 1024"},
      {"1 MiB is empty outputs", Times(1 << 19, Field(kOutputs, "")), "more than 4096 tensors"},
      {"1 MiB is empty raw contents", Times(1 << 19, Field(kRaw, "")), "more than 4096 tensors"},
      {"1 MiB is empty parameters", Times(1 << 19, Field(kParameters, "")), "4096 parameters"},
      // The wire format.
      {"a field has the wire type 6", "\x0e\x01", kNoMessage},
      {"a field has the wire type 7", "\x0f\x01", kNoMessage},
      {"a field has the number 0", std::string("\x02\0", 2), kNoMessage},
      {"a group begins", "\x2b\x2c", kNoMessage},
      {"a group ends that never began", "\x2c", kNoMessage},
      {"groups are nested without end", Times(100'000, "\x2b"), kNoMessage},
      {"a tag is cut off", "\x80", kNoMessage},
      {"a tag is longer than any", Times(6, "\x80") + std::string(1, '\0'), kNoMessage},
      {"a number is cut off", "\x78\x80", kNoMessage},
      {"a number is longer than any", "\x78" + Times(10, "\x80") + "\x01", kNoMessage},
      {"a number has 65 bits", "\x78" + Times(9, "\xff") + "\x02", kNoMessage},
      {"a length is longer than any", "\x2a" + Times(5, "\x80") + std::string(1, '\0'), kNoMessage},
      {"a length is cut off", "\x2a\x80", kNoMessage},
      {"a fixed number is cut off", "\x79" + std::string(7, '\0'), kNoMessage},
      {"a name goes beyond its output", Field(kOutputs, "\x0a\x05xy") + Field(kId, "more than enough"), kNoMessage},
      {"a parameter's value goes beyond it", Field(kParameters, "\x12\x05xy") + Field(kId, "enough"), kNoMessage},
      {"a parameter's value is malformed", Field(kParameters, Entry("k", "\x0b")), kNoMessage},
      {"a parameter has two values", Field(kParameters, Entry("k", Number(1, 1)) + Field(2, Number(2, 2))), kNoMessage},
      {"an output's parameter is malformed", Field(kOutputs, Field(kTensorParameters, "\x0a\x7f")), kNoMessage},
      {"the end is missing", Raw("FP32", {1}, "abcd").substr(0, 18), kNoMessage},
  };
}

// However it is cut into pieces.
absl::StatusOr<InferResult> Decode(const std::string& bytes) {
  auto whole = OpenInference::Decode(InPieces(bytes));
  for (const std::size_t piece : std::initializer_list<std::size_t>{1, 2, 7, 64, 4096}) {
    if (bytes.size() / piece > 100'000) continue;
    CAPTURE(piece);
    CHECK(OpenInference::Decode(InPieces(bytes, piece)).status() == whole.status());
  }
  return whole;
}
InferResult Read(const std::string& bytes) {
  auto result = Decode(bytes);
  INFO(result.status());
  REQUIRE(result.ok());
  return *std::move(result);
}

}  // namespace

TEST_CASE("an answer that cannot be true is INTERNAL and says why, in whatever pieces it comes",
          "[contract][hostile]") {
  for (const Row& row : Lies()) {
    if (row.says.empty()) continue;
    CAPTURE(row.sentence);
    const absl::Status status = Decode(row.bytes).status();
    CHECK(status.code() == absl::StatusCode::kInternal);
    CHECK(Contains(status, row.says));
    CHECK(status.message().size() < 4096);
  }
}

TEST_CASE("a client gets such an answer as an error, and goes on", "[contract][hostile]") {
  const std::vector<Row> lies = Lies();
  std::atomic<std::size_t> next = 0, asked = 0;
  RawServer server([&](RawCall& call) {
    if (call.method().ends_with("/ModelInfer")) ++asked;
    call.Read();
    call.Write(lies[next.load()].bytes);
  });
  const auto model = inferwire::InferenceClient<OpenInference>(Connect(server.target())).GetModel("m");
  for (; next < lies.size(); ++next) {
    CAPTURE(lies[next].sentence);
    const absl::Status status = model.Infer({}).status();
    if (lies[next].says.empty()) continue;
    CHECK(status.code() == absl::StatusCode::kInternal);
    CHECK(Contains(status, lies[next].says));
  }
  CHECK(asked == lies.size());  // none was tried again
}

TEST_CASE("a stream's wrapper is read as strictly", "[contract][hostile]") {
  struct Label {
    std::string id;
    bool last = false;
    bool empty = false;
    absl::Status error;
  };
  const auto read = [](const std::string& bytes) {
    auto reply = InPieces(bytes, 3);
    const auto label = OpenInference::ReadTag<Label>(reply);
    const absl::Status status = OpenInference::DecodeStreamed(InPieces(bytes, 3)).status();
    if (!label.ok()) CHECK(label.status() == status);
    return status;
  };
  const std::string answer = Raw("FP32", {1}, "abcd");
  CHECK(read(Field(2, answer)).ok());
  CHECK(read(Field(2, answer) + Field(2, answer)).message() == kNoMessage);
  CHECK(read("\x12\xff\xff\xff\xff\x07").message() == kNoMessage);
  CHECK(read(Field(2, "\x2b")).message() == kNoMessage);
  CHECK(Contains(read(Field(2, Raw("FP32", {2}, "abcd"))), "does not take 4 bytes"));
  // The server's own words, printable, whatever bytes they are and however many.
  CHECK(read(Field(1, "\xff\xfe") + Field(2, answer)).message() == "\\xff\\xfe");
  const std::string words = "[request id: " + std::string(10'000'000, 'u');
  CHECK(read(Field(1, words)).code() == absl::StatusCode::kInternal);
}

TEST_CASE("tensors without elements are read, raw and typed", "[contract][hostile]") {
  for (const auto& row : inferwire::detail::kDataTypes) {
    for (const auto shape : {std::initializer_list<std::int64_t>{0}, {7, 0, 3}, {1LL << 62, 1LL << 62, 0}}) {
      CAPTURE(row.name, Shape(shape).ToString());
      const InferResult raw = Read(Raw(row.name, shape, ""));
      REQUIRE(raw.outputs().size() == 1);
      CHECK(raw.outputs()[0].size() == 0);
      CHECK(raw.outputs()[0].bytes().empty());
      CHECK(raw.outputs()[0].strings().empty());
      CHECK(raw.outputs()[0].chunks().empty());
      if (row.type == DataType::kFp16 || row.type == DataType::kBf16) continue;
      CHECK(Read(Typed(row.name, shape, "")).outputs()[0].size() == 0);
    }
  }
}

TEST_CASE("a million empty strings are counted, and become strings when they are asked for", "[contract][hostile]") {
  constexpr std::int64_t kMany = 1'000'000;
  const InferResult raw = Read(Raw("BYTES", {kMany}, std::string(4 * kMany, '\0')));
  CHECK(raw.outputs()[0].size() == kMany);
  CHECK(raw.outputs()[0].strings().size() == kMany);
  const InferResult typed = Read(Typed("BYTES", {kMany}, Times(kMany, Field(kStrings, ""))));
  CHECK(typed.outputs()[0].size() == kMany);
  CHECK(typed.outputs()[0].strings().back().empty());
}

TEST_CASE("as many outputs as are read at all have distinct names, and one more is too many", "[contract][hostile]") {
  std::string outputs;
  const auto add = [&](int i) {
    // Alike up to the end, as is worst for who compares them.
    const std::string name = std::string(1000, 'n') + std::to_string(100'000 + i);
    outputs += Field(kOutputs, Tensor("INT8", {0}, name));
  };
  for (int i = 0; i < 4096; ++i) add(i);
  CHECK(Read(outputs).outputs().size() == 4096);
  add(4096);
  CHECK(Contains(Decode(outputs).status(), "more than 4096 tensors"));
}

TEST_CASE("names and ids of 100 MB are read", "[contract][hostile]") {
  const std::string name(100'000'000, 'n');
  const InferResult result = Read(Field(kModel, name) + Field(kId, name));
  CHECK(result.model() == name);
  CHECK(result.id() == name);
}

TEST_CASE("a parameter that sets its value millions of times takes no longer for its long name",
          "[contract][hostile]") {
  const std::string entry = Entry(std::string(32 << 20, 'k'), Times(8 << 20, Number(1, 1)));
  const InferResult result = Read(Field(kParameters, entry));
  REQUIRE(result.parameters().size() == 1);
  CHECK(result.parameters().begin()->second == inferwire::Parameter(true));
}

TEST_CASE("messages nested deeper than any stack are skipped where nothing is known of them", "[contract][hostile]") {
  CHECK(Read(Nested(10'000) + Field(kId, "i")).id() == "i");
  CHECK(Read(Field(kOutputs, Tensor("INT8", {0}) + Nested(10'000))).outputs().size() == 1);
}

TEST_CASE("parameters may be no numbers, infinite, empty, without a value or without a name", "[contract][hostile]") {
  const double infinity = std::numeric_limits<double>::infinity();
  const InferResult result =
      Read(Field(kParameters, Entry("nan", Double(std::numeric_limits<double>::quiet_NaN()))) +
           Field(kParameters, Entry("inf", Double(infinity))) + Field(kParameters, Entry("-inf", Double(-infinity))) +
           Field(kParameters, Entry("", Number(2, 7))) + Field(kParameters, Entry("none", "")) +
           Field(kParameters, "") + Field(kParameters, Entry("text", Field(3, ""))));
  CHECK(result.parameters().size() == 5);
  CHECK(std::isnan(std::get<double>(result.parameters().at("nan"))));
  CHECK(std::get<double>(result.parameters().at("inf")) == infinity);
  CHECK(std::get<double>(result.parameters().at("-inf")) == -infinity);
  CHECK(std::get<std::int64_t>(result.parameters().at("")) == 7);
  CHECK(std::get<std::string>(result.parameters().at("text")).empty());
}

TEST_CASE("text that is no UTF-8 is read as it is, wherever it stands", "[contract][hostile]") {
  const std::string bad = "\xff\xfe\xc0\x80";
  const InferResult result =
      Read(Field(kModel, bad) + Field(kVersion, bad) + Field(kId, bad) + Field(kParameters, Entry(bad, Field(3, bad))) +
           Field(kOutputs, Tensor("BYTES", {1}, bad) + Field(kTensorParameters, Entry(bad, Field(3, bad)))) +
           Field(kRaw, Prefixed(4, bad)));
  CHECK(result.model() == bad);
  CHECK(result.version() == bad);
  CHECK(result.id() == bad);
  CHECK(std::get<std::string>(result.parameters().at(bad)) == bad);
  const auto strings = result.Get<std::string_view>(bad);
  REQUIRE(strings.ok());
  CHECK(strings->front() == bad);
}
