// SPDX-License-Identifier: Apache-2.0
#include "inferwire/npy.h"

#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "inferwire/infer_result.h"
#include "support/catch.h"

using inferwire::DataType;
using inferwire::FormatNpy;
using inferwire::InferInput;
using inferwire::InferRequest;
using inferwire::InferResult;
using inferwire::ParseNpy;
using inferwire::ReadNpy;
using inferwire::Shape;
using inferwire::WriteNpy;

namespace {
std::string Message(const absl::Status& status) { return std::string(status.message()); }

// A file of format 1.0 with this header, unpadded.
std::string File(const std::string& header, const std::string& data) {
  std::string out("\x93NUMPY\x01\0", 8);
  out += static_cast<char>(header.size() & 0xff);
  out += static_cast<char>(header.size() >> 8);
  return out + header + data;
}
std::string Header(const std::string& descr, const std::string& shape, const std::string& order = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
}
std::string Refusal(const std::string& file) {
  const absl::Status status = ParseNpy("x", file).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  return Message(status);
}
}  // namespace

TEST_CASE("what is written is what NumPy writes, byte by byte", "[npy]") {
  const InferInput input("x", std::vector<float>{1, 2, 3}, {3});
  // numpy.save of numpy.array([1, 2, 3], '<f4'), but for the space that NumPy does not put after the 3.
  const std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, ), }";
  const auto file = FormatNpy(input);
  REQUIRE(file.ok());
  CHECK(file->substr(0, 10) == std::string("\x93NUMPY\x01\0\x76\0", 10));
  CHECK(file->substr(10, header.size()) == header);
  CHECK(file->size() == 128 + 12);
  CHECK((*file)[127] == '\n');
  CHECK(file->substr(128, 4) == std::string("\0\0\x80\x3f", 4));
}

TEST_CASE("every datatype that NumPy has comes back as it was written", "[npy]") {
  for (const auto& row : inferwire::detail::kNpyTypes) {
    InferResult result;
    std::string bytes(6 * inferwire::ElementSize(row.type), '\0');
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i % 2);
    result.AddBytes("y", row.type, bytes, {3, 1, 2});
    REQUIRE(result.status().ok());
    const auto back = ParseNpy("x", *FormatNpy(result.outputs().front()));
    REQUIRE(back.ok());
    CHECK(back->Validate().ok());
    CHECK(back->datatype() == row.type);
    CHECK(back->shape() == Shape{3, 1, 2});
    CHECK(std::string(reinterpret_cast<const char*>(back->bytes().data()), back->bytes().size()) == bytes);
  }
}

TEST_CASE("scalars, empty arrays and strings come back too", "[npy]") {
  const auto scalar = ParseNpy("x", *FormatNpy(InferInput("x", std::vector<double>{2.5}, {})));
  REQUIRE(scalar.ok());
  CHECK(scalar->shape() == Shape{});
  const InferRequest request{*scalar};
  CHECK((*request.Get<double>("x"))[0] == 2.5);
  const auto empty = ParseNpy("x", *FormatNpy(InferInput("x", std::vector<int>{}, {0, 4})));
  REQUIRE(empty.ok());
  CHECK(empty->Validate().ok());
  CHECK(empty->shape() == Shape{0, 4});
  const std::vector<std::string> words{"a", "", std::string("b\0c", 3), "longer"};
  const auto strings = ParseNpy("x", *FormatNpy(InferInput("x", std::span(words), {2, 2})));
  REQUIRE(strings.ok());
  CHECK(strings->datatype() == DataType::kBytes);
  CHECK(std::vector<std::string>(strings->strings().begin(), strings->strings().end()) == words);
}

TEST_CASE("characters of four bytes become UTF-8", "[npy]") {
  std::u32string text = U"a\u00e9\u20ac\U0001f600";
  text.resize(6);
  const std::string data(reinterpret_cast<const char*>(text.data()), 4 * text.size());
  const auto input = ParseNpy("x", File(Header("<U6", "(1,)"), data));
  REQUIRE(input.ok());
  CHECK(input->strings()[0] == "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  CHECK(Refusal(File(Header("<U1", "(1,)"), std::string("\0\xd8\0\0", 4))) ==
        "element 0 has the code 55296, which is no character");
  CHECK(Refusal(File(Header("<U1", "(1,)"), std::string("\0\0\x11\0", 4))) ==
        "element 0 has the code 1114112, which is no character");
}

TEST_CASE("elements that a file does not align are aligned in memory", "[npy]") {
  for (std::size_t pad = 0; pad < 9; ++pad) {
    const auto input = ParseNpy("x", File(std::string(pad, ' ') + Header("<f8", "(2,)"), std::string(16, '\0')));
    REQUIRE(input.ok());
    CHECK(reinterpret_cast<std::uintptr_t>(input->bytes().data()) % 8 == 0);
    CHECK(input->bytes().size() == 16);
  }
}

TEST_CASE("headers may be written otherwise than NumPy does", "[npy]") {
  const std::string data(12, '\0');
  CHECK(ParseNpy("x", File("{\"shape\":(3L,1),'fortran_order':False,'descr':'<f4'}", data)).ok());
  CHECK(ParseNpy("x", File(Header("<f4", "(3,)", "True"), data)).ok());  // of one dimension, there is one order
  std::string second("\x93NUMPY\x02\0", 8);
  const std::string header = Header("<f4", "(3,)");
  second += static_cast<char>(header.size());
  second += std::string("\0\0\0", 3) + header + data;
  CHECK(ParseNpy("x", second).ok());
  second[6] = '\x03';
  CHECK(ParseNpy("x", second).ok());
}

TEST_CASE("an array that a tensor is not says what it is", "[npy]") {
  const std::string data(12, '\0');
  CHECK(Refusal(File(Header("<f4", "(3, 1)", "True"), data)) ==
        "the array is in Fortran's order; save numpy.ascontiguousarray(array)");
  CHECK(Refusal(File(Header(">f4", "(3,)"), data)) ==
        "the type '>f4' is big-endian; save array.astype(array.dtype.newbyteorder('<'))");
  CHECK(Refusal(File(Header("|V2", "(6,)"), data)) ==
        "the type '|V2' is raw bytes, as which NumPy saves bfloat16; save array.view(numpy.uint16), or convert it");
  CHECK(
      Refusal(File(Header("<c8", "(1,)"), data)) ==
      "the type '<c8' has no datatype; expected one of |b1, |u1, <u2, <u4, <u8, |i1, <i2, <i4, <i8, <f2, <f4, <f8, |S "
      "or <U and a width");
  CHECK(
      Refusal(File("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,)}", data)) ==
      "the header has something else than a simple type, as '<f4'; arrays of records have no datatype at its byte 10");
  CHECK(Refusal(File(Header("|b1", "(1,)"), "\x02")) == "a bool is neither 0 nor 1");
  CHECK(Message(FormatNpy(InferInput("x", std::vector<inferwire::BFloat16>(1), {1})).status()) ==
        "NumPy has no BF16; convert the elements to FP32");
  CHECK(Message(FormatNpy(InferInput("x", std::vector<std::string>{std::string(1, '\0')}, {1})).status()) ==
        "a string ends in a zero byte, which a .npy file cannot tell from padding");
}

TEST_CASE("a hostile .npy file is refused, and nothing is allocated for what it claims", "[npy]") {
  const std::string data(12, '\0');
  CHECK(Refusal("") == "the 0 bytes are no .npy file: they do not begin with \\x93NUMPY and a version");
  CHECK(Refusal("PK\x03\x04 and so on") ==
        "the 14 bytes are no .npy file: they do not begin with \\x93NUMPY and a version");
  CHECK(Refusal(std::string("\x93NUMPY\x04\0\0\0", 10)) == "the .npy format 4.0 is unknown; expected 1.0, 2.0 or 3.0");
  CHECK(Refusal(std::string("\x93NUMPY\x02\0\0\0", 10)) == "the file ends within its header's length");
  CHECK(Refusal(std::string("\x93NUMPY\x02\0\xff\xff\xff\xff{", 13)) ==
        "the header claims 4294967295 bytes where 1 follow");
  CHECK(Refusal(File(Header("<f4", "(4,)"), data)) == "'<f4' [4] does not take the 12 bytes that follow the header");
  CHECK(Refusal(File(Header("<f4", "(2,)"), data)) == "'<f4' [2] does not take the 12 bytes that follow the header");
  CHECK(Refusal(File(Header("<f4", "(4611686018427387904,)"), data)) ==
        "'<f4' [4611686018427387904] does not take the 12 bytes that follow the header");
  CHECK(Refusal(File(Header("<f4", "(4611686018427387904, 4)"), data)) ==
        "shape [4611686018427387904,4] has more than 2^63 - 1 elements");
  CHECK(Refusal(File(Header("<f4", "(9223372036854775808,)"), data)).find("a dimension of at most 2^63 - 1") !=
        std::string::npos);
  CHECK(Refusal(File(Header("<f4", "(-3,)"), data)).find("a dimension of 0 or more") != std::string::npos);
  CHECK(Refusal(File(Header("|S0", "(4611686018427387904,)"), "")) ==
        "strings of the type '|S0' have no room; expected a width of 1 or more");
  CHECK(Refusal(File(Header("|S99999999999999999999999", "(1,)"), data)).find("has no width that there is") !=
        std::string::npos);
  CHECK(Refusal(File(Header("<Ux", "(1,)"), data)).find("has no width that there is") != std::string::npos);
  std::string many = "(";
  for (int i = 0; i < 65; ++i) many += "0,";
  CHECK(Refusal(File(Header("<f4", many + ")"), "")).find("at most 64 dimensions") != std::string::npos);
}

TEST_CASE("a dictionary that is none is refused at its place", "[npy]") {
  for (const char* header :
       {"", "{", "[]", "{'descr'", "{'descr': ", "{'descr': '<f4", "{'descr': '<f4'", "{'descr': '<f4',", "{'shape': (",
        "{'shape': (3", "{'shape': (3,", "{'shape': (3 4)}", "{'shape': 3}", "{'fortran_order': Perhaps}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)} and more"}) {
    CHECK(Refusal(File(header, "")).find("the header has something else than") == 0);
  }
  CHECK(Refusal(File("{}", "")) == "the header lacks one of 'descr', 'fortran_order' and 'shape'");
  CHECK(Refusal(File("{'descr': '<f4', 'descr': '<f4'}", "")) ==
        "the header has the key 'descr' twice, or has no use for it");
  // Cut anywhere, and changed anywhere, a file is read or refused, but never more than that.
  const std::string good = File(Header("<f4", "(3, 1)"), std::string(12, '\0'));
  for (std::size_t i = 0; i < good.size(); ++i) {
    CHECK_FALSE(ParseNpy("x", good.substr(0, i)).ok());
    for (const char c : {'\0', '\xff', '9', '\'', '('}) {
      std::string changed = good;
      changed[i] = c;
      const auto input = ParseNpy("x", changed);
      if (input.ok()) CHECK(input->Validate().ok());
    }
  }
}

TEST_CASE("files are written and read, and what fails names them", "[npy]") {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("inferwire_npy_test_" + std::to_string(std::random_device()()));
  REQUIRE(std::filesystem::create_directory(folder));
  const std::string path = (folder / "x.npy").string();
  const InferInput input("x", std::vector<std::int32_t>{1, -2}, {2});
  CHECK(WriteNpy(input, path).ok());
  const auto back = ReadNpy("y", path);
  REQUIRE(back.ok());
  CHECK(back->name() == "y");
  const InferRequest request{*back};
  CHECK((*request.Get<std::int32_t>("y"))[1] == -2);

  const std::string missing = (folder / "missing.npy").string();
  CHECK(ReadNpy("y", missing).status().code() == absl::StatusCode::kNotFound);
  CHECK(Message(ReadNpy("y", missing).status()).find(missing) != std::string::npos);
  CHECK_FALSE(ReadNpy("y", folder.string()).ok());
  CHECK_FALSE(WriteNpy(input, folder.string()).ok());
  std::filesystem::resize_file(path, 130);
  CHECK(Message(ReadNpy("y", path).status()) == path + ": '<i4' [2] does not take the 2 bytes that follow the header");
  std::filesystem::remove_all(folder);
}
