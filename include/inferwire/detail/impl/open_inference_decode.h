// SPDX-License-Identifier: Apache-2.0
//
// Answers in the Open Inference Protocol, read where they lie, raw or typed.
#ifndef INFERWIRE_DETAIL_IMPL_OPEN_INFERENCE_DECODE_H_
#define INFERWIRE_DETAIL_IMPL_OPEN_INFERENCE_DECODE_H_

#include <absl/container/inlined_vector.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/pieces.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/contract/open_inference_codec.h"
#include "inferwire/detail/contract/open_inference_fields.h"
#include "inferwire/detail/wire/arrived.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/reader.h"
#include "inferwire/infer_result.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

struct OpenInferenceDecoder : OpenInferenceFields {
  // Nobody else holds the bytes then, so that what was read can go.
  static std::shared_ptr<detail::wire::ReceivedBytes> Take(detail::wire::Reply&& reply) {
    detail::wire::Reply gone = std::move(reply);
    return std::make_shared<detail::wire::ReceivedBytes>(gone);
  }
  static absl::StatusOr<InferResult> DecodeResponse(detail::Pieces message,
                                                    const std::shared_ptr<detail::wire::ReceivedBytes>& arrived) {
    InferResult result;
    absl::InlinedVector<detail::Pieces, 2> outputs, raw;
    std::size_t parameters = 0;
    detail::wire::PieceReader reader(message);
    while (reader.Next()) {
      if (reader.type() != detail::wire::PieceReader::kBytes) continue;
      switch (reader.field()) {
        case kModelName:
          result.set_model(reader.bytes().ToString());
          break;
        case kModelVersion:
          result.set_version(reader.bytes().ToString());
          break;
        case kId:
          result.set_id(reader.bytes().ToString());
          break;
        case kParameters: {
          std::string key;
          std::optional<Parameter> value;
          if (!ReadParameter(reader.bytes(), &key, &value)) return Malformed();
          if (value.has_value()) result.set_parameter(std::move(key), *std::move(value));
          ++parameters;
          break;
        }
        case kOutputs:
          outputs.push_back(reader.bytes());
          break;
        case kRawOutputContents:
          raw.push_back(reader.bytes());
          break;
        default:
          break;
      }
      if (outputs.size() > kMostTensors || raw.size() > kMostTensors || parameters > kMostParameters) {
        return Broken(detail::Cat("more than ", kMostTensors, " tensors or ", kMostParameters, " parameters"));
      }
    }
    if (!reader.ok()) return Malformed();
    if (!raw.empty() && raw.size() != outputs.size()) {
      return Broken(detail::Cat(outputs.size(), " outputs but ", raw.size(), " raw contents"));
    }
    result.Reserve(outputs.size());
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      absl::Status status = DecodeOutput(outputs[i], raw.empty() ? nullptr : &raw[i], arrived, result);
      if (!status.ok()) return status;
    }
    if (!result.status().ok()) return Broken(detail::ToStd(result.status().message()));
    return result;
  }

  // One entry of a map of parameters. One without a value leaves `out` empty; an unsigned value beyond int64 becomes a
  // double: nearly right rather than negative.
  static bool ReadParameter(detail::Pieces entry, std::string* key, std::optional<Parameter>* out) {
    detail::wire::PieceReader reader(entry);
    detail::Pieces value;
    for (bool any = false; reader.Next();) {
      if (reader.type() != detail::wire::PieceReader::kBytes) continue;
      if (reader.field() == 1) *key = reader.bytes().ToString();
      if (reader.field() != 2) continue;
      if (std::exchange(any, true)) return false;  // protobuf merges messages that come twice; nobody sends them
      value = reader.bytes();
    }
    detail::wire::PieceReader choice(value);
    while (choice.Next()) {
      const bool number = choice.type() == detail::wire::PieceReader::kVarint;
      if (choice.field() == 1 && number) {
        *out = choice.number() != 0;
      } else if (choice.field() == 2 && number) {
        *out = static_cast<std::int64_t>(choice.number());
      } else if (choice.field() == 3 && choice.type() == detail::wire::PieceReader::kBytes) {
        *out = choice.bytes().ToString();
      } else if (choice.field() == 4 && choice.type() == detail::wire::PieceReader::kFixed64) {
        *out = std::bit_cast<double>(choice.number());
      } else if (choice.field() == 5 && number) {
        if (std::in_range<std::int64_t>(choice.number())) {
          *out = static_cast<std::int64_t>(choice.number());
        } else {
          *out = static_cast<double>(choice.number());
        }
      }
    }
    return reader.ok() && choice.ok();
  }

  static absl::Status Broken(std::string_view what) { return detail::Contradiction(what); }
  static absl::Status Malformed() { return detail::InternalError("the server's answer is no ModelInferResponse"); }

 private:
  static absl::Status DecodeOutput(detail::Pieces message, const detail::Pieces* raw,
                                   const std::shared_ptr<detail::wire::ReceivedBytes>& arrived, InferResult& result) {
    std::string name;
    std::string datatype_name;
    std::array<std::int64_t, kMostRank> dimensions;
    std::size_t rank = 0;
    const auto add = [&](std::uint64_t dimension) {
      if (rank < kMostRank) dimensions[rank] = static_cast<std::int64_t>(dimension);
      return ++rank <= kMostRank;
    };
    std::optional<detail::Pieces> contents;
    bool placed = false;
    detail::wire::PieceReader reader(message);
    while (reader.Next()) {
      if (reader.field() == kShape) {
        bool fits = true;
        if (reader.type() == detail::wire::PieceReader::kVarint) fits = add(reader.number());
        detail::wire::PieceReader packed(reader.bytes());
        for (std::uint64_t dimension = 0; fits && packed.Packed(&dimension);) fits = add(dimension);
        if (!packed.ok()) return Malformed();
        if (!fits) return Broken(detail::Cat("output '", name, "' has more than ", kMostRank, " dimensions"));
      }
      if (reader.type() != detail::wire::PieceReader::kBytes) continue;
      switch (reader.field()) {
        case kName:
        case kDatatype:
          if (reader.bytes().size() > kMostName) {
            return Broken(detail::Cat("an output has a name or datatype of ", reader.bytes().size(),
                                      " bytes; expected at most ", kMostName));
          }
          (reader.field() == kName ? name : datatype_name) = reader.bytes().ToString();
          break;
        case kTensorParameters: {
          std::string key;
          std::optional<Parameter> value;
          if (!ReadParameter(reader.bytes(), &key, &value)) return Malformed();
          placed = placed || (value.has_value() && key == "shared_memory_region");
          break;
        }
        case kContents:
          if (contents.has_value()) return Broken(detail::Cat("output '", name, "' has contents twice"));
          contents = reader.bytes();
          break;
        default:
          break;
      }
    }
    if (!reader.ok()) return Malformed();
    const absl::StatusOr<DataType> datatype = ParseDataType(datatype_name);
    if (!datatype.ok()) return Broken(detail::Cat("output '", name, "': ", detail::ToStd(datatype.status().message())));
    Shape shape(std::span<const std::int64_t>(dimensions.data(), rank));
    const absl::StatusOr<std::int64_t> count = ElementCount(shape);
    if (!count.ok()) return Broken(detail::Cat("output '", name, "': ", detail::ToStd(count.status().message())));
    if (raw != nullptr && contents.has_value() && contents->size() > 0) {  // MLServer puts empty ones beside raw ones
      return Broken(detail::Cat("output '", name, "' has raw and typed contents"));
    }
    // Triton leaves the entry of an output in shared memory empty and says no more; others name the region.
    if (placed || (raw != nullptr && raw->size() == 0 && *count > 0)) {
      result.AddPlaced({std::move(name), *datatype, std::move(shape)});
      return absl::OkStatus();
    }
    if (raw == nullptr) {
      return DecodeTyped(name, *datatype, std::move(shape), *count, contents.value_or(detail::Pieces()), *arrived,
                         result);
    }
    const std::uint64_t width = ElementSize(*datatype);
    if (width != 0 && (raw->size() % width != 0 || raw->size() / width != static_cast<std::uint64_t>(*count))) {
      return Broken(detail::Cat("output '", name, "': ", DataTypeName(*datatype), " ", shape.ToString(),
                                " does not take ", raw->size(), " bytes"));
    }
    result.AddPieces(std::move(name), *datatype, *raw, std::move(shape), arrived);
    return absl::OkStatus();
  }

  // Typed contents: the small integers share fields of 32 bits, and the 16-bit floats have none. They are copied to
  // where they stay, and no output refers to what arrived: it goes as it is read.
  static absl::Status DecodeTyped(const std::string& name, DataType datatype, Shape shape, std::int64_t count,
                                  detail::Pieces contents, detail::wire::ReceivedBytes& arrived, InferResult& result) {
    const auto numbers = [&]<class T>(std::uint32_t field, T) {
      return AddNumbers<T>(name, field, std::move(shape), count, contents, arrived, result);
    };
    switch (datatype) {
      case DataType::kBool:
        return numbers(1, bool());
      case DataType::kInt8:
        return numbers(2, std::int8_t());
      case DataType::kInt16:
        return numbers(2, std::int16_t());
      case DataType::kInt32:
        return numbers(2, std::int32_t());
      case DataType::kInt64:
        return numbers(3, std::int64_t());
      case DataType::kUint8:
        return numbers(4, std::uint8_t());
      case DataType::kUint16:
        return numbers(4, std::uint16_t());
      case DataType::kUint32:
        return numbers(4, std::uint32_t());
      case DataType::kUint64:
        return numbers(5, std::uint64_t());
      case DataType::kFp32:
        return numbers(6, float());
      case DataType::kFp64:
        return numbers(7, double());
      case DataType::kBytes:
        return AddStrings(name, std::move(shape), count, contents, arrived, result);
      case DataType::kFp16:
      case DataType::kBf16:
        break;
    }
    return Broken(detail::Cat("output '", name, "': ", DataTypeName(datatype), " exists only as raw contents"));
  }

  // Calls `fn` with each number in field `field`, packed or not; false where they are malformed, or `fn` says so.
  // `read_up_to` is told now and then what is yet to be read.
  template <class Fn, class ReadUpTo>
  static bool ForEachNumber(detail::Pieces contents, std::uint32_t field, detail::wire::PieceReader::Type type, Fn fn,
                            ReadUpTo read_up_to) {
    detail::wire::PieceReader reader(contents);
    while (reader.Next()) {
      if (reader.field() != field) continue;
      if (reader.type() == type && !fn(reader.number())) return false;
      if (reader.type() != detail::wire::PieceReader::kBytes) continue;
      const unsigned width = type == detail::wire::PieceReader::kFixed32 ? 4 : 8;
      if (!(type == detail::wire::PieceReader::kVarint ? ForEachVarint(reader.bytes(), fn, read_up_to)
                                                       : ForEachFixed(reader.bytes(), width, fn, read_up_to))) {
        return false;
      }
    }
    return reader.ok();
  }
  // Packed numbers, piece by piece: one may begin in one and end in the next.
  template <class Fn, class ReadUpTo>
  static bool ForEachVarint(detail::Pieces packed, Fn& fn, ReadUpTo& read_up_to) {
    std::uint64_t number = 0;
    unsigned shift = 0;
    while (packed.size() > 0) {
      const detail::Pieces::Piece piece = packed.Head();
      for (const std::byte one : piece) {
        const auto byte = static_cast<std::uint8_t>(one);
        if (shift == 63 && byte > 1) return false;  // beyond 64 bits
        number |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
        if ((byte & 0x80) != 0) {
          shift += 7;
          continue;
        }
        if (!fn(std::exchange(number, 0))) return false;
        shift = 0;
      }
      packed.remove_prefix(piece.size());
      read_up_to(packed);
    }
    return shift == 0;
  }
  template <class Fn, class ReadUpTo>
  static bool ForEachFixed(detail::Pieces packed, unsigned width, Fn& fn, ReadUpTo& read_up_to) {
    std::uint64_t number = 0;
    unsigned have = 0;
    while (packed.size() > 0) {
      const detail::Pieces::Piece piece = packed.Head();
      for (const std::byte one : piece) {
        number |= static_cast<std::uint64_t>(one) << (8 * have);
        if (++have < width) continue;
        if (!fn(std::exchange(number, 0))) return false;
        have = 0;
      }
      packed.remove_prefix(piece.size());
      read_up_to(packed);
    }
    return have == 0;
  }

  template <class T>
  static absl::Status AddNumbers(const std::string& name, std::uint32_t field, Shape shape, std::int64_t count,
                                 detail::Pieces contents, detail::wire::ReceivedBytes& arrived, InferResult& result) {
    constexpr detail::wire::PieceReader::Type kType = std::is_same_v<T, float>    ? detail::wire::PieceReader::kFixed32
                                                      : std::is_same_v<T, double> ? detail::wire::PieceReader::kFixed64
                                                                                  : detail::wire::PieceReader::kVarint;
    // Counted first, so that a shape's claim alone allocates nothing, and what is allocated is filled.
    std::size_t given = 0;
    const auto count_one = [&](std::uint64_t) { return ++given != 0; };
    if (!ForEachNumber(contents, field, kType, count_one, [](const detail::Pieces&) {})) return Malformed();
    if (!std::cmp_equal(given, count)) {
      return Broken(detail::Cat("output '", name, "': shape ", shape.ToString(), " holds ", count, " elements, but ",
                                given, " were given"));
    }
    const std::shared_ptr<T[]> elements(new T[given]);
    T* to = elements.get();
    std::string misfit;
    const auto put = [&](std::uint64_t number) {
      bool fits = true;
      if constexpr (std::is_same_v<T, float>) {
        *to = std::bit_cast<float>(static_cast<std::uint32_t>(number));
      } else if constexpr (std::is_same_v<T, double>) {
        *to = std::bit_cast<double>(number);
      } else if constexpr (std::is_same_v<T, bool>) {
        *to = number != 0;
      } else if constexpr (std::is_signed_v<T>) {
        fits = std::in_range<T>(static_cast<std::int64_t>(number));
        if (!fits) misfit = detail::Cat(static_cast<std::int64_t>(number));
        *to = static_cast<T>(number);
      } else {
        fits = std::in_range<T>(number);
        if (!fits) misfit = detail::Cat(number);
        *to = static_cast<T>(number);
      }
      ++to;
      return fits;
    };
    ForEachNumber(contents, field, kType, put, [&](const detail::Pieces& rest) { arrived.ReleaseBefore(rest); });
    if (!misfit.empty()) {
      return Broken(detail::Cat("output '", name, "': ", misfit, " is no ", DataTypeName(DataTypeOf<T>)));
    }
    result.AddShared<T>(name, std::span<const T>(elements.get(), given), std::move(shape), elements);
    return absl::OkStatus();
  }

  // Put into the layout of raw contents, which takes at most twice the room.
  static absl::Status AddStrings(const std::string& name, Shape shape, std::int64_t count, detail::Pieces contents,
                                 detail::wire::ReceivedBytes& arrived, InferResult& result) {
    constexpr std::uint32_t kBytesContents = 8;
    const auto for_each = [&](auto fn) {
      detail::wire::PieceReader reader(contents);
      while (reader.Next()) {
        if (reader.field() == kBytesContents && reader.type() == detail::wire::PieceReader::kBytes) fn(reader.bytes());
      }
      return reader.ok();
    };
    std::size_t size = 0;
    std::uint64_t given = 0;
    const bool legal = for_each([&](detail::Pieces element) {
      size += 4 + element.size();
      ++given;
    });
    if (!legal) return Malformed();
    if (!std::cmp_equal(given, count)) {
      return Broken(detail::Cat("output '", name, "': shape ", shape.ToString(), " holds ", count, " elements, but ",
                                given, " were given"));
    }
    std::string raw(size, '\0');
    auto* to = reinterpret_cast<std::byte*>(raw.data());
    for_each([&](detail::Pieces element) {
      const auto length = static_cast<std::uint32_t>(element.size());  // a message has at most 2 GiB
      std::memcpy(to, &length, 4);
      element.CopyTo(to + 4);
      to += 4 + element.size();
      arrived.ReleaseBefore(element);
    });
    result.AddRaw(name, DataType::kBytes, std::move(raw), std::move(shape));
    return absl::OkStatus();
  }
};

}  // namespace detail

INFERWIRE_DECL absl::StatusOr<InferResult> OpenInferenceCodec::Decode(detail::wire::Reply&& reply) {
  if (!reply.received()) return detail::InternalError("the server ended the call with OK but sent no message");
  const auto arrived = detail::OpenInferenceDecoder::Take(std::move(reply));
  return detail::OpenInferenceDecoder::DecodeResponse(arrived->bytes(), arrived);
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_OPEN_INFERENCE_DECODE_H_
