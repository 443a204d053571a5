// SPDX-License-Identifier: Apache-2.0
//
// Which fields of a message are text, and whether they hold UTF-8. protobuf sends whatever they hold, and the server
// then takes the whole request for malformed.
#ifndef INFERWIRE_DETAIL_WIRE_TEXT_FIELDS_H_
#define INFERWIRE_DETAIL_WIRE_TEXT_FIELDS_H_

#include <absl/strings/escaping.h>
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "inferwire/detail/base/text.h"
#include "inferwire/detail/base/utf8.h"
#include "inferwire/detail/wire/reader.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace wire {

/// The text of messages of one type, wherever in them it lies. Looked up once a type; looks at serialised messages, so
/// that what is no text, tensors above all, costs nothing. Safe from any thread.
class TextFields {
 public:
  /// Lives as long as the process, as the descriptors of generated messages do.
  static const TextFields& Of(const google::protobuf::Descriptor& type) {
    static std::mutex* const mutex = new std::mutex;
    static std::map<const google::protobuf::Descriptor*, std::unique_ptr<TextFields>>* const known =
        new std::map<const google::protobuf::Descriptor*, std::unique_ptr<TextFields>>;
    const std::lock_guard lock(*mutex);
    return Find(type, *known);
  }

  /// The path of the first field that is not UTF-8, such as "inputs[2].name"; "" if all are.
  std::string FirstFault(std::string_view message) const { return IsFine(message) ? std::string() : Path(message); }

 private:
  struct Field {
    std::uint32_t number;
    std::string name;
    bool repeated;
    bool map;
    const TextFields* message;  // null: the field is text
  };
  using Known = std::map<const google::protobuf::Descriptor*, std::unique_ptr<TextFields>>;

  static const TextFields& Find(const google::protobuf::Descriptor& type, Known& known) {
    std::unique_ptr<TextFields>& entry = known[&type];
    if (entry != nullptr) return *entry;
    TextFields& fields = *(entry = std::make_unique<TextFields>());  // first, since messages may hold their own kind
    for (int i = 0; i < type.field_count(); ++i) {
      const google::protobuf::FieldDescriptor& field = *type.field(i);
      if (!IsText(field)) {
        std::set<const google::protobuf::Descriptor*> seen;
        if (field.type() != google::protobuf::FieldDescriptor::TYPE_MESSAGE || !HasText(*field.message_type(), seen)) {
          continue;
        }
      }
      fields.fields_.push_back({static_cast<std::uint32_t>(field.number()), std::string(field.name()),
                                field.is_repeated(), field.is_map(),
                                IsText(field) ? nullptr : &Find(*field.message_type(), known)});
    }
    return fields;
  }
  static bool HasText(const google::protobuf::Descriptor& type, std::set<const google::protobuf::Descriptor*>& seen) {
    if (!seen.insert(&type).second) return false;
    for (int i = 0; i < type.field_count(); ++i) {
      const google::protobuf::FieldDescriptor& field = *type.field(i);
      if (IsText(field)) return true;
      if (field.type() == google::protobuf::FieldDescriptor::TYPE_MESSAGE && HasText(*field.message_type(), seen)) {
        return true;
      }
    }
    return false;
  }
  // proto2's strings are not looked at by anyone. A template, since older versions know no editions.
  template <class Descriptor>
  static bool IsText(const Descriptor& field) {
    if (field.type() != Descriptor::TYPE_STRING) return false;
    if constexpr (requires { field.requires_utf8_validation(); }) {
      return field.requires_utf8_validation();
    } else {
      return field.file()->syntax() == std::remove_cvref_t<decltype(*field.file())>::SYNTAX_PROTO3;
    }
  }

  const Field* At(std::uint32_t number) const {
    for (const Field& field : fields_) {
      if (field.number == number) return &field;
    }
    return nullptr;
  }
  bool IsFine(std::string_view message) const {
    if (fields_.empty()) return true;
    Reader reader(message);
    while (reader.Next()) {
      const Field* const field = reader.type() == Reader::kBytes ? At(reader.field()) : nullptr;
      if (field == nullptr) continue;
      if (field->message == nullptr ? !detail::IsUtf8(reader.bytes()) : !field->message->IsFine(reader.bytes())) {
        return false;
      }
    }
    return true;
  }
  std::string Path(std::string_view message) const {
    std::map<std::uint32_t, std::size_t> counts;
    Reader reader(message);
    while (reader.Next()) {
      const Field* const field = reader.type() == Reader::kBytes ? At(reader.field()) : nullptr;
      if (field == nullptr) continue;
      const std::size_t index = counts[field->number]++;
      const bool fine =
          field->message == nullptr ? detail::IsUtf8(reader.bytes()) : field->message->IsFine(reader.bytes());
      if (fine) continue;
      std::string path = field->name;
      if (field->map) {
        const std::string key = field->message->MapKey(reader.bytes());
        if (!detail::IsUtf8(key)) return detail::Cat(path, "['", absl::CHexEscape(key), "']");
        path += detail::Cat("['", absl::CHexEscape(key), "']");
        const std::string inner = field->message->Path(reader.bytes());  // "value", or "value.name"
        return inner.size() > 5 ? path + inner.substr(5) : path;
      }
      if (field->repeated) path += detail::Cat("[", index, "]");
      return field->message == nullptr ? path : detail::Cat(path, ".", field->message->Path(reader.bytes()));
    }
    return {};
  }
  // Field 1 of a map's entry, whatever its type.
  std::string MapKey(std::string_view entry) const {
    Reader reader(entry);
    while (reader.Next()) {
      if (reader.field() != 1) continue;
      return reader.type() == Reader::kBytes ? std::string(reader.bytes()) : detail::Cat(reader.number());
    }
    return {};
  }

  std::vector<Field> fields_;
};

}  // namespace wire
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_WIRE_TEXT_FIELDS_H_
