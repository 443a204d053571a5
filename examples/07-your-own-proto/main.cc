// SPDX-License-Identifier: Apache-2.0
//
// Any service: the client calls what your own .proto declares, with no registration and no base class.
#include <grpcpp/grpcpp.h>
#include <inferwire/client.h>

#include <iostream>
#include <memory>
#include <string>

#include "temperature.grpc.pb.h"

using Station = weather::v1::Station::Stub;

// A server to talk to; yours runs elsewhere.
class StationService final : public weather::v1::Station::Service {
  grpc::Status Convert(grpc::ServerContext*, const weather::v1::Reading* reading,
                       weather::v1::Forecast* forecast) override {
    if (reading->celsius() < -273.15) return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "colder than cold");
    forecast->set_fahrenheit(reading->celsius() * 9 / 5 + 32);
    return grpc::Status();
  }
};

int main() {
  StationService service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();

  const auto client = inferwire::Client::Create(
      {.targets = {"127.0.0.1:" + std::to_string(port)}, .credentials = inferwire::Insecure()});
  if (!client.ok()) return 1;

  weather::v1::Reading reading;
  reading.set_celsius(20);
  const auto forecast = client->Call<&Station::Convert>(reading);
  if (!forecast.ok()) return 1;
  std::cout << "20 °C are " << forecast->fahrenheit() << " °F\n";

  reading.set_celsius(-300);
  const absl::Status refused = client->Call<&Station::Convert>(reading).status();
  std::cout << "-300 °C: " << refused.message() << "\n";
  return refused.code() == absl::StatusCode::kInvalidArgument ? 0 : 1;
}
