// SPDX-License-Identifier: Apache-2.0
//
// The C++ client against a Python server. usage: call_python TARGET
#include <inferwire/client.h>

#include <iostream>
#include <string>

#include "inferwire/inference.grpc.pb.h"

using Inference = inference::Inference::Stub;

namespace {
int Fail(const std::string& what) {
  std::cerr << what << "\n";
  return 1;
}
}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return Fail("usage: call_python TARGET");
  const auto client = inferwire::Client::Create({.targets = {argv[1]}, .credentials = inferwire::Insecure()});
  if (!client.ok()) return Fail(client.status().ToString());

  inference::Request request;
  request.add_input(21);
  request.set_text("three words here");
  const auto reply = client->Call<&Inference::RunInference>(request);
  if (!reply.ok() || reply->output(0) != 42) return Fail("unary: " + reply.status().ToString());

  auto words = client->Stream<&Inference::StreamInference>(request);
  int count = 0;
  for ([[maybe_unused]] const inference::Response& word : words) ++count;
  if (count != 3 || !words.status().ok()) return Fail("stream: " + words.status().ToString());

  auto upload = client->Upload<&Inference::UploadInference>();
  for (int i = 0; i < 3; ++i) upload.Write(request).IgnoreError();
  const auto sum = upload.Finish();
  if (!sum.ok() || sum->output(0) != 63) return Fail("upload: " + sum.status().ToString());

  auto session = client->Open<&Inference::Converse>();
  session.Write(request).IgnoreError();
  const auto turn = session.Read();
  if (!turn.has_value() || turn->text() != "THREE WORDS HERE") return Fail("converse: " + session.status().ToString());
  if (!session.Finish().ok()) return Fail("converse: " + session.status().ToString());

  request.set_model("missing");
  const absl::Status missing = client->Call<&Inference::RunInference>(request).status();
  const inferwire::CallInfo info = inferwire::InfoOf(missing);
  if (missing.code() != absl::StatusCode::kNotFound || info.trailing_metadata.empty())
    return Fail("error: " + missing.ToString());
  std::cout << "the Python server answered\n";
  return 0;
}
