// SPDX-License-Identifier: Apache-2.0
//
// What several targets are to one another.
#ifndef INFERWIRE_OPTIONS_TARGET_ORDER_H_
#define INFERWIRE_OPTIONS_TARGET_ORDER_H_

namespace inferwire {
inline namespace v0 {

/// What several targets are to one another.
enum class TargetOrder {
  kBalanced,  ///< equals: of two drawn at random the less busy and quicker one; where they are alike, in turn
  kPriority,  ///< the first is used as long as it works, then the second, and so on
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_OPTIONS_TARGET_ORDER_H_
