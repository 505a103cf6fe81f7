// runtime/header_check.hpp - whether the header of a control region can be true: before an attaching process follows a word of it.
//
// Invariants  K1 what the capacities determine (offsets, sizes, counts of rows) is computed again and compared word by word.
//             K2 every other word of the header that is followed (a list's head, an index, a count that bounds a loop) is within its
//                table. Each word alone: others change them meanwhile. It may still name the wrong row, or disagree with its
//                neighbour: heads_are_sound() looks at the rows, under the lock.
// Cost        some microseconds, once per attach.
#pragma once

namespace miniray::runtime {

struct ControlHeader;
class Domain;

// `plan` is the layout made from `found`'s capacities.
[[nodiscard]] bool matches_layout(const ControlHeader& found, const ControlHeader& plan);
[[nodiscard]] bool is_within_bounds(const ControlHeader& found);
// Under the lock: the first row of each list is one that may stand there.
[[nodiscard]] bool heads_are_sound(const Domain& domain);

}  // namespace miniray::runtime
