// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/wire/text_fields.h"

#include <google/protobuf/any.pb.h>
#include <google/protobuf/struct.pb.h>

#include <string>

#include "inferwire/contract/open_inference.pb.h"
#include "inferwire/detail/wire/protobuf.h"
#include "inferwire/inference.pb.h"
#include "support/catch.h"

namespace {

const std::string kBad = "caf\xe9";

template <class Message>
std::string Fault(const Message& message) {
  return inferwire::detail::wire::TextFields::Of(*Message::descriptor()).FirstFault(message.SerializeAsString());
}

}  // namespace

TEST_CASE("text that is not UTF-8 is found by its path", "[wire]") {
  inferwire::open_inference::ModelInferRequest request;
  request.set_model_name("caf\xc3\xa9");
  request.add_inputs()->set_name("a");
  request.add_inputs()->set_name("b");
  CHECK(Fault(request).empty());

  SECTION("a field") {
    request.set_id(kBad);
    CHECK(Fault(request) == "id");
  }
  SECTION("a field of a repeated message") {
    request.mutable_inputs(1)->set_name(kBad);
    CHECK(Fault(request) == "inputs[1].name");
  }
  SECTION("a value in a map") {
    (*request.mutable_parameters())["seed"].set_int64_param(1);
    (*request.mutable_parameters())["text"].set_string_param(kBad);
    CHECK(Fault(request) == "parameters['text'].string_param");
  }
  SECTION("a value in a map of a repeated message") {
    (*request.mutable_inputs(0)->mutable_parameters())["text"].set_string_param(kBad);
    CHECK(Fault(request) == "inputs[0].parameters['text'].string_param");
  }
  SECTION("a key of a map") {
    (*request.mutable_parameters())[kBad].set_bool_param(true);
    CHECK(Fault(request) == "parameters['caf\\xe9']");
  }
  SECTION("bytes are none") {
    request.add_raw_input_contents(kBad);
    request.mutable_inputs(0)->mutable_contents()->add_bytes_contents(kBad);
    CHECK(Fault(request).empty());
  }
}

TEST_CASE("messages that hold their own kind are looked through to the end", "[wire]") {
  google::protobuf::Struct root;
  google::protobuf::Value* value = &(*root.mutable_fields())["a"];
  for (int i = 0; i < 3; ++i) value = value->mutable_list_value()->add_values();
  value->set_string_value("good");
  CHECK(Fault(root).empty());
  value->set_string_value(kBad);
  CHECK(Fault(root) == "fields['a'].list_value.values[0].list_value.values[0].list_value.values[0].string_value");

  google::protobuf::Any any;
  any.set_value(kBad);
  CHECK(Fault(any).empty());
  any.set_type_url(kBad);
  CHECK(Fault(any) == "type_url");
}

TEST_CASE("a message with such text is not encoded, and the error names the field", "[wire]") {
  inference::Request request;
  request.set_text(kBad);
  const absl::Status status = inferwire::detail::wire::Encode(request).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(status.message() ==
        "inference.Request: the text of 'text' is not UTF-8; other bytes travel in fields of type bytes");
}
