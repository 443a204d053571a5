// SPDX-License-Identifier: Apache-2.0
//
// TLS, and a client that proves who it is: certificates come from files, checked when the client is made.
#include <inferwire/client.h>

#include <iostream>
#include <string>

#include "inferwire/inference.grpc.pb.h"
#include "server/server.h"

using Inference = inference::Inference::Stub;

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0]
              << " DIRECTORY\n\nWith ca.pem, server.pem, server.key, client.pem and client.key, "
              << "as examples/09-tls/make-certificates makes them.\n";
    return 2;
  }
  const std::string directory = std::string(argv[1]) + "/";
  const auto server = inferwire::examples::EmbeddedServer::Start({.certificate_file = directory + "server.pem",
                                                                  .private_key_file = directory + "server.key",
                                                                  .client_ca_file = directory + "ca.pem"});
  if (!server.ok()) {
    std::cerr << server.status() << "\n";
    return 1;
  }

  const auto client = inferwire::Client::Create({
      .targets = {(*server)->target()},  // an address that stands in the certificate
      .credentials = inferwire::Tls({.root_certificates_file = directory + "ca.pem",
                                     .certificate_chain_file = directory + "client.pem",
                                     .private_key_file = directory + "client.key"}),
  });
  if (!client.ok()) {
    std::cerr << client.status() << "\n";  // names the file and what is wrong with it
    return 1;
  }
  inference::Request request;
  request.set_text("hello");
  const auto reply = client->Call<&Inference::RunInference>(request);
  std::cout << (reply.ok() ? "a reply over TLS: " + reply->text() : reply.status().ToString()) << "\n";
  return reply.ok() ? 0 : 1;
}
