// SPDX-License-Identifier: Apache-2.0
//
// A blocking call: fill the request that protoc generated, name the method, read the reply.
#include <inferwire/client.h>

#include <iostream>

#include "inferwire/inference.grpc.pb.h"
#include "server/local_server.h"

using Inference = inference::Inference::Stub;

int main(int argc, char** argv) {
  const inferwire::examples::LocalServer server(argc, argv);

  absl::StatusOr<inferwire::Client> client = inferwire::Client::Create({
      .targets = {server.target()},
      .credentials = inferwire::Insecure(),  // the default is TLS; plaintext is spelled out
  });
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }

  inference::Request request;
  for (const float value : {0.5f, 1.5f, 2.5f}) request.add_input(value);

  inferwire::CallInfo info;
  absl::StatusOr<inference::Response> reply =
      client->Call<&Inference::RunInference>(request, {.timeout = absl::Seconds(2), .info = &info});
  if (!reply.ok()) {
    std::cerr << reply.status() << "\n";  // the message tells the attempts made and why they ended
    return 1;
  }
  for (const float value : reply->output()) std::cout << value << " ";
  std::cout << "(from " << info.attempts.front().peer << " in " << info.latency << ")\n";
  return 0;
}
