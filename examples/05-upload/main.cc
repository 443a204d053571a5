// SPDX-License-Identifier: Apache-2.0
//
// A client stream: write any number of requests, then ask for the one answer.
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

  inferwire::RequestStream<inference::Request, inference::Response> upload =
      client->Upload<&Inference::UploadInference>();
  for (int i = 1; i <= 100; ++i) {
    inference::Request request;
    request.add_input(static_cast<float>(i));
    if (const absl::Status sent = upload.Write(request); !sent.ok()) {  // blocks while the write window is full
      std::cerr << sent << "\n";
      return 1;
    }
  }

  const absl::StatusOr<inference::Response> summary = upload.Finish();
  if (!summary.ok()) {
    std::cerr << summary.status() << "\n";
    return 1;
  }
  std::cout << summary->text() << " summed up to " << summary->output(0) << "\n";
  return summary->output(0) == 5050 ? 0 : 1;
}
