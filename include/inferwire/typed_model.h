// SPDX-License-Identifier: Apache-2.0
//
// A model as a function: its signature is a type, checked against the server's metadata once, and against every answer.
#ifndef INFERWIRE_TYPED_MODEL_H_
#define INFERWIRE_TYPED_MODEL_H_

#include <absl/base/attributes.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "inferwire/call_options.h"
#include "inferwire/contract/any_contract.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/future.h"
#include "inferwire/inference.h"
#include "inferwire/signature.h"

namespace inferwire {
inline namespace v0 {

/// How InferenceClient::Bind binds a signature to a model.
struct BindOptions {
  /// Empty: the server's choice.
  std::string version = "";
  /// False: the server is not asked; what the model gives is checked all the same.
  bool check = true;
  /// True: the signature may lack inputs that the model has. Metadata does not tell which of them are optional.
  bool optional_inputs = false;
  /// For the question after the metadata.
  CallOptions call = CallOptions();
};

/// One output of a typed call: a view of its elements, row-major. A small value that keeps the whole result alive.
template <class Tensor>
class OutputView {
 public:
  /// std::string_view for BYTES.
  using Element = std::conditional_t<std::is_same_v<typename Tensor::Element, std::string>, std::string_view,
                                     typename Tensor::Element>;

  OutputView(std::shared_ptr<const InferResult> result, std::span<const Element> elements, const Shape& shape)
      : result_(std::move(result)), elements_(elements), shape_(&shape) {}

  const Shape& shape() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return *shape_; }
  std::size_t size() const { return elements_.size(); }
  const Element* data() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return elements_.data(); }
  auto begin() const { return elements_.begin(); }
  auto end() const { return elements_.end(); }
  const Element& operator[](std::size_t i) const ABSL_ATTRIBUTE_LIFETIME_BOUND { return elements_[i]; }
  /// The elements in a row. Like all views, it lives as long as this one or a copy of it; one that ends with the
  /// expression gives none.
  std::span<const Element> elements() const& ABSL_ATTRIBUTE_LIFETIME_BOUND { return elements_; }
  std::span<const Element> elements() const&& = delete;
  /// All that the model answered.
  const InferResult& result() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return *result_; }

 private:
  std::shared_ptr<const InferResult> result_;
  std::span<const Element> elements_;
  const Shape* shape_;
};

namespace detail {

/// The elements of what may be an argument; void if it has none.
template <class D>
struct ElementsOf {
  using type = void;
  static constexpr std::size_t kCount = std::dynamic_extent;
};
template <ContiguousContainer D>
struct ElementsOf<D> {
  using type = typename D::value_type;
  static constexpr std::size_t kCount = std::dynamic_extent;
};
template <class T, std::size_t N>
struct ElementsOf<std::span<T, N>> {
  using type = std::remove_const_t<T>;
  static constexpr std::size_t kCount = N;
};
template <class T, std::size_t N>
struct ElementsOf<std::array<T, N>> {
  using type = T;
  static constexpr std::size_t kCount = N;
};
template <class T, std::size_t N>
struct ElementsOf<T[N]> {
  using type = std::remove_const_t<T>;
  static constexpr std::size_t kCount = N;
};
template <class A>
struct ElementsOf<std::vector<bool, A>> {
  using type = bool;
  static constexpr std::size_t kCount = std::dynamic_extent;
};
template <class C>
struct ElementsOf<std::shared_ptr<C>> : ElementsOf<std::remove_const_t<C>> {};

/// Whether a tensor of T may be made of elements of V.
template <class V, class T>
consteval bool AreElements() {
  if constexpr (TensorElement<V>) {
    return DataTypeOf<V> == DataTypeOf<T>;
  } else {
    return false;
  }
}

/// Whether D is one element by itself.
template <class D, class T>
consteval bool IsElement() {
  if constexpr (std::is_same_v<T, std::string>) {
    return std::is_convertible_v<const D&, std::string_view>;
  } else {
    return AreElements<D, T>();
  }
}

/// Whether N elements can fill the dimensions of Tensor; unknown numbers are seen when they are known.
template <class Tensor, std::size_t N>
consteval bool MayFill() {
  if (N == std::dynamic_extent) return true;
  std::uint64_t fixed = 1;
  for (const std::int64_t dimension : Tensor::kDimensions) fixed *= dimension == -1 ? 1 : std::uint64_t(dimension);
  return Tensor::kOpen == 0 ? N == fixed : fixed != 0 && N % fixed == 0;
}

/// What an argument of a typed call converts to: the input, or why there is none. Where the call waits (`kWaits`), what
/// stays with the caller outlives it and is lent.
template <class Tensor, bool kWaits>
class Argument {
  using T = typename Tensor::Element;
  template <class D>
  static constexpr std::size_t kCount = ElementsOf<std::remove_cvref_t<D>>::kCount;

 public:
  template <class D>
    requires(!std::same_as<std::remove_cvref_t<D>, Argument>)
  Argument(D&& data)  // NOLINT: meant to be implicit
      : input_(Make(std::forward<D>(data))) {}

  /// With a shape, as `{data, {2, 3}}`, where the signature leaves more than one dimension open.
  template <class D>
  Argument(D&& data, Shape shape) : input_(Make(std::forward<D>(data), std::move(shape))) {}

  InferInput& input() { return input_; }

 private:
  static std::string Name() { return std::string(Tensor::kSignature.name); }

  template <class D>
  static InferInput Make(D&& data) {
    using U = std::remove_cvref_t<D>;
    if constexpr (std::is_same_v<U, InferInput>) {
      return Check(std::forward<D>(data));
    } else if constexpr (Tensor::kOpen > 1) {
      static_assert(
          Tensor::kOpen <= 1,
          "inferwire: the signature leaves more than one dimension open: give the shape too, as {data, {2, 3}}");
      return InferInput::Refused(Name(), "");
    } else if constexpr (IsElement<U, T>()) {
      return Make(One(data), ShapeFor<Tensor>(1));
    } else {
      return Make(std::forward<D>(data), ShapeFor<Tensor>(SizeOf(data)));
    }
  }
  template <class D>
  static InferInput Make(D&& data, absl::StatusOr<Shape> shape) {
    if (!shape.ok()) return InferInput::Refused(Name(), ToStd(shape.status().message()));
    return Make(std::forward<D>(data), *std::move(shape));
  }
  template <class D>
  static InferInput Make(D&& data, Shape shape) {
    using U = std::remove_cvref_t<D>;
    if (!FitsDimensions({shape.begin(), shape.rank()}, Tensor::kDimensions)) {
      return InferInput::Refused(
          Name(), Cat("a shape of ", shape.ToString(), ", but the signature says ", Tensor::kSignature.ToString()));
    }
    constexpr bool fits = AreElements<typename ElementsOf<U>::type, T>();
    static_assert(
        fits,
        "inferwire: the argument is neither a span nor a container of elements of the type that the signature "
        "gives this input");
    static_assert(MayFill<Tensor, kCount<D>>(),
                  "inferwire: the argument's number of elements does not fill the shape that the signature says");
    if constexpr (!fits) {
      return InferInput::Refused(Name(), "");
    } else if constexpr (kWaits && std::is_lvalue_reference_v<D> && std::is_same_v<U, std::vector<bool>>) {
      return InferInput(Name(), U(data), std::move(shape));  // bits cannot be lent
    } else if constexpr (kWaits && std::is_lvalue_reference_v<D> && !kIsSharedPtr<U>) {
      return InferInput(Name(), std::span(data), std::move(shape));
    } else {
      return InferInput(Name(), std::forward<D>(data), std::move(shape));
    }
  }

  // One that exists already, of a library that has tensors of its own, is checked as it comes.
  static InferInput Check(InferInput input) {
    if (input.Validate().ok() &&
        (input.name() != Tensor::kSignature.name || input.datatype() != Tensor::kSignature.datatype ||
         !FitsDimensions({input.shape().begin(), input.shape().rank()}, Tensor::kDimensions))) {
      return InferInput::Refused(
          Name(), Cat("given was '", input.name(), "' ", DataTypeName(input.datatype()), " ", input.shape().ToString(),
                      ", but the signature says ", Tensor::kSignature.ToString()));
    }
    return input;
  }

  static auto One(const auto& element) {
    if constexpr (std::is_same_v<T, std::string>) {
      return std::vector<std::string>{std::string(std::string_view(element))};
    } else {
      return std::array<T, 1>{static_cast<T>(element)};
    }
  }
  template <class D>
  static std::size_t SizeOf(const D& data) {
    if constexpr (kIsSharedPtr<D>) {
      return data == nullptr ? 0 : data->size();
    } else if constexpr (requires { std::size(data); }) {
      return std::size(data);
    } else {
      return 0;  // no container, which is told where its elements are looked at
    }
  }

  InferInput input_;
};

}  // namespace detail

template <class Outputs, class Inputs>
class TypedModel {
  static_assert(sizeof(Outputs) == 0, "inferwire: Bind takes Outputs<Tensor<...>...>, then Inputs<Tensor<...>...>");
};

/// Made by `server.Bind<Outputs<…>, Inputs<…>>("name")`. A small value that keeps its client alive; safe from any
/// number of threads.
///
/// An argument is a span or a container of the input's element type (or one element by itself), whose number of
/// elements says the dimension that the signature leaves open; `{data, {2, 3}}` where that is more than one; or an
/// InferInput. Errors are those of Model::Infer, INVALID_ARGUMENT for arguments that do not fit the signature, and
/// FAILED_PRECONDITION for an answer that does not.
template <class... Outs, class... Ins>
class TypedModel<Outputs<Outs...>, Inputs<Ins...>> {
 public:
  using Result = std::tuple<OutputView<Outs>...>;

  /// As InferenceClient::Bind.
  static absl::StatusOr<TypedModel> Bind(Model model, const BindOptions& options = {}) {
    TypedModel typed(std::move(model));
    const AnyContract contract = typed.model_.contract();
    if (!options.check || !contract.tells_models()) return typed;
    const absl::StatusOr<ModelMetadata> metadata = typed.model_.Metadata(options.call);
    if (!metadata.ok()) return Unchecked(metadata.status());
    if (absl::Status status = detail::CheckSignature(*metadata, Inputs<Ins...>::kTensors, Outputs<Outs...>::kTensors,
                                                     options.optional_inputs, contract.table().also_takes);
        !status.ok()) {
      return Unchecked(status);
    }
    // What nobody looks at need not be sent.
    if (metadata->outputs.size() > sizeof...(Outs)) typed.wanted_ = {std::string(Outs::kSignature.name)...};
    return typed;
  }

  /// Calls and waits. Lvalue arguments are lent, rvalue containers are owned by the call.
  absl::StatusOr<Result> operator()(detail::Argument<Ins, true>... inputs, CallOptions options = {}) const {
    return Read(model_.Infer(Ask(inputs...), std::move(options)), model_.name());
  }

  /// Calls and returns at once. Spans are lent and must stay until the future has ended; containers are moved in.
  Future<Result> Async(detail::Argument<Ins, false>... inputs, CallOptions options = {}) const {
    return model_.AsyncInfer(Ask(inputs...), std::move(options))
        .Then([name = model_.name()](absl::StatusOr<InferResult> result) { return Read(std::move(result), name); });
  }

  template <class... Given>
    requires(sizeof...(Given) != sizeof...(Ins) && sizeof...(Given) != sizeof...(Ins) + 1)
  void operator()(Given&&...) const {
    static_assert(sizeof...(Given) == sizeof...(Ins),
                  "inferwire: this call takes as many arguments as its signature has inputs, then at most CallOptions");
  }

  const Model& model() const { return model_; }

 private:
  explicit TypedModel(Model model) : model_(std::move(model)) {}

  static absl::Status Unchecked(const absl::Status& why) {
    absl::Status out(why.code(), detail::Cat(detail::ToStd(why.message()),
                                             "; BindOptions::check = false binds without asking what the model takes"));
    why.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { out.SetPayload(url, payload); });
    return out;
  }

  template <class... Arguments>
  InferRequest Ask(Arguments&... arguments) const {
    InferRequest request;
    (request.add_input(std::move(arguments.input())), ...);
    if (!wanted_.empty()) request.set_outputs(wanted_);
    return request;
  }

  static absl::StatusOr<Result> Read(absl::StatusOr<InferResult> result, std::string_view model) {
    if (!result.ok()) return result.status();
    const auto kept = std::make_shared<const InferResult>(*std::move(result));
    std::array<const InferOutput*, sizeof...(Outs)> outputs{};
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const detail::TensorSignature& wanted = Outputs<Outs...>::kTensors[i];
      const absl::StatusOr<const InferOutput*> output = kept->Find(wanted.name);
      if (!output.ok()) {
        return detail::FailedPreconditionError(
            detail::Cat("model '", model, "' gave ", detail::ToStd(output.status().message())));
      }
      const Shape& shape = (*output)->shape();
      if ((*output)->datatype() != wanted.datatype ||
          !detail::FitsDimensions({shape.begin(), shape.rank()}, wanted.dimensions)) {
        return detail::FailedPreconditionError(detail::Cat("model '", model, "' gave the output '", wanted.name, "' ",
                                                           DataTypeName((*output)->datatype()), " ", shape.ToString(),
                                                           ", but the signature says ", wanted.ToString()));
      }
      outputs[i] = *output;
    }
    return ViewAll(kept, outputs, std::index_sequence_for<Outs...>());
  }
  template <std::size_t... I>
  static absl::StatusOr<Result> ViewAll(const std::shared_ptr<const InferResult>& result, const auto& outputs,
                                        std::index_sequence<I...>) {
    const auto elements =
        std::tuple(result->template Get<typename OutputView<Outs>::Element>(Outs::kSignature.name)...);
    absl::Status status;
    (status.Update(std::get<I>(elements).status()), ...);
    if (!status.ok()) return status;
    return Result(OutputView<Outs>(result, *std::get<I>(elements), outputs[I]->shape())...);
  }

  Model model_;
  std::vector<std::string> wanted_;  // the outputs to ask for; empty: all there are
};

template <class Outputs, class Inputs>
absl::StatusOr<TypedModel<Outputs, Inputs>> AnyInferenceClient::Bind(std::string name,
                                                                     const BindOptions& options) const {
  return TypedModel<Outputs, Inputs>::Bind(
      GetModel(std::move(name), ModelOptions{.version = options.version, .check = false}), options);
}
template <class Outputs, class Inputs>
absl::StatusOr<TypedModel<Outputs, Inputs>> AnyInferenceClient::Bind(std::string name) const {
  return Bind<Outputs, Inputs>(std::move(name), BindOptions());
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_TYPED_MODEL_H_
