// SPDX-License-Identifier: Apache-2.0
//
// A bidirectional session: this thread reads while another one writes.
#include <inferwire/client.h>

#include <iostream>
#include <thread>

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

  inferwire::Session<inference::Request, inference::Response> session = client->Open<&Inference::Converse>();
  std::thread writer([&session] {
    for (int i = 1; i <= 10; ++i) {
      inference::Request request;
      request.add_input(static_cast<float>(i));
      if (!session.Write(request).ok()) return;  // the reader learns why
    }
    session.WritesDone().IgnoreError();
  });

  float last = 0;
  for (const inference::Response& turn : session.responses()) {
    last = turn.output(0);
    std::cout << last << " " << std::flush;
  }
  writer.join();
  std::cout << "\n";

  if (const absl::Status done = session.Finish(); !done.ok()) {
    std::cerr << done << "\n";
    return 1;
  }
  return last == 55 ? 0 : 1;
}
