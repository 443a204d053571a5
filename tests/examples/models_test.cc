// SPDX-License-Identifier: Apache-2.0
//
// The example models by themselves: they are real, they repeat themselves where they should, and they check what they
// get.
#include "server/models.h"

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "server/digits.h"
#include "server/file.h"
#include "server/storyteller.h"
#include "server/tensor.h"
#include "support/catch.h"

namespace inferwire::examples {
namespace {

std::string DigitFile(const std::string& name) { return BuiltInDataDir() + "/digits/" + name; }

// A file of its own for the time of a test.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& content) {
    const char* directory = std::getenv("TMPDIR");
    path_ = std::string(directory == nullptr ? "/tmp" : directory) + "/inferwire_models_XXXXXX";
    const int descriptor = mkstemp(path_.data());
    REQUIRE(descriptor >= 0);
    close(descriptor);
    std::ofstream(path_, std::ios::binary) << content;
  }
  ~TemporaryFile() { std::remove(path_.c_str()); }

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

void CheckMentions(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    INFO("'" << text << "' should mention '" << part << "'");
    CHECK(text.find(part) != std::string::npos);
  }
}

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

const ModelSet& Models() {
  static const std::unique_ptr<ModelSet> models = [] {
    absl::StatusOr<std::unique_ptr<ModelSet>> loaded = ModelSet::Load("");
    INFO(loaded.status().ToString());
    REQUIRE(loaded.ok());
    return *std::move(loaded);
  }();
  return *models;
}

const Model& Get(const std::string& name) {
  absl::StatusOr<const Model*> model = Models().Find(name);
  REQUIRE(model.ok());
  return **model;
}

std::string Tell(std::string_view prompt, std::uint64_t seed, int tokens = 200) {
  Storyteller::Story story = Models().storyteller().Tell(prompt, seed);
  std::string text;
  for (int i = 0; i < tokens; ++i) text += story.Next();
  return text;
}

template <class T>
std::string Bytes(const std::vector<T>& values) {
  return MakeTensor<T>("", "", {}, values).data;
}

}  // namespace

TEST_CASE("the digit classifier is right on more than 95 of 100 images it never saw", "[examples][digits]") {
  absl::StatusOr<DigitSet> set = LoadDigitSet(DigitFile("held_out.bin"));
  REQUIRE(set.ok());
  REQUIRE(set->size() >= 300);
  absl::StatusOr<std::vector<float>> scores = Models().digits().Classify(set->pixels);
  REQUIRE(scores.ok());
  REQUIRE(scores->size() == set->size() * kDigitClasses);

  const std::vector<int> answers = MostProbable(*scores);
  std::size_t right = 0;
  for (std::size_t i = 0; i < set->size(); ++i) right += answers[i] == set->labels[i] ? 1 : 0;
  const double accuracy = static_cast<double>(right) / static_cast<double>(set->size());
  CHECK(accuracy > 0.95);
  CHECK(std::set<int>(set->labels.begin(), set->labels.end()).size() == kDigitClasses);
}

TEST_CASE("an image's ten probabilities add up to one, alone and in a batch", "[examples][digits]") {
  absl::StatusOr<DigitSet> set = LoadDigitSet(DigitFile("held_out.bin"));
  REQUIRE(set.ok());
  absl::StatusOr<std::vector<float>> batch = Models().digits().Classify(set->pixels);
  REQUIRE(batch.ok());
  for (std::size_t i = 0; i < 20; ++i) {
    absl::StatusOr<std::vector<float>> alone = Models().digits().Classify(set->image(i));
    REQUIRE(alone.ok());
    float sum = 0;
    for (std::size_t j = 0; j < kDigitClasses; ++j) {
      sum += (*alone)[j];
      CHECK((*alone)[j] == (*batch)[i * kDigitClasses + j]);
    }
    CHECK(std::abs(sum - 1) < 1e-5f);
  }
}

TEST_CASE("the digit classifier names the number of pixels it cannot divide into images", "[examples][digits]") {
  for (const std::size_t count : {0U, 1U, 63U, 65U}) {
    absl::StatusOr<std::vector<float>> scores = Models().digits().Classify(std::vector<float>(count));
    CHECK(scores.status().code() == absl::StatusCode::kInvalidArgument);
    CheckMentions(MessageOf(scores.status()), {"64", std::to_string(count)});
  }
}

TEST_CASE("pixels that are no numbers give probabilities that are none, and no crash", "[examples][digits]") {
  std::vector<float> pixels(kDigitPixels, std::numeric_limits<float>::quiet_NaN());
  absl::StatusOr<std::vector<float>> scores = Models().digits().Classify(pixels);
  REQUIRE(scores.ok());
  CHECK(std::isnan(scores->front()));
  CHECK(MostProbable(*scores).size() == 1);
  pixels.assign(kDigitPixels, std::numeric_limits<float>::infinity());
  CHECK(Models().digits().Classify(pixels).ok());
}

TEST_CASE("a weights file that ends anywhere too early is refused with its name", "[examples][digits]") {
  absl::StatusOr<std::string> whole = ReadFile(DigitFile("weights.bin"));
  REQUIRE(whole.ok());
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{8}, std::size_t{11}, std::size_t{15},
                                 std::size_t{20}, std::size_t{1000}, whole->size() - 1}) {
    const TemporaryFile file(whole->substr(0, size));
    const absl::Status status = DigitClassifier::Load(file.path()).status();
    INFO(status.ToString());
    CHECK(status.code() == absl::StatusCode::kDataLoss);
    CheckMentions(MessageOf(status), {file.path(), "expected"});
  }
}

TEST_CASE("a weights file with something behind its end is refused", "[examples][digits]") {
  absl::StatusOr<std::string> whole = ReadFile(DigitFile("weights.bin"));
  REQUIRE(whole.ok());
  const TemporaryFile file(*whole + "more");
  CheckMentions(MessageOf(DigitClassifier::Load(file.path()).status()), {"4 more follow"});
}

TEST_CASE("a weights file whose layers do not fit together is refused", "[examples][digits]") {
  absl::StatusOr<std::string> whole = ReadFile(DigitFile("weights.bin"));
  REQUIRE(whole.ok());
  std::string other = *whole;
  other[12] = 63;
  const TemporaryFile file(other);
  CheckMentions(MessageOf(DigitClassifier::Load(file.path()).status()), {"64 inputs, found 63"});
  // Sizes that would need more memory than there is are compared with the file before anything is allocated.
  std::string huge = whole->substr(0, 12) + std::string("\x40\0\0\0\0\0\1\0", 8);
  const TemporaryFile huge_file(huge);
  CHECK(DigitClassifier::Load(huge_file.path()).status().code() == absl::StatusCode::kDataLoss);
}

TEST_CASE("a foreign file is neither weights nor images", "[examples][digits]") {
  const TemporaryFile file("GIF89a, and so on");
  CheckMentions(MessageOf(DigitClassifier::Load(file.path()).status()), {"IWDIGNET", "GIF89a"});
  CheckMentions(MessageOf(LoadDigitSet(file.path()).status()), {"IWDIGSET", "GIF89a"});
  CheckMentions(MessageOf(LoadDigitSet(DigitFile("weights.bin")).status()), {"IWDIGSET"});
}

TEST_CASE("an image file that is cut, overfull or out of range is refused", "[examples][digits]") {
  absl::StatusOr<std::string> whole = ReadFile(DigitFile("held_out.bin"));
  REQUIRE(whole.ok());
  for (const std::size_t size : {std::size_t{9}, std::size_t{12}, std::size_t{5000}, whole->size() - 1}) {
    const TemporaryFile file(whole->substr(0, size));
    CHECK(LoadDigitSet(file.path()).status().code() == absl::StatusCode::kDataLoss);
  }
  std::string dark = *whole;
  dark[12] = 17;
  CheckMentions(MessageOf(LoadDigitSet(TemporaryFile(dark).path()).status()), {"0 to 16, found 17"});
  std::string eleven = *whole;
  eleven.back() = 11;
  CheckMentions(MessageOf(LoadDigitSet(TemporaryFile(eleven).path()).status()), {"0 to 9, found 11"});
}

TEST_CASE("a missing data directory is named", "[examples]") {
  const absl::Status status = ModelSet::Load("/nonexistent/data").status();
  CHECK(status.code() == absl::StatusCode::kNotFound);
  CheckMentions(MessageOf(status), {"/nonexistent/data"});
  CHECK(ReadFile(BuiltInDataDir()).status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("the storyteller tells the same story for the same prompt and seed", "[examples][storyteller]") {
  CHECK(Tell("Tom said", 7) == Tell("Tom said", 7));
  CHECK(Tell("Tom said", 7) != Tell("Tom said", 8));
  CHECK(Tell("Tom said", 7) != Tell("The cave", 7));
}

TEST_CASE("the storyteller tells the same story on every machine", "[examples][storyteller]") {
  CHECK(Tell("Tom", 1, 12) == " was in a new direction, and I don't know. And");
}

TEST_CASE("the storyteller can be asked from many threads at once", "[examples][storyteller]") {
  const std::string expected = Tell("The boys", 3);
  std::vector<std::string> stories(4);
  std::vector<std::thread> threads;
  for (std::string& story : stories) threads.emplace_back([&story] { story = Tell("The boys", 3); });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& story : stories) CHECK(story == expected);
}

TEST_CASE("a story is spaced like prose", "[examples][storyteller]") {
  for (const std::uint64_t seed : {0U, 1U, 2U, 3U}) {
    const std::string text = Tell("", seed, 2000);
    CHECK(std::isalnum(static_cast<unsigned char>(text.front())) != 0);
    for (const char* wrong : {"  ", " ,", " .", " !", " ?", " ;", " :", " --", "-- ", "\n", "\""}) {
      INFO(wrong);
      CHECK(text.find(wrong) == std::string::npos);
    }
  }
}

TEST_CASE("a story joins its prompt with one space, or none where the prompt brings it", "[examples][storyteller]") {
  CHECK(Tell("the", 5).front() == ' ');
  CHECK(Tell("the ", 5).front() != ' ');
  CHECK(Tell("the--", 5).front() != ' ');
}

TEST_CASE("a prompt of unknown words or none at all still gets a story", "[examples][storyteller]") {
  for (const char* prompt : {"", " ", "\xff\xfe", "Zyxwv qponm", "\"", "..."}) {
    INFO(prompt);
    CHECK(Tell(prompt, 0, 50).size() > 50);
  }
}

TEST_CASE("a story of every length up to 100000 tokens may be asked for", "[examples][storyteller]") {
  CHECK(StoryOptions::Create(0, 0).ok());
  CHECK(StoryOptions::Create(100'000, -1).ok());
  for (const std::int64_t tokens :
       {std::int64_t{-1}, std::int64_t{100'001}, std::numeric_limits<std::int64_t>::min()}) {
    const absl::Status status = StoryOptions::Create(tokens, 0).status();
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CheckMentions(MessageOf(status), {"0 to 100000", std::to_string(tokens)});
  }
}

TEST_CASE("a language model needs a text to learn from", "[examples][storyteller]") {
  CheckMentions(MessageOf(Storyteller::Build("Too short.").status()), {"100 words, found 2"});
  CHECK(!Storyteller::Build(std::string(1000, '.')).ok());
}

TEST_CASE("an unknown model's error names the known ones", "[examples]") {
  const absl::Status status = Models().Find("digitz").status();
  CHECK(status.code() == absl::StatusCode::kNotFound);
  CheckMentions(MessageOf(status), {"'digitz'", "accumulate, add_sub, digits, identity, sequence_sum and storyteller"});
}

TEST_CASE("add_sub adds and subtracts floats and integers of any shape", "[examples]") {
  const std::string a = Bytes<float>({1, 2, 3, 4}), b = Bytes<float>({10, 20, 30, 40});
  const std::vector<TensorView> inputs = {{"INPUT1", "FP32", {2, 2}, b}, {"INPUT0", "FP32", {2, 2}, a}};
  absl::StatusOr<std::vector<Tensor>> outputs = Get("add_sub").Infer(inputs);
  REQUIRE(outputs.ok());
  CHECK((*outputs)[0].data == Bytes<float>({11, 22, 33, 44}));
  CHECK((*outputs)[1].data == Bytes<float>({-9, -18, -27, -36}));
  CHECK((*outputs)[1].shape == Shape{2, 2});

  const std::string most = Bytes<std::int32_t>({std::numeric_limits<std::int32_t>::max()});
  const std::string one = Bytes<std::int32_t>({1});
  outputs = Get("add_sub").Infer(std::vector<TensorView>{{"INPUT0", "INT32", {}, most}, {"INPUT1", "INT32", {}, one}});
  REQUIRE(outputs.ok());
  CHECK((*outputs)[0].data == Bytes<std::int32_t>({std::numeric_limits<std::int32_t>::min()}));
  CHECK((*outputs)[0].datatype == "INT32");
}

TEST_CASE("a model names the input that is unknown, doubled, missing or of a wrong type or shape", "[examples]") {
  const std::string image(256, '\0');
  struct Row {
    std::vector<TensorView> inputs;
    std::vector<std::string> parts;
  };
  const Row rows[] = {
      {{{"pixels", "FP32", {1, 64}, image}}, {"'pixels'", "image"}},
      {{}, {"'image' is missing"}},
      {{{"image", "FP32", {1, 64}, image}, {"image", "FP32", {1, 64}, image}}, {"'image' was given twice"}},
      {{{"image", "INT32", {1, 64}, image}}, {"'INT32'", "expected FP32"}},
      {{{"image", "FP32", {64}, image}}, {"[64]", "expected [-1,64]"}},
      {{{"image", "FP32", {2, 32}, image}}, {"[2,32]", "expected [-1,64]"}},
      {{{"image", "FP32", {0, 64}, ""}}, {"0 were given"}},
  };
  for (const Row& row : rows) {
    const absl::Status status = Get("digits").Infer(row.inputs).status();
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    for (const std::string& part : row.parts) CheckMentions(MessageOf(status), {part});
  }
}

TEST_CASE("the bytes of a tensor must be those of its type and shape", "[examples]") {
  struct Row {
    const char* datatype;
    Shape shape;
    std::string data;
    bool good;
  };
  constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();
  const Row rows[] = {
      {"FP32", {}, std::string(4, 0), true},
      {"FP32", {0}, "", true},
      {"FP32", {kHuge, 0, kHuge}, "", true},
      {"FP16", {2, 3}, std::string(12, 0), true},
      {"FP32", {2}, std::string(7, 0), false},
      {"FP32", {2}, std::string(12, 0), false},
      {"FP32", {-1}, std::string(4, 0), false},
      {"FP64", {kHuge}, "", false},
      {"FP64", {1LL << 61}, "", false},  // times 8 is 0 in 64 bits
      {"UINT8", {1LL << 32, 1LL << 32}, "", false},
      {"FP128", {1}, std::string(16, 0), false},
      {"BYTES", {2}, std::string("\3\0\0\0abc\0\0\0\0", 11), true},
      {"BYTES", {1}, std::string("\3\0\0\0abc\0\0\0\0", 11), false},
      {"BYTES", {1}, std::string("\4\0\0\0abc", 7), false},
      {"BYTES", {1}, std::string("\xff\xff\xff\xff", 4), false},
      {"BYTES", {1}, std::string("\0\0", 2), false},
      {"BYTES", {0}, "", true},
  };
  for (const Row& row : rows) {
    const absl::Status status = CheckData({"t", row.datatype, row.shape, row.data});
    INFO(row.datatype << " " << row.data.size() << " " << status.ToString());
    CHECK(status.ok() == row.good);
    if (!row.good) CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace inferwire::examples
