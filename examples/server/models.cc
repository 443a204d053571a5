// SPDX-License-Identifier: Apache-2.0
#include "server/models.h"

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <set>

#include "server/file.h"
#include "server/text.h"

namespace inferwire::examples {
namespace {

const TensorView* Find(std::span<const TensorView> tensors, std::string_view name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const TensorView& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

bool Fits(const Shape& shape, const Shape& expected) {
  return std::equal(shape.begin(), shape.end(), expected.begin(), expected.end(),
                    [](std::int64_t given, std::int64_t wanted) { return wanted == -1 || given == wanted; });
}

class DigitsModel : public Model {
 public:
  explicit DigitsModel(const DigitClassifier& digits)
      : Model({.name = "digits",
               .platform = "neural_network",
               .inputs = {{.name = "image", .datatypes = {"FP32"}, .shape = {-1, 64}}},
               .outputs = {{.name = "scores", .datatypes = {"FP32"}, .shape = {-1, 10}},
                           {.name = "label", .datatypes = {"INT64"}, .shape = {-1}}}}),
        digits_(digits) {}

 private:
  absl::StatusOr<std::vector<Tensor>> Run(std::span<const TensorView> inputs) const override {
    absl::StatusOr<std::vector<float>> scores = digits_.Classify(Values<float>(inputs[0]));
    if (!scores.ok()) return scores.status();
    const std::vector<int> classes = MostProbable(*scores);
    const std::vector<std::int64_t> labels(classes.begin(), classes.end());
    const std::int64_t images = inputs[0].shape[0];
    return std::vector<Tensor>{MakeTensor<float>("scores", "FP32", {images, 10}, *scores),
                               MakeTensor<std::int64_t>("label", "INT64", {images}, labels)};
  }

  const DigitClassifier& digits_;
};

class StorytellerModel : public Model {
 public:
  explicit StorytellerModel(const Storyteller& teller)
      : Model({.name = "storyteller",
               .platform = "ngram",
               .inputs = {{.name = "prompt", .datatypes = {"BYTES"}, .shape = {1}},
                          {.name = "max_tokens", .datatypes = {"INT64"}, .shape = {1}, .optional = true},
                          {.name = "seed", .datatypes = {"INT64"}, .shape = {1}, .optional = true}},
               .outputs = {{.name = "text", .datatypes = {"BYTES"}, .shape = {1}}},
               .decoupled = true}),
        teller_(teller) {}

 private:
  // The whole story at once.
  absl::StatusOr<std::vector<Tensor>> Run(std::span<const TensorView> inputs) const override {
    std::string text;
    absl::Status status = Tell(inputs, [&](const std::string& token) {
      text += token;
      return true;
    });
    if (!status.ok()) return status;
    return Text(text);
  }

  absl::Status RunStream(std::span<const TensorView> inputs,
                         const std::function<bool(std::vector<Tensor>)>& send) const override {
    return Tell(inputs, [&](const std::string& token) { return send(Text(token)); });
  }

  absl::Status Tell(std::span<const TensorView> inputs, const std::function<bool(const std::string&)>& say) const {
    const auto setting = [&](std::string_view name, std::int64_t otherwise) {
      const TensorView* tensor = Find(inputs, name);
      return tensor == nullptr ? otherwise : Values<std::int64_t>(*tensor)[0];
    };
    absl::StatusOr<StoryOptions> options =
        StoryOptions::Create(setting("max_tokens", StoryOptions().max_tokens), setting("seed", 0));
    if (!options.ok()) return options.status();
    Storyteller::Story story = teller_.Tell(Strings(*Find(inputs, "prompt"))[0], options->seed);
    for (std::int64_t i = 0; i < options->max_tokens; ++i) {
      if (!say(story.Next())) break;
    }
    return absl::OkStatus();
  }

  static std::vector<Tensor> Text(const std::string& text) {
    Tensor output{"text", "BYTES", {1}, {}};
    AppendString(text, output.data);
    return {std::move(output)};
  }

  const Storyteller& teller_;
};

class AddSubModel : public Model {
 public:
  AddSubModel()
      : Model({.name = "add_sub",
               .platform = "arithmetic",
               .inputs = {Operand("INPUT0"), Operand("INPUT1")},
               .outputs = {Operand("OUTPUT0"), Operand("OUTPUT1")}}) {}

 private:
  static TensorSpec Operand(std::string name) {
    return {.name = std::move(name), .datatypes = {"FP32", "INT32"}, .shape = {-1}, .any_shape = true};
  }

  template <class T>
  static std::vector<Tensor> Apply(const TensorView& first, const TensorView& second) {
    const std::vector<T> a = Values<T>(first), b = Values<T>(second);
    std::vector<T> sum(a.size()), difference(a.size());
    std::transform(a.begin(), a.end(), b.begin(), sum.begin(), std::plus<T>());
    std::transform(a.begin(), a.end(), b.begin(), difference.begin(), std::minus<T>());
    return {MakeTensor<T>("OUTPUT0", first.datatype, first.shape, sum),
            MakeTensor<T>("OUTPUT1", first.datatype, first.shape, difference)};
  }

  absl::StatusOr<std::vector<Tensor>> Run(std::span<const TensorView> inputs) const override {
    const TensorView& a = *Find(inputs, "INPUT0");
    const TensorView& b = *Find(inputs, "INPUT1");
    if (a.datatype != b.datatype || a.shape != b.shape) {
      return absl::InvalidArgumentError(
          absl::StrCat("add_sub: expected INPUT0 and INPUT1 of one datatype and shape, found ", a.datatype, " ",
                       ShapeText(a.shape), " and ", b.datatype, " ", ShapeText(b.shape)));
    }
    if (a.datatype == "FP32") return Apply<float>(a, b);
    // Unsigned numbers have the same bits and wrap around, where signed ones would be undefined.
    return Apply<std::uint32_t>(a, b);
  }
};

class IdentityModel : public Model {
 public:
  IdentityModel()
      : Model({.name = "identity",
               .platform = "identity",
               .inputs = {{.name = "INPUT0", .shape = {-1}, .any_shape = true}},
               .outputs = {{.name = "OUTPUT0", .shape = {-1}, .any_shape = true}}}) {}

 private:
  absl::StatusOr<std::vector<Tensor>> Run(std::span<const TensorView> inputs) const override {
    const TensorView& input = inputs[0];
    return std::vector<Tensor>{{"OUTPUT0", input.datatype, input.shape, std::string(input.data)}};
  }
};

class AccumulateModel : public Model {
 public:
  AccumulateModel()
      : Model({.name = "accumulate",
               .platform = "arithmetic",
               .inputs = {{.name = "INPUT0", .datatypes = {"FP32"}, .shape = {-1}, .any_shape = true}},
               .outputs = {{.name = "SUM", .datatypes = {"FP32"}, .shape = {1}}}}) {}

 private:
  absl::StatusOr<std::vector<Tensor>> Run(std::span<const TensorView> inputs) const override {
    double sum = 0;
    for (const float value : Values<float>(inputs[0])) sum += value;
    const float output[] = {static_cast<float>(sum)};
    return std::vector<Tensor>{MakeTensor<float>("SUM", "FP32", {1}, output)};
  }
};

// Keeps the sum of each sequence that was begun and has not ended.
class SequenceSumModel : public Model {
 public:
  static constexpr std::size_t kMostSequences = 10'000;

  SequenceSumModel()
      : Model({.name = "sequence_sum",
               .platform = "arithmetic",
               .inputs = {{.name = "INPUT", .datatypes = {"INT32", "FP32"}, .shape = {1}}},
               .outputs = {{.name = "OUTPUT", .datatypes = {"INT32", "FP32"}, .shape = {1}}},
               .sequence = true}) {}

 private:
  absl::StatusOr<std::vector<Tensor>> Run(std::span<const TensorView> inputs) const override {
    return RunStep(inputs, {});
  }

  absl::StatusOr<std::vector<Tensor>> RunStep(std::span<const TensorView> inputs,
                                              const SequenceStep& step) const override {
    if (!step.has_id()) {
      return absl::InvalidArgumentError("sequence_sum: expected a sequence_id that is neither 0 nor empty");
    }
    const TensorView& input = inputs[0];
    const bool floats = input.datatype == "FP32";
    const double value = floats ? static_cast<double>(Values<float>(input)[0]) : Values<std::int32_t>(input)[0];
    const std::lock_guard<std::mutex> lock(mutex_);
    auto sum = sums_.find(step.id);
    if (!step.start && sum != sums_.end() && sum->second.datatype != input.datatype) {
      return absl::InvalidArgumentError(
          absl::StrCat("sequence_sum: the sequence began with ", sum->second.datatype, "; found ", input.datatype));
    }
    if (step.start) {
      if (sum == sums_.end() && sums_.size() == kMostSequences) {
        return absl::UnavailableError(absl::StrCat("sequence_sum: ", kMostSequences, " sequences run already"));
      }
      sum = sums_.insert_or_assign(step.id, Sum{input.datatype, 0}).first;
    } else if (sum == sums_.end()) {
      return absl::InvalidArgumentError("sequence_sum: the first request of a sequence must have sequence_start");
    }
    sum->second.total += value;
    const double total = sum->second.total;
    if (step.end) sums_.erase(sum);
    if (floats) {
      const float output[] = {static_cast<float>(total)};
      return std::vector<Tensor>{MakeTensor<float>("OUTPUT", "FP32", {1}, output)};
    }
    // Sums of integers are exact in a double up to 2^53, and wrap around as the type does.
    const std::uint32_t output[] = {static_cast<std::uint32_t>(static_cast<std::int64_t>(total))};
    return std::vector<Tensor>{MakeTensor<std::uint32_t>("OUTPUT", "INT32", {1}, output)};
  }

  struct Sum {
    std::string datatype;
    double total;
  };

  mutable std::mutex mutex_;
  mutable std::map<SequenceStep::Id, Sum> sums_;
};

}  // namespace

absl::StatusOr<std::vector<Tensor>> Model::Infer(std::span<const TensorView> inputs, const SequenceStep& step) const {
  if (absl::Status status = Check(inputs); !status.ok()) return status;
  return RunStep(inputs, step);
}

absl::Status Model::Stream(std::span<const TensorView> inputs,
                           const std::function<bool(std::vector<Tensor>)>& send) const {
  if (absl::Status status = Check(inputs); !status.ok()) return status;
  return RunStream(inputs, send);
}

absl::Status Model::Check(std::span<const TensorView> inputs) const {
  const auto bad = [&](const std::string& reason) {
    return absl::InvalidArgumentError(absl::StrCat(spec_.name, ": ", reason));
  };
  std::vector<std::string> names;
  for (const TensorSpec& expected : spec_.inputs) names.push_back(expected.name);
  std::set<std::string_view> seen;
  for (const TensorView& input : inputs) {
    const auto expected = std::find_if(spec_.inputs.begin(), spec_.inputs.end(),
                                       [&](const TensorSpec& spec) { return spec.name == input.name; });
    if (expected == spec_.inputs.end()) {
      return bad(absl::StrCat("no input ", Quote(input.name), "; expected ", List(names)));
    }
    if (!seen.insert(input.name).second) return bad(absl::StrCat("input ", Quote(input.name), " was given twice"));
    const std::vector<std::string>& types = expected->datatypes;
    if (!types.empty() && std::find(types.begin(), types.end(), input.datatype) == types.end()) {
      return bad(absl::StrCat("input ", Quote(input.name), " is ", Quote(input.datatype), "; expected ",
                              types.size() == 1 ? "" : "one of ", List(types)));
    }
    if (!expected->any_shape && !Fits(input.shape, expected->shape)) {
      return bad(absl::StrCat("input ", Quote(input.name), " has shape ", ShapeText(input.shape), "; expected ",
                              ShapeText(expected->shape)));
    }
  }
  for (const TensorSpec& expected : spec_.inputs) {
    if (!expected.optional && !seen.contains(expected.name)) {
      return bad(absl::StrCat("input ", Quote(expected.name), " is missing"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<StoryOptions> StoryOptions::Create(std::int64_t max_tokens, std::int64_t seed) {
  if (max_tokens < 0 || max_tokens > kMostTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("storyteller: expected max_tokens of 0 to ", kMostTokens, ", found ", max_tokens));
  }
  return StoryOptions{max_tokens, static_cast<std::uint64_t>(seed)};
}

ModelSet::ModelSet(DigitClassifier digits, Storyteller storyteller)
    : digits_(std::move(digits)), storyteller_(std::move(storyteller)) {
  models_.push_back(std::make_unique<AccumulateModel>());
  models_.push_back(std::make_unique<AddSubModel>());
  models_.push_back(std::make_unique<DigitsModel>(digits_));
  models_.push_back(std::make_unique<IdentityModel>());
  models_.push_back(std::make_unique<SequenceSumModel>());
  models_.push_back(std::make_unique<StorytellerModel>(storyteller_));
}

absl::StatusOr<std::unique_ptr<ModelSet>> ModelSet::Load(const std::string& data_dir) {
  const std::string root = data_dir.empty() ? BuiltInDataDir() : data_dir;
  absl::StatusOr<DigitClassifier> digits = DigitClassifier::Load(root + "/digits/weights.bin");
  if (!digits.ok()) return digits.status();
  absl::StatusOr<std::string> text = ReadFile(root + "/story/story.txt");
  if (!text.ok()) return text.status();
  absl::StatusOr<Storyteller> storyteller = Storyteller::Build(*text);
  if (!storyteller.ok()) return storyteller.status();
  return std::unique_ptr<ModelSet>(new ModelSet(*std::move(digits), *std::move(storyteller)));
}

absl::StatusOr<const Model*> ModelSet::Find(std::string_view name) const {
  for (const std::unique_ptr<const Model>& model : models_) {
    if (model->spec().name == name) return model.get();
  }
  return absl::NotFoundError(absl::StrCat("no model ", Quote(name), "; there are ", List(names())));
}

std::vector<std::string> ModelSet::names() const {
  std::vector<std::string> names;
  for (const std::unique_ptr<const Model>& model : models_) names.push_back(model->spec().name);
  return names;
}

std::string BuiltInDataDir() { return INFERWIRE_EXAMPLES_DATA_DIR; }

}  // namespace inferwire::examples
