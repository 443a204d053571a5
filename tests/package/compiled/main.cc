// SPDX-License-Identifier: Apache-2.0
//
// Calls where nobody listens, in every form; the calls to it of another file use the same library.
#include <inferwire/client.h>

#include <iostream>
#include <memory>
#include <utility>

#include "inferwire/inference.grpc.pb.h"

using Inference = inference::Inference::Stub;

absl::StatusCode Ask(const inferwire::Client& client);
bool ModelsAreUnavailable(const inferwire::Client& client);

int main() {
  auto client = inferwire::Client::Create({.targets = {"127.0.0.1:1"},
                                           .credentials = inferwire::Insecure(),
                                           .timeout = absl::Seconds(5),
                                           .retry = {.max_attempts = 2},
                                           .executor = std::make_shared<inferwire::InlineExecutor>()});
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }
  const inference::Request request;
  inferwire::CallInfo info;
  const absl::Status call = client->Call<&Inference::RunInference>(request, {.info = &info}).status();
  auto stream = client->Stream<&Inference::StreamInference>(request);
  while (stream.Read()) {
  }
  // On a thread of the library's, which the program's own code must know for one.
  absl::Status within;
  std::move(client->Async<&Inference::RunInference>(request).Then([&](absl::StatusOr<inference::Response>) {
    within = client->Async<&Inference::RunInference>(request).Get().status();
  }))
      .Get()
      .IgnoreError();
  const auto expect = [](const char* what, bool holds) {
    if (!holds) std::cerr << "expected " << what << "\n";
    return holds;
  };
  const bool fine = expect("a call that is UNAVAILABLE", absl::IsUnavailable(call)) &
                    expect("two attempts", info.attempts.size() == 2) &
                    expect("the story of the call", inferwire::InfoOf(call).attempts.size() == 2) &
                    expect("a stream that is UNAVAILABLE", absl::IsUnavailable(stream.status())) &
                    expect("a future that is UNAVAILABLE", Ask(*client) == absl::StatusCode::kUnavailable) &
                    expect("a wait that is refused", within.code() == absl::StatusCode::kFailedPrecondition) &
                    expect("counters", client->Stats().calls == 5) &
                    expect("models that are UNAVAILABLE", ModelsAreUnavailable(*client));
  return fine ? 0 : 1;
}
