// SPDX-License-Identifier: Apache-2.0
//
// The few names of stdexec that <inferwire/sender.h> uses, with their meaning in P2300, for where it is not installed.
#ifndef INFERWIRE_TESTS_SUPPORT_STAND_IN_STDEXEC_EXECUTION_HPP_
#define INFERWIRE_TESTS_SUPPORT_STAND_IN_STDEXEC_EXECUTION_HPP_

#include <stop_token>
#include <utility>

namespace stdexec {

struct sender_t {};
struct receiver_t {};
struct operation_state_t {};
template <class... Signatures>
struct completion_signatures {};

struct set_value_t {
  template <class Receiver, class... Values>
  void operator()(Receiver&& receiver, Values&&... values) const noexcept {
    std::forward<Receiver>(receiver).set_value(std::forward<Values>(values)...);
  }
};
struct set_stopped_t {
  template <class Receiver>
  void operator()(Receiver&& receiver) const noexcept {
    std::forward<Receiver>(receiver).set_stopped();
  }
};
inline constexpr set_value_t set_value{};
inline constexpr set_stopped_t set_stopped{};

template <class Receiver>
auto get_env(const Receiver& receiver) noexcept {
  return receiver.get_env();
}
template <class Env>
auto get_stop_token(const Env& env) noexcept {
  return env.stop_token;
}
template <class Receiver>
using env_of_t = decltype(get_env(std::declval<const Receiver&>()));
template <class Env>
using stop_token_of_t = decltype(get_stop_token(std::declval<const Env&>()));
template <class Token, class Fn>
using stop_callback_for_t = std::stop_callback<Fn>;

}  // namespace stdexec

#endif  // INFERWIRE_TESTS_SUPPORT_STAND_IN_STDEXEC_EXECUTION_HPP_
