// SPDX-License-Identifier: Apache-2.0
//
// JSON as some contracts carry it inside of their messages, by protobuf's own parser.
#ifndef INFERWIRE_DETAIL_CONTRACT_JSON_H_
#define INFERWIRE_DETAIL_CONTRACT_JSON_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "inferwire/detail/base/error.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

using JsonValue = google::protobuf::Value;
using JsonObject = google::protobuf::Struct;

/// None where it is no JSON object. Never deeper than protobuf allows.
inline std::optional<JsonObject> ParseJsonObject(std::string_view text) {
  JsonObject object;
  if (!google::protobuf::util::JsonStringToMessage(std::string(text), &object).ok()) return std::nullopt;
  return object;
}
inline std::string WriteJson(const JsonObject& object) {
  std::string out;
  static_cast<void>(google::protobuf::util::MessageToJsonString(object, &out));
  return out;
}

inline const JsonValue* Find(const JsonObject& object, const char* key) {
  const auto found = object.fields().find(key);
  return found != object.fields().end() ? &found->second : nullptr;
}
inline const JsonObject* FindObject(const JsonObject& object, const char* key) {
  const JsonValue* const value = Find(object, key);
  return value != nullptr && value->has_struct_value() ? &value->struct_value() : nullptr;
}
inline std::string_view FindText(const JsonObject& object, const char* key) {
  const JsonValue* const value = Find(object, key);
  return value != nullptr && value->kind_case() == JsonValue::kStringValue ? std::string_view(value->string_value())
                                                                           : std::string_view();
}
/// A whole number that a double holds exactly.
inline std::optional<std::int64_t> WholeNumber(const JsonValue& value) {
  constexpr double kMost = 9007199254740992;  // 2^53
  if (value.kind_case() != JsonValue::kNumberValue) return std::nullopt;
  const double number = value.number_value();
  if (!(std::abs(number) <= kMost) || std::floor(number) != number) return std::nullopt;
  return static_cast<std::int64_t>(number);
}
inline std::optional<std::int64_t> FindWholeNumber(const JsonObject& object, const char* key) {
  const JsonValue* const value = Find(object, key);
  return value != nullptr ? WholeNumber(*value) : std::nullopt;
}
/// Of a text that is a number and nothing else.
inline std::optional<std::int64_t> ParseWholeNumber(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CONTRACT_JSON_H_
