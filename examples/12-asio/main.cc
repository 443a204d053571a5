// SPDX-License-Identifier: Apache-2.0
//
// In a Boost.Asio program: calls and streams awaited in its coroutines, all on the one thread that runs the loop.
#include <inferwire/asio.h>
#include <inferwire/client.h>

#include <boost/asio.hpp>
#include <iostream>
#include <memory>
#include <optional>

#include "inferwire/inference.grpc.pb.h"
#include "server/local_server.h"

using Inference = inference::Inference::Stub;

#ifdef BOOST_ASIO_HAS_CO_AWAIT

namespace net = boost::asio;

namespace {

net::awaitable<void> TellStory(inferwire::Client client, bool& told) {
  inference::Request request;
  request.set_model("storyteller");
  request.set_text("Tom");
  request.add_input(20);  // tokens at most

  const absl::StatusOr<inference::Response> whole =
      co_await inferwire::AsyncWait(client.Async<&Inference::RunInference>(request), net::use_awaitable);
  if (!whole.ok()) {
    std::cerr << whole.status() << "\n";
    co_return;
  }
  std::cout << "at once: " << whole->text() << "\nby and by: ";

  auto chunks = client.Stream<&Inference::StreamInference>(request);
  while (std::optional<inference::Response> chunk = co_await inferwire::AsyncNext(chunks, net::use_awaitable)) {
    std::cout << chunk->text() << std::flush;
  }
  std::cout << "\n";
  told = chunks.status().ok();
}

}  // namespace

int main(int argc, char** argv) {
  const inferwire::examples::LocalServer server(argc, argv);
  net::io_context loop;
  const auto client = inferwire::Client::Create({
      .targets = {server.target()},
      .credentials = inferwire::Insecure(),
      .executor = std::make_shared<inferwire::AsioExecutor>(loop.get_executor()),  // continuations run in the loop too
  });
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }
  bool told = false;
  net::co_spawn(loop, TellStory(*client, told), net::detached);
  loop.run();
  return told ? 0 : 1;
}

#else

int main() {
  std::cout << "this Boost.Asio has no coroutines with this compiler\n";
  return 0;
}

#endif
