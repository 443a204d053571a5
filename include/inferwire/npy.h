// SPDX-License-Identifier: Apache-2.0
//
// NumPy's .npy files: arrays that were saved in Python as inputs, and outputs as files that Python loads.
#ifndef INFERWIRE_NPY_H_
#define INFERWIRE_NPY_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/file.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/infer_request.h"
#include "inferwire/tensor.h"

// Source: NumPy's format specification, numpy.lib.format: "\x93NUMPY", the version, the length of a header that is a
// Python dictionary, and the elements as they lie in memory.

namespace inferwire {
inline namespace v0 {
namespace detail {

/// What a .npy header says.
struct NpyHeader {
  std::string descr;  // "<f4"
  bool fortran_order = false;
  Shape shape;
};

/// Reads the Python dictionary of a header: these three keys, once each, and nothing else.
class NpyHeaderParser {
 public:
  explicit NpyHeaderParser(std::string_view text) : text_(text) {}

  absl::StatusOr<NpyHeader> Parse() {
    NpyHeader out;
    bool descr = false, order = false, shape = false;
    if (!Eat('{')) return Wrong("a dictionary");
    while (!Eat('}')) {
      const std::optional<std::string> key = String();
      if (!key.has_value() || !Eat(':')) return Wrong("a key");
      if (*key == "descr" && !std::exchange(descr, true)) {
        std::optional<std::string> value = String();
        if (!value.has_value()) return Wrong("a simple type, as '<f4'; arrays of records have no datatype");
        out.descr = *std::move(value);
      } else if (*key == "fortran_order" && !std::exchange(order, true)) {
        out.fortran_order = Word("True");
        if (!out.fortran_order && !Word("False")) return Wrong("True or False");
      } else if (*key == "shape" && !std::exchange(shape, true)) {
        absl::StatusOr<Shape> value = Tuple();
        if (!value.ok()) return value.status();
        out.shape = *std::move(value);
      } else {
        return detail::InvalidArgumentError(Cat("the header has the key '", *key, "' twice, or has no use for it"));
      }
      if (!Eat(',') && Peek() != '}') return Wrong("a comma or the end of the dictionary");
    }
    if (Peek() != '\0') return Wrong("nothing after the dictionary");
    if (!descr || !order || !shape) {
      return detail::InvalidArgumentError("the header lacks one of 'descr', 'fortran_order' and 'shape'");
    }
    return out;
  }

 private:
  absl::Status Wrong(std::string_view expected) const {
    return detail::InvalidArgumentError(Cat("the header has something else than ", expected, " at its byte ", at_));
  }
  // The next character that is no space; 0 at the end.
  char Peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool Eat(char c) {
    if (Peek() != c) return false;
    ++at_;
    return true;
  }
  bool Word(std::string_view word) {
    Peek();
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  // Short, and without escapes: no key and no type that there is has any.
  std::optional<std::string> String() {
    const char quote = Peek();
    if (quote != '\'' && quote != '"') return std::nullopt;
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos || end - at_ > 64) return std::nullopt;
    std::string out(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return out;
  }
  absl::StatusOr<Shape> Tuple() {
    std::vector<std::int64_t> dimensions;
    if (!Eat('(')) return Wrong("a tuple");
    while (!Eat(')')) {
      std::int64_t dimension = 0;
      if (Peek() < '0' || Peek() > '9') return Wrong("a dimension of 0 or more");
      for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
        const int digit = text_[at_] - '0';
        if (dimension > ((std::numeric_limits<std::int64_t>::max)() - digit) / 10) {
          return Wrong("a dimension of at most 2^63 - 1");
        }
        dimension = dimension * 10 + digit;
      }
      Word("L");  // as Python 2 wrote them
      if (dimensions.size() == 64) return Wrong("at most 64 dimensions");
      dimensions.push_back(dimension);
      if (!Eat(',') && Peek() != ')') return Wrong("a comma or the end of the shape");
    }
    return Shape(dimensions);
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

/// NumPy's name of a datatype. BYTES and BF16 have none of their own.
struct NpyRow {
  DataType type;
  std::string_view descr;
};
inline constexpr std::array<NpyRow, 12> kNpyTypes = {{
    {DataType::kBool, "|b1"},
    {DataType::kUint8, "|u1"},
    {DataType::kUint16, "<u2"},
    {DataType::kUint32, "<u4"},
    {DataType::kUint64, "<u8"},
    {DataType::kInt8, "|i1"},
    {DataType::kInt16, "<i2"},
    {DataType::kInt32, "<i4"},
    {DataType::kInt64, "<i8"},
    {DataType::kFp16, "<f2"},
    {DataType::kFp32, "<f4"},
    {DataType::kFp64, "<f8"},
}};

inline constexpr std::string_view kNpyMagic = "\x93NUMPY";

/// Strings of a fixed width, padded by zeros: bytes ('S'), or characters of 4 bytes ('U') as UTF-8.
inline absl::StatusOr<std::vector<std::string>> NpyStrings(std::string_view data, std::size_t count, std::size_t width,
                                                           bool unicode) {
  std::vector<std::string> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string_view element = data.substr(i * width, width);
    if (!unicode) {
      const std::size_t last = element.find_last_not_of('\0');
      out[i] = element.substr(0, last == std::string_view::npos ? 0 : last + 1);
      continue;
    }
    std::size_t pending = 0;  // zeros that are padding unless a character follows
    for (std::size_t at = 0; at < element.size(); at += 4) {
      std::uint32_t code = 0;
      std::memcpy(&code, element.data() + at, 4);
      if (code == 0) {
        ++pending;
        continue;
      }
      if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
        return detail::InvalidArgumentError(Cat("element ", i, " has the code ", code, ", which is no character"));
      }
      out[i].append(std::exchange(pending, 0), '\0');
      if (code < 0x80) {
        out[i] += static_cast<char>(code);
        continue;
      }
      const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
      constexpr std::array<std::uint32_t, 4> kLead = {0, 0xc0, 0xe0, 0xf0};
      out[i] += static_cast<char>(kLead[static_cast<std::size_t>(more)] | (code >> (6 * more)));
      for (int shift = 6 * (more - 1); shift >= 0; shift -= 6) {
        out[i] += static_cast<char>(0x80U | ((code >> shift) & 0x3fU));
      }
    }
  }
  return out;
}

/// How many bytes stand before the length of a header, and how long that is, in the newest format.
inline constexpr std::size_t kNpyPrologue = 12;
/// More than any header takes: NumPy itself reads 10,000 bytes, unless it is told to trust the file.
inline constexpr std::uint32_t kMostNpyHeader = 1 << 16;

/// Where the header of a file lies.
struct NpyBegin {
  std::size_t start;
  std::size_t length;
};

/// By the first bytes of a file of `size`: kNpyPrologue, or all that there are.
inline absl::StatusOr<NpyBegin> ReadNpyBegin(std::string_view first, std::uint64_t size) {
  const auto wrong = [](const auto&... what) { return detail::InvalidArgumentError(Cat(what...)); };
  if (!first.starts_with(kNpyMagic) || size < 10) {
    return wrong("the ", size, " bytes are no .npy file: they do not begin with \\x93NUMPY and a version");
  }
  const int major = static_cast<unsigned char>(first[6]);
  const int minor = static_cast<unsigned char>(first[7]);
  if (major < 1 || major > 3 || minor != 0) {
    return wrong("the .npy format ", major, ".", minor, " is unknown; expected 1.0, 2.0 or 3.0");
  }
  const std::size_t length_size = major == 1 ? 2 : 4;
  if (size < 8 + length_size) return wrong("the file ends within its header's length");
  std::uint32_t length = 0;
  std::memcpy(&length, first.data() + 8, length_size);
  const std::size_t start = 8 + length_size;
  if (length > size - start) return wrong("the header claims ", length, " bytes where ", size - start, " follow");
  if (length > kMostNpyHeader) return wrong("the header claims ", length, " bytes; expected at most ", kMostNpyHeader);
  return NpyBegin{start, length};
}

/// What the elements of a file are, once header and size were found to agree.
struct NpyLayout {
  DataType type;
  bool unicode;  // of strings
  std::uint64_t count, width;
  Shape shape;
};

/// Whether what takes `cost` bytes of memory may be made of `size` bytes that a stranger sent: a little may always, and
/// else `times` as much.
inline bool InProportion(std::uint64_t cost, std::uint64_t size, std::uint64_t times) {
  constexpr std::uint64_t kLittle = std::uint64_t{64} << 20;
  return cost <= kLittle || cost / times <= size;
}

/// As the header describes the `size` bytes that follow it.
inline absl::StatusOr<NpyLayout> LayOutNpy(std::string_view text, std::uint64_t size) {
  const auto wrong = [](const auto&... what) { return detail::InvalidArgumentError(Cat(what...)); };
  absl::StatusOr<NpyHeader> header = NpyHeaderParser(text).Parse();
  if (!header.ok()) return header.status();
  const absl::StatusOr<std::int64_t> elements = ElementCount(header->shape);
  if (!elements.ok()) return elements.status();
  const auto count = static_cast<std::uint64_t>(*elements);
  if (header->fortran_order && header->shape.rank() > 1) {
    return wrong("the array is in Fortran's order; save numpy.ascontiguousarray(array)");
  }

  const std::string_view descr = header->descr;
  const auto row = std::find_if(kNpyTypes.begin(), kNpyTypes.end(), [&](const NpyRow& r) { return r.descr == descr; });
  const bool bytes = descr.starts_with("|S") || descr.starts_with("<S");
  const bool unicode = descr.starts_with("<U");
  std::uint64_t width = 0;
  if (row != kNpyTypes.end()) {
    width = ElementSize(row->type);
  } else if (bytes || unicode) {
    for (const char c : descr.substr(2)) {
      if (c < '0' || c > '9' || width > size) return wrong("the type '", descr, "' has no width that there is");
      width = width * 10 + static_cast<std::uint64_t>(c - '0');
    }
    if (width == 0) return wrong("strings of the type '", descr, "' have no room; expected a width of 1 or more");
    width *= unicode ? 4 : 1;
  } else if (descr == "|V2" || descr == "<V2") {
    return wrong("the type '", descr,
                 "' is raw bytes, as which NumPy saves bfloat16; save array.view(numpy.uint16), or convert it");
  } else if (descr.starts_with(">")) {
    return wrong("the type '", descr, "' is big-endian; save array.astype(array.dtype.newbyteorder('<'))");
  } else {
    std::string known;
    for (const NpyRow& r : kNpyTypes) known += Cat(r.descr, ", ");
    return wrong("the type '", descr, "' has no datatype; expected one of ", known, "|S or <U and a width");
  }

  if (count > size / width || count * width != size) {
    return wrong("'", descr, "' ", header->shape.ToString(), " does not take the ", size,
                 " bytes that follow the header");
  }
  const bool strings = row == kNpyTypes.end();
  if (strings && !InProportion(count * sizeof(std::string), size, 4)) {
    return wrong(count, " strings of ", width, " bytes take more memory than is in proportion, ", sizeof(std::string),
                 " bytes each; save array.view(numpy.uint8)");
  }
  return NpyLayout{strings ? DataType::kBytes : row->type, unicode, count, width, std::move(header->shape)};
}

/// The elements that begin at `start` of `file`.
inline absl::StatusOr<InferInput> NpyElements(std::string name, std::string file, std::size_t start, NpyLayout layout) {
  if (layout.type == DataType::kBytes) {
    absl::StatusOr<std::vector<std::string>> strings =
        NpyStrings(std::string_view(file).substr(start), layout.count, layout.width, layout.unicode);
    if (!strings.ok()) return strings.status();
    return InferInput(std::move(name), *std::move(strings), std::move(layout.shape));
  }
  if (layout.type == DataType::kBool && std::any_of(file.begin() + static_cast<std::ptrdiff_t>(start), file.end(),
                                                    [](char c) { return c != 0 && c != 1; })) {
    return detail::InvalidArgumentError("a bool is neither 0 nor 1");
  }
  // The specification aligns the elements in the file; where it does not, they are moved to where they are.
  if (start % 8 != 0) file.erase(0, std::exchange(start, 0));
  const auto kept = std::make_shared<const std::string>(std::move(file));
  return InferInput::FromBytes(std::move(name), layout.type, std::as_bytes(std::span<const char>(*kept)).subspan(start),
                               std::move(layout.shape), kept);
}

/// Reads no more than it understands so far: the begin, the header, and the elements once all else is right.
inline absl::StatusOr<InferInput> ReadNpyFile(std::string name, RegularFile& file) {
  std::string text((std::min)(file.size(), std::uint64_t{kNpyPrologue}), '\0');
  if (absl::Status status = file.Read(text.data(), text.size()); !status.ok()) return status;
  const absl::StatusOr<NpyBegin> begin = ReadNpyBegin(text, file.size());
  if (!begin.ok()) return begin.status();
  const std::size_t read = text.size();
  const std::size_t end = begin->start + begin->length;
  if (end > read) {
    text.resize(end);
    if (absl::Status status = file.Read(text.data() + read, end - read); !status.ok()) return status;
  }
  absl::StatusOr<NpyLayout> layout =
      LayOutNpy(std::string_view(text).substr(begin->start, begin->length), file.size() - end);
  if (!layout.ok()) return layout.status();
  std::string elements = text.substr(end);  // of a header that is hardly there
  const std::size_t more = elements.size();
  elements.resize(file.size() - end);
  if (absl::Status status = file.Read(elements.data() + more, elements.size() - more); !status.ok()) return status;
  return NpyElements(std::move(name), std::move(elements), 0, *std::move(layout));
}

}  // namespace detail

/// A tensor in memory: InferInput and InferOutput.
template <class T>
concept NpyWritable = requires(const T& tensor) {
  { tensor.datatype() } -> std::same_as<DataType>;
  { tensor.shape() } -> std::same_as<const Shape&>;
  { tensor.bytes() } -> std::same_as<std::span<const std::byte>>;
  tensor.strings();
};

/// The array in the bytes of a .npy file (of format 1.0, 2.0 or 3.0; little-endian, row-major) as an input of this
/// name, which owns it. Strings ('S', and 'U' as UTF-8) become BYTES without the zeros that pad them. INVALID_ARGUMENT
/// naming what is wrong. Takes no more memory than the file; for strings an object of std::string each beside it, which
/// may take 64 MiB, or four times the elements' size, and are refused beyond. RESOURCE_EXHAUSTED where there is not so
/// much memory.
inline absl::StatusOr<InferInput> ParseNpy(std::string name, std::string file) {
  return detail::WithinMemory([&]() -> absl::StatusOr<InferInput> {
    const absl::StatusOr<detail::NpyBegin> begin = detail::ReadNpyBegin(file, file.size());
    if (!begin.ok()) return begin.status();
    const std::size_t end = begin->start + begin->length;
    absl::StatusOr<detail::NpyLayout> layout =
        detail::LayOutNpy(std::string_view(file).substr(begin->start, begin->length), file.size() - end);
    if (!layout.ok()) return layout.status();
    return detail::NpyElements(std::move(name), std::move(file), end, *std::move(layout));
  });
}

/// The same for a regular file of at most `max_bytes`, by default as many as gRPC can send. Its header is understood,
/// and found to agree with its size, before its elements are read. The error of the system where it cannot be read,
/// INVALID_ARGUMENT for a directory, a device or a pipe, too; errors name the file.
inline absl::StatusOr<InferInput> ReadNpy(std::string name, const std::string& path,
                                          std::uint64_t max_bytes = std::uint64_t{1} << 31) {
  const auto named = [&](const absl::Status& status, std::string_view between) {
    return detail::MakeError(status.code(), detail::Cat(between, path, ": ", detail::ToStd(status.message())));
  };
  absl::StatusOr<detail::RegularFile> file = detail::RegularFile::Open(path);
  if (!file.ok()) return named(file.status(), "cannot open ");
  if (file->size() > max_bytes) {
    return detail::InvalidArgumentError(
        detail::Cat(path, ": it has ", file->size(), " bytes; expected at most ", max_bytes));
  }
  absl::StatusOr<InferInput> out = detail::WithinMemory([&] { return detail::ReadNpyFile(std::move(name), *file); });
  if (!out.ok()) return named(out.status(), "");
  return out;
}

/// A tensor as a .npy file of format 1.0. BYTES become strings of the longest's width ('S'). INVALID_ARGUMENT for BF16,
/// which NumPy does not have, for a string that ends in a zero, which would be lost, and for strings that would be
/// almost all padding: more than 64 MiB, and more than 16 times what they take. RESOURCE_EXHAUSTED where there is not
/// so much memory.
template <NpyWritable T>
absl::StatusOr<std::string> FormatNpy(const T& tensor) {
  std::string descr;
  std::size_t width = 1;
  std::uint64_t size = 0;
  if (tensor.datatype() == DataType::kBytes) {
    for (const auto& element : tensor.strings()) {
      if (!element.empty() && element.back() == '\0') {
        return detail::InvalidArgumentError("a string ends in a zero byte, which a .npy file cannot tell from padding");
      }
      width = (std::max)(width, element.size());
      size += element.size() + 1;
    }
    const std::uint64_t count = tensor.strings().size();
    if (count > 0 && (width > std::string().max_size() / 2 / count || !detail::InProportion(count * width, size, 16))) {
      return detail::InvalidArgumentError(
          detail::Cat(count, " strings, padded to ", width, " bytes each, would take more room than is in proportion"));
    }
    descr = detail::Cat("|S", width);
  } else {
    const auto row = std::find_if(detail::kNpyTypes.begin(), detail::kNpyTypes.end(),
                                  [&](const detail::NpyRow& r) { return r.type == tensor.datatype(); });
    if (row == detail::kNpyTypes.end()) {
      return detail::InvalidArgumentError(
          detail::Cat("NumPy has no ", DataTypeName(tensor.datatype()), "; convert the elements to FP32"));
    }
    descr = row->descr;
  }
  std::string shape;
  for (const std::int64_t dimension : tensor.shape()) shape += detail::Cat(dimension, ", ");
  std::string header = detail::Cat("{'descr': '", descr, "', 'fortran_order': False, 'shape': (", shape, "), }");
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  if (header.size() > 0xffff) {
    return detail::InvalidArgumentError(
        detail::Cat("a shape of ", tensor.shape().rank(), " dimensions does not fit in a .npy header"));
  }
  return detail::WithinMemory([&]() -> absl::StatusOr<std::string> {
    std::string out(detail::kNpyMagic);
    out += std::string_view("\x01\0", 2);
    out += static_cast<char>(header.size() & 0xff);
    out += static_cast<char>(header.size() >> 8);
    out += header;
    if (tensor.datatype() == DataType::kBytes) {
      out.reserve(out.size() + width * tensor.strings().size());
      for (const auto& element : tensor.strings()) out.append(element).append(width - element.size(), '\0');
    } else {
      out.append(reinterpret_cast<const char*>(tensor.bytes().data()), tensor.bytes().size());
    }
    return out;
  });
}

/// The same into a file, in place of what it held. The error of the system where it cannot be written.
template <NpyWritable T>
absl::Status WriteNpy(const T& tensor, const std::string& path) {
  const absl::StatusOr<std::string> bytes = FormatNpy(tensor);
  if (!bytes.ok()) return bytes.status();
  std::FILE* const out = std::fopen(path.c_str(), "wb");
  if (out == nullptr) return absl::ErrnoToStatus(errno, detail::Cat("cannot open ", path));
  const bool written = std::fwrite(bytes->data(), 1, bytes->size(), out) == bytes->size();
  const int error = errno;
  const bool closed = std::fclose(out) == 0;  // what was buffered is written here
  if (!written || !closed) return absl::ErrnoToStatus(written ? errno : error, detail::Cat("cannot write ", path));
  return absl::OkStatus();
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_NPY_H_
