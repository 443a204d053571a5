// SPDX-License-Identifier: Apache-2.0
//
// The echo model asked by JSON over one HTTP/1.1 connection that is kept.
#include <httplib.h>

#include <cstddef>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "measure.h"

namespace bench {
namespace {

struct RestJson final : Way {
  explicit RestJson(const Aim& aim) : client(aim.target), floats(aim.bytes / sizeof(float), 0.5f) {
    client.set_keep_alive(true);
    client.set_tcp_nodelay(true);
    // Numbers of as many digits as real ones have.
    for (std::size_t i = 0; i < floats.size(); ++i) floats[i] = 1.0f / static_cast<float>(i + 3);
  }
  void Make(int calls, int, Latencies& latencies) override {
    for (int i = 0; i < calls; ++i) {
      const auto from = Clock::now();
      const std::string body =
          nlohmann::json{
              {"inputs", {{{"name", "tensor"}, {"datatype", "FP32"}, {"shape", {1, floats.size()}}, {"data", floats}}}}}
              .dump();
      const auto response = client.Post("/v2/models/echo/infer", body, "application/json");
      if (!response || response->status != 200) Give("the REST server has not answered");
      const auto answer = nlohmann::json::parse(response->body)["outputs"][0]["data"].get<std::vector<float>>();
      if (answer != floats) Give("the tensor that came is not the one that was expected");
      latencies.Add(from);
    }
  }
  httplib::Client client;
  std::vector<float> floats;
};

}  // namespace

void AddRest(Ways& ways) { ways["rest_json"] = Make<RestJson>(); }

}  // namespace bench
