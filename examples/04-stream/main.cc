// SPDX-License-Identifier: Apache-2.0
//
// A server stream as a range: tokens as they come, and a status at the end that is never lost.
#include <inferwire/client.h>

#include <iostream>

#include "inferwire/inference.grpc.pb.h"
#include "server/local_server.h"

using Inference = inference::Inference::Stub;

int main(int argc, char** argv) {
  const inferwire::examples::LocalServer server(argc, argv);
  const auto client = inferwire::Client::Create({.targets = {server.target()}, .credentials = inferwire::Insecure()});
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }

  inference::Request request;
  request.set_model("storyteller");
  request.set_text("Huck said");
  request.add_input(200);  // tokens at most
  request.add_input(7);    // the seed

  inferwire::ResponseStream<inference::Response> chunks = client->Stream<&Inference::StreamInference>(request);
  int sentences = 0;
  for (const inference::Response& chunk : chunks) {
    std::cout << chunk.text() << std::flush;
    if (chunk.text().find('.') != std::string::npos && ++sentences == 3) break;  // the rest is not needed
  }
  std::cout << "\n";

  const absl::Status end = chunks.Finish();  // cancels the rest; the server stops generating
  if (!end.ok() && end.code() != absl::StatusCode::kCancelled) {
    std::cerr << end << "\n";
    return 1;
  }
  return 0;
}
