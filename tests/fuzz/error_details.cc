// SPDX-License-Identifier: Apache-2.0
//
// The error details of a trailer: whatever comes is read or skipped, and what comes behind changes nothing before it.
#include "inferwire/detail/wire/error_details.h"

#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

#include "fuzz/heap.h"

using inferwire::ErrorDetail;
using inferwire_fuzz::Require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  // 64 details of 256 entries, none of more than half a KiB in a vector that grows; and an entry is in two bytes.
  const auto read = [](std::string_view part) {
    return inferwire_fuzz::Within(inferwire_fuzz::Twice(part.size(), 512, std::size_t{16} << 20),
                                  [&] { return inferwire::detail::wire::ReadErrorDetails(part); });
  };
  const std::vector<ErrorDetail> all = read(bytes);
  Require(all.size() <= 64, "there is an end");
  for (const ErrorDetail& detail : all) {
    if (const auto* const retry = std::get_if<inferwire::RetryInfo>(&detail)) {
      Require(absl::AbsDuration(retry->retry_delay) <= absl::Hours(24 * 366 * 10'000), "a delay is a Duration");
    }
  }
  // What comes in front of a field does not depend on it.
  std::size_t before = 0;
  inferwire::detail::wire::Reader reader(bytes);
  std::size_t end = 0;
  for (int i = 0; i < 64 && reader.Next(); ++i) {
    if (reader.type() != inferwire::detail::wire::Reader::kBytes) continue;
    end = static_cast<std::size_t>(reader.bytes().data() + reader.bytes().size() - bytes.data());
    if (reader.bytes().empty()) continue;
    const std::vector<ErrorDetail> some = read(bytes.substr(0, end));
    Require(some.size() >= before && some.size() <= all.size(), "details come one by one");
    for (std::size_t k = 0; k < some.size(); ++k) Require(some[k].index() == all[k].index(), "and in order");
    before = some.size();
  }
  return 0;
}
