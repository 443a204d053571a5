// SPDX-License-Identifier: Apache-2.0
//
// The wire reader: bytes in one piece and in many must read alike, and as protobuf reads them.
#include "inferwire/detail/wire/reader.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/unknown_field_set.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/heap.h"
#include "fuzz/pieces.h"

using google::protobuf::UnknownField;
using google::protobuf::UnknownFieldSet;
using inferwire::detail::Pieces;
using inferwire::detail::wire::PieceReader;
using inferwire::detail::wire::Reader;
using inferwire_fuzz::Require;

namespace {

void CheckField(const Reader& reader, const UnknownField& field) {
  Require(reader.field() == static_cast<std::uint32_t>(field.number()), "the field's number");
  switch (field.type()) {
    case UnknownField::TYPE_VARINT:
      return Require(reader.type() == Reader::kVarint && reader.number() == field.varint(), "a varint");
    case UnknownField::TYPE_FIXED32:
      return Require(reader.type() == Reader::kFixed32 && reader.number() == field.fixed32(), "a fixed32");
    case UnknownField::TYPE_FIXED64:
      return Require(reader.type() == Reader::kFixed64 && reader.number() == field.fixed64(), "a fixed64");
    case UnknownField::TYPE_LENGTH_DELIMITED:
      return Require(reader.type() == Reader::kBytes && reader.bytes() == std::string_view(field.length_delimited()),
                     "a field of bytes");
    case UnknownField::TYPE_GROUP:
      return Require(false, "a group was read");
  }
}

bool HasGroup(const UnknownFieldSet& set) {
  for (int i = 0; i < set.field_count(); ++i) {
    if (set.field(i).type() == UnknownField::TYPE_GROUP) return true;
  }
  return false;
}

// All fields of `bytes`, as protobuf has them; false where ours says malformed.
bool Same(std::string_view bytes, const UnknownFieldSet* theirs) {
  Reader reader(bytes);
  int fields = 0;
  while (reader.Next()) {
    if (theirs != nullptr) {
      Require(fields < theirs->field_count(), "there is a field too many");
      CheckField(reader, theirs->field(fields));
    }
    ++fields;
  }
  if (theirs != nullptr && reader.ok()) Require(fields == theirs->field_count(), "all fields are read");
  return reader.ok();
}

void CheckPieces(std::string_view bytes, inferwire_fuzz::Cut cut) {
  std::vector<Pieces::Piece> pieces;
  for (const std::string_view piece : inferwire_fuzz::CutUp(bytes, cut)) {
    pieces.push_back(std::as_bytes(std::span(piece)));
  }
  Reader flat(bytes);
  PieceReader cut_up{Pieces(pieces)};
  while (true) {
    const bool more = flat.Next();
    Require(cut_up.Next() == more && cut_up.ok() == flat.ok(), "pieces read as the whole does");
    if (!more) break;
    Require(cut_up.field() == flat.field() && static_cast<int>(cut_up.type()) == static_cast<int>(flat.type()) &&
                cut_up.number() == flat.number() && cut_up.bytes().ToString() == flat.bytes(),
            "a field in pieces is the same field");
    if (const auto whole = cut_up.bytes().Whole()) {
      Require(whole->size() == flat.bytes().size(), "what lies in one piece is all of it");
    }
    for (const Reader::Type type : {Reader::kVarint, Reader::kFixed32, Reader::kFixed64}) {
      Reader a(flat.bytes());
      PieceReader b(cut_up.bytes());
      std::uint64_t x = 0, y = 0;
      while (true) {
        const bool number = a.Packed(&x, type);
        Require(b.Packed(&y, static_cast<PieceReader::Type>(type)) == number && a.ok() == b.ok() && x == y,
                "packed numbers are the same in pieces");
        if (!number) break;
      }
    }
  }
}

void CheckPacked(std::string_view bytes) {
  Reader ours(bytes);
  google::protobuf::io::CodedInputStream theirs(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                                static_cast<int>(bytes.size()));
  std::uint64_t number = 0;
  while (ours.Packed(&number)) {
    std::uint64_t expected = 0;
    Require(theirs.ReadVarint64(&expected) && number == expected, "a packed number");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const bool ok = inferwire_fuzz::Within(0, [&] { return Same(bytes, nullptr); });
  for (const inferwire_fuzz::Cut cut : inferwire_fuzz::kCuts) CheckPieces(bytes, cut);
  CheckPacked(bytes);
  UnknownFieldSet theirs;
  const bool parsed = theirs.ParseFromArray(data, static_cast<int>(size));
  if (ok) {
    Require(parsed, "what is read here, protobuf reads");
    Require(Same(bytes, &theirs), "and alike");
  } else if (parsed && !HasGroup(theirs)) {
    // Malformed only to a strict eye: written anew it is read.
    std::string anew;
    theirs.SerializeToString(&anew);
    Require(Same(anew, &theirs), "what protobuf writes is read here");
  }
  return 0;
}
