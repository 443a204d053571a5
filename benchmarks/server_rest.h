// SPDX-License-Identifier: Apache-2.0
//
// The echo model as JSON over HTTP/1.1, as REST servers have it.
#ifndef INFERWIRE_BENCHMARKS_SERVER_REST_H_
#define INFERWIRE_BENCHMARKS_SERVER_REST_H_

#include <httplib.h>

#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

namespace bench {

/// On a free port of loopback, until destroyed. It makes a tensor of what it gets, as a server that infers must.
class RestServer {
 public:
  RestServer() {
    server_.set_tcp_nodelay(true);
    server_.set_keep_alive_max_count(1'000'000);
    server_.Post("/v2/models/echo/infer", [](const httplib::Request& request, httplib::Response& response) {
      const auto asked = nlohmann::json::parse(request.body);
      const auto& input = asked["inputs"][0];
      const auto elements = input["data"].get<std::vector<float>>();
      response.set_content(
          nlohmann::json{
              {"model_name", "echo"},
              {"outputs",
               {{{"name", input["name"]}, {"datatype", "FP32"}, {"shape", input["shape"]}, {"data", elements}}}}}
              .dump(),
          "application/json");
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
  }
  ~RestServer() {
    server_.stop();
    thread_.join();
  }
  int port() const { return port_; }

 private:
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace bench

#endif  // INFERWIRE_BENCHMARKS_SERVER_REST_H_
