// SPDX-License-Identifier: Apache-2.0
//
// What servers tell those who run them, whatever the contract: configuration, statistics, repositories, settings.
#ifndef INFERWIRE_ADMIN_TYPES_H_
#define INFERWIRE_ADMIN_TYPES_H_

#include <absl/time/time.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {

/// What a model is configured to take or give under one name.
struct TensorConfig {
  std::string name;
  std::optional<DataType> datatype;  ///< unset where the configuration leaves it open
  Shape shape;                       ///< without the batch dimension; -1 is any size
  bool optional = false;             ///< an input that may be left out
  std::string label_file = "";       ///< an output's labels, which a classification answers with
};

struct ModelConfig {
  std::string name;
  std::string platform;
  std::string backend;
  std::string runtime;
  std::int64_t max_batch_size = 0;  ///< 0: no batches; else shapes begin with a batch dimension of at most this
  std::vector<TensorConfig> inputs;
  std::vector<TensorConfig> outputs;
  bool decoupled = false;         ///< any number of answers to a request, by streams only
  bool dynamic_batching = false;  ///< the server makes batches of requests that wait
  bool sequence = false;          ///< requests belong to sequences
  bool ensemble = false;          ///< made of other models
  std::map<std::string, std::string> parameters;
  /// All that this library knows of the configuration, in the form that LoadOptions::config takes.
  std::string json;
};

/// How often something happened, and how long it took in all.
struct Timing {
  std::uint64_t count = 0;
  absl::Duration total;
};

/// What a model, in one version, has done since it was loaded.
struct ModelStatistics {
  struct Batch {
    std::uint64_t size = 0;
    Timing compute_input;
    Timing compute_infer;
    Timing compute_output;
  };
  struct Memory {
    std::string type;  ///< "CPU", "GPU" and so on
    std::int64_t device = 0;
    std::uint64_t byte_size = 0;
  };
  /// Of a decoupled model's answers.
  struct Response {
    Timing compute_infer;
    Timing compute_output;
    Timing success;
    Timing fail;
    Timing empty;
    Timing cancelled;
  };

  std::string name;
  std::string version;
  absl::Time last_inference = absl::UnixEpoch();
  std::uint64_t inference_count = 0;  ///< each element of a batch counted
  std::uint64_t execution_count = 0;  ///< each batch counted once
  Timing success;
  Timing fail;
  Timing queue;
  Timing compute_input;
  Timing compute_infer;
  Timing compute_output;
  Timing cache_hit;
  Timing cache_miss;
  std::vector<Batch> batches;
  std::vector<Memory> memory;
  std::map<std::string, Response> responses;  ///< by the answer's place among a request's answers, from "0"
};

/// A model in a server's repository.
struct RepositoryModel {
  std::string name;
  std::string version;
  std::string state;   ///< "READY", "UNAVAILABLE", "LOADING", "UNLOADING"; empty where it was never loaded
  std::string reason;  ///< why it is in that state
};

/// How a model is loaded.
struct LoadOptions {
  std::string repository = "";  ///< empty: whichever has the model
  std::string config = "";      ///< JSON in place of the repository's configuration; empty: the repository's
  /// Contents of files in place of the repository's, by path ("1/model.onnx"). All of the model's files are given then,
  /// and a configuration.
  std::map<std::string, std::string> files = {};
};

struct UnloadOptions {
  std::string repository = "";  ///< empty: whichever has the model
  bool dependents = false;      ///< also the models that it was made of
};

/// A region of system shared memory that a server knows.
struct SystemSharedMemory {
  std::string name = "";
  std::string key = "";  ///< as shm_open takes it
  std::uint64_t offset = 0;
  std::uint64_t byte_size = 0;
};

/// A region of a CUDA device's memory that a server knows.
struct CudaSharedMemory {
  std::string name = "";
  std::uint64_t device = 0;
  std::uint64_t byte_size = 0;
};

/// By name, the values of each. No value: back to the server's own.
using TraceSettings = std::map<std::string, std::vector<std::string>>;

using LogSetting = std::variant<bool, std::int64_t, std::string>;
using LogSettings = std::map<std::string, LogSetting>;

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_ADMIN_TYPES_H_
