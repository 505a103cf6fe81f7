// python/outcome.hpp - what came of a task: the encoded values of its results, before they are put in place.
//
// Invariants  O1 results in their order; each is a value or an error.
//             O2 one result needs no memory of the heap: most tasks have one.
#pragma once

#include <memory>
#include <optional>

#include "python/task_run.hpp"

namespace miniray::python {

class Results {
 public:
  [[nodiscard]] std::size_t size() const noexcept { return first_ ? 1 + more_.size() : 0; }
  [[nodiscard]] Encoder& operator[](std::size_t position) { return get(position).encoder; }
  [[nodiscard]] bool is_error(std::size_t position) { return get(position).is_error; }
  // The next result, to be filled; remove_last() when that fails.
  Encoder& add(bool is_error) {
    Result& result = first_ ? *more_.emplace_back(std::make_unique<Result>()) : first_.emplace();
    result.is_error = is_error;
    return result.encoder;
  }
  void remove_last() {
    if (more_.empty()) {
      first_.reset();
    } else {
      more_.pop_back();
    }
  }
  void clear() {
    more_.clear();
    first_.reset();
  }

 private:
  struct Result {
    Encoder encoder;
    bool is_error;
  };
  // NOLINTNEXTLINE(bugprone-unchecked-optional-access): the position is below the size
  [[nodiscard]] Result& get(std::size_t position) { return position == 0 ? *first_ : *more_[position - 1]; }

  std::optional<Result> first_;
  std::vector<std::unique_ptr<Result>> more_;
};

struct Outcome {
  Results results;
  Owned error;          // what was stored, if it was one
  bool unread = false;  // it was stored in an object that nobody refers to
  bool keeps = false;   // what a generator yielded before it failed is kept
};

// Adds a value. False with a Python error, and nothing is added.
bool encode_result(Outcome& outcome, PyObject* value);
// Takes the current Python error: the results from here on, until there are `count`.
bool encode_error(Outcome& outcome, Function* function, std::size_t count, bool is_dependency);
// Of what a function returned; a Python error stays set when it is not what was promised, or does not pickle.
void encode_results(Outcome& outcome, PyObject* result, const scheduler::TaskEntry& entry);

}  // namespace miniray::python
