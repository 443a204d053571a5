// SPDX-License-Identifier: Apache-2.0
//
// Many threads that classify one digit each, and a server that sees a few requests of many rows.
#include <inferwire/batcher.h>
#include <inferwire/contract/open_inference.h>
#include <inferwire/inference.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <thread>
#include <vector>

#include "server/digits.h"
#include "server/local_server.h"
#include "server/models.h"

int main(int argc, char** argv) {
  const inferwire::examples::LocalServer local(argc, argv);
  const auto server = inferwire::InferenceClient<inferwire::OpenInference>::Create(
      {.targets = {local.target()}, .credentials = inferwire::Insecure()});
  if (!server.ok()) {
    std::cerr << server.status() << "\n";
    return 1;
  }
  const auto digits = inferwire::examples::LoadDigitSet(inferwire::examples::BuiltInDataDir() + "/digits/held_out.bin");
  if (!digits.ok()) {
    std::cerr << digits.status() << "\n";
    return 1;
  }

  // While a batch is under way the next one grows: no call waits where the server is idle.
  const inferwire::Batcher batcher(server->GetModel("digits"),
                                   {.max_batch = 32, .max_delay = absl::ZeroDuration(), .max_in_flight = 1});

  constexpr std::size_t kThreads = 16;
  std::atomic<std::size_t> right = 0, failed = 0;
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = t; i < digits->size(); i += kThreads) {
        const auto result = batcher.Infer({{"image", digits->image(i), {1, 64}}}, {.timeout = absl::Seconds(5)});
        const auto label = result.ok() ? result->Get<std::int64_t>("label") : result.status();
        if (!label.ok()) {
          ++failed;
        } else {
          right += label->front() == digits->labels[i];
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  const std::size_t calls = digits->size();
  std::cout << calls << " calls became " << server->client().Stats().calls << " requests; " << right
            << " of the digits were read right, " << failed << " calls failed\n";
  return failed == 0 && right * 10 > calls * 9 ? 0 : 1;
}
