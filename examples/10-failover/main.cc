// SPDX-License-Identifier: Apache-2.0
//
// Two servers, of which one goes and comes back: calls go on, and Stats tells where they went.
#include <inferwire/client.h>

#include <chrono>
#include <iostream>
#include <string>
#include <thread>

#include "inferwire/inference.grpc.pb.h"
#include "server/server.h"

using Inference = inference::Inference::Stub;
using inferwire::examples::EmbeddedServer;

namespace {

// Makes so many calls, and prints how each target is doing.
bool Call(const inferwire::Client& client, int calls, const char* when) {
  inference::Request request;
  request.set_text("hello");
  int answered = 0;
  for (int i = 0; i < calls; ++i) {
    const auto reply = client.Call<&Inference::RunInference>(request);
    if (!reply.ok()) std::cerr << reply.status() << "\n";
    answered += reply.ok() ? 1 : 0;
  }
  const inferwire::ClientStats stats = client.Stats();
  std::cout << when << ": " << answered << " of " << calls << " calls were answered; so far " << stats.retries
            << " attempts were repeated\n";
  for (const inferwire::ClientStats::Target& target : stats.targets) {
    std::cout << "  " << target.target << ": " << target.attempts << " attempts, " << target.failures << " failed, "
              << (target.healthy ? "healthy" : "not healthy");
    if (target.p50.has_value()) std::cout << ", half of them within " << *target.p50;
    std::cout << "\n";
  }
  return answered == calls;
}

}  // namespace

int main() {
  auto first = EmbeddedServer::Start({});
  auto second = EmbeddedServer::Start({});
  if (!first.ok() || !second.ok()) {
    std::cerr << first.status() << " " << second.status() << "\n";
    return 1;
  }
  const int port = (*second)->port();

  const auto client = inferwire::Client::Create({
      .targets = {(*first)->target(), (*second)->target()},  // balanced; .target_order can make one the other's backup
      .credentials = inferwire::Insecure(),
      .health = {.check_service = ""},  // asks them by grpc.health.v1
  });
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }

  bool all = Call(*client, 500, "with both");
  (*second)->Shutdown(std::chrono::milliseconds(0));
  all = Call(*client, 500, "without the second") && all;
  second = EmbeddedServer::Start({.listen = "127.0.0.1:" + std::to_string(port)});
  // It is asked for its health again within a second, and used by and by.
  while (second.ok() && !client->Stats().targets[1].healthy) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  all = Call(*client, 500, "with the second one back") && all;
  return all ? 0 : 1;
}
