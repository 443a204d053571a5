// SPDX-License-Identifier: Apache-2.0
//
// The models that the example server serves, each with its tensors: plain C++, no gRPC.
#ifndef INFERWIRE_EXAMPLES_SERVER_MODELS_H_
#define INFERWIRE_EXAMPLES_SERVER_MODELS_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "server/digits.h"
#include "server/storyteller.h"
#include "server/tensor.h"

namespace inferwire::examples {

/// What a model takes or gives under one name.
struct TensorSpec {
  std::string name;
  std::vector<std::string> datatypes = {};  // those it takes, its favourite first; empty: any
  Shape shape = {};                         // -1: any size
  bool any_shape = false;                   // also shapes of other ranks; `shape` is then only the usual one
  bool optional = false;
};

struct ModelSpec {
  std::string name;
  std::string platform;
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
  bool decoupled = false;  // a stream gets any number of answers
  bool sequence = false;   // a request is a step of a sequence
};

/// Which sequence a request belongs to, and whether it begins or ends it. 0 and "" mean none.
struct SequenceStep {
  using Id = std::variant<std::uint64_t, std::string>;

  Id id = std::uint64_t{0};
  bool start = false;
  bool end = false;

  bool has_id() const { return id != Id(std::uint64_t{0}) && id != Id(std::string()); }
};

/// One model as tensors in, tensors out. Safe from any thread.
class Model {
 public:
  explicit Model(ModelSpec spec) : spec_(std::move(spec)) {}
  virtual ~Model() = default;

  const ModelSpec& spec() const { return spec_; }

  /// All outputs, in the order of the spec. INVALID_ARGUMENT naming what was given and what was expected for an input
  /// that the spec does not allow. The inputs have passed CheckData.
  absl::StatusOr<std::vector<Tensor>> Infer(std::span<const TensorView> inputs, const SequenceStep& step = {}) const;

  /// Any number of answers, one after another, until `send` says false. For decoupled models.
  absl::Status Stream(std::span<const TensorView> inputs, const std::function<bool(std::vector<Tensor>)>& send) const;

 private:
  absl::Status Check(std::span<const TensorView> inputs) const;
  virtual absl::StatusOr<std::vector<Tensor>> Run(std::span<const TensorView> inputs) const = 0;
  virtual absl::StatusOr<std::vector<Tensor>> RunStep(std::span<const TensorView> inputs, const SequenceStep&) const {
    return Run(inputs);
  }
  virtual absl::Status RunStream(std::span<const TensorView> inputs,
                                 const std::function<bool(std::vector<Tensor>)>& send) const {
    absl::StatusOr<std::vector<Tensor>> outputs = Run(inputs);
    if (outputs.ok()) send(*std::move(outputs));
    return outputs.status();
  }

  ModelSpec spec_;
};

/// How long a story is and which one it is.
struct StoryOptions {
  static constexpr std::int64_t kMostTokens = 100'000;

  std::int64_t max_tokens = 64;  // a paragraph
  std::uint64_t seed = 0;

  /// INVALID_ARGUMENT unless `max_tokens` is 0 to 100000.
  static absl::StatusOr<StoryOptions> Create(std::int64_t max_tokens, std::int64_t seed);
};

/// All models, loaded once and read from any thread.
class ModelSet {
 public:
  /// Reads digits/weights.bin and story/story.txt below `data_dir`; empty means the directory it was built with.
  static absl::StatusOr<std::unique_ptr<ModelSet>> Load(const std::string& data_dir);

  ModelSet(const ModelSet&) = delete;  // the models refer to their neighbours
  ModelSet& operator=(const ModelSet&) = delete;

  /// NOT_FOUND, naming those there are.
  absl::StatusOr<const Model*> Find(std::string_view name) const;

  std::vector<std::string> names() const;
  const DigitClassifier& digits() const { return digits_; }
  const Storyteller& storyteller() const { return storyteller_; }

 private:
  ModelSet(DigitClassifier digits, Storyteller storyteller);

  DigitClassifier digits_;
  Storyteller storyteller_;
  std::vector<std::unique_ptr<const Model>> models_;
};

/// The directory of data files that the program was built with.
std::string BuiltInDataDir();

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_MODELS_H_
