// SPDX-License-Identifier: Apache-2.0
//
// What servers of language models send, by every contract: whatever it is, it is deltas or an error, in memory that
// what arrived allows. The first byte chooses the contract, the next ones how long the messages are.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fuzz/heap.h"
#include "fuzz/pieces.h"
#include "inferwire/contract/open_engine.h"
#include "inferwire/contract/open_inference_text.h"
#include "inferwire/contract/sglang.h"
#include "inferwire/contract/sglang_scheduler.h"
#include "inferwire/contract/tensorrt_llm.h"
#include "inferwire/contract/vllm.h"
#include "inferwire/contract/vllm_engine.h"
#include "inferwire/contract/xai.h"
#include "inferwire/detail/generation/assembler.h"

using inferwire::GenerationChunk;
using inferwire::GenerationDelta;
using inferwire::detail::Assembler;
using inferwire::detail::GenerationTable;
using inferwire::detail::GenerationTableOf;
using inferwire_fuzz::Require;

namespace {

std::vector<const GenerationTable*> Tables() {
  std::vector<const GenerationTable*> out;
  const auto add = [&](const GenerationTable& table) {
    if (table.forms.empty()) out.push_back(&table);
    for (const GenerationTable& form : table.forms) out.push_back(&form);
  };
  add(GenerationTableOf<inferwire::Vllm>::Get());
  add(GenerationTableOf<inferwire::VllmEngine>::Get());
  add(GenerationTableOf<inferwire::Sglang>::Get());
  add(GenerationTableOf<inferwire::SglangScheduler>::Get());
  add(GenerationTableOf<inferwire::TensorRtLlm>::Get());
  add(GenerationTableOf<inferwire::OpenEngine>::Get());
  add(GenerationTableOf<inferwire::OpenInferenceText>::Get());
  add(GenerationTableOf<inferwire::OpenInferenceTextTensorRtLlm>::Get());
  add(GenerationTableOf<inferwire::OpenInferenceTextDynamo>::Get());
  add(GenerationTableOf<inferwire::Xai>::Get());
  return out;
}

bool IsUtf8Complete(std::string_view text) { return inferwire::detail::UnfinishedCharacter(text) == 0; }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<const GenerationTable*>& tables = *new std::vector<const GenerationTable*>(Tables());
  if (size < 2) return 0;
  const GenerationTable& table = *tables[data[0] % tables.size()];
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  Assembler assembler({.n = 2, .stop = {"END"}, .tells_finish = table.tells_finish, .keeps = true});
  std::deque<GenerationDelta> deltas;
  absl::Status status;
  for (int number = 0; !rest.empty() && status.ok(); ++number) {
    const std::size_t length =
        (std::min)(static_cast<std::size_t>(static_cast<unsigned char>(rest.front())), rest.size() - 1);
    const std::string message(rest.substr(1, length));
    rest.remove_prefix(1 + length);
    const auto reply = [&] { return inferwire_fuzz::ToReply(message, inferwire_fuzz::Cut::kNot); };
    if (table.inspect != nullptr) {
      const absl::Status told = table.inspect(reply());
      Require(told.code() != absl::StatusCode::kOk || told.ok(), "an error has a code");
    }
    GenerationChunk chunk;
    status = table.decode(reply(), chunk);
    chunk.attempt = number / 3;
    if (status.ok()) status = assembler.Feed(std::move(chunk), deltas);
  }
  if (status.ok()) status = assembler.Close(deltas);
  int ends[2] = {0, 0};
  for (const GenerationDelta& delta : deltas) {
    Require(delta.index == 0 || delta.index == 1, "a delta is of a sequence that was asked for");
    Require(ends[delta.index] == 0, "nothing follows a sequence's end");
    if (delta.finish_reason.has_value()) ++ends[delta.index];
    Require(IsUtf8Complete(delta.text), "a delta does not end inside a character");
    Require(delta.text.find("END") == std::string::npos, "a stop string is not given");
  }
  return 0;
}
