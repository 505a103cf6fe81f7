#include "python/outcome.hpp"

#include "python/raised.hpp"

namespace miniray::python {

bool encode_error(Outcome& outcome, Function* function, std::size_t count, bool is_dependency) {
  const Owned raised(take_raised());
  Owned name(function != nullptr ? Py_NewRef(function->name.get()) : PyUnicode_FromString("unknown"));
  Owned stored(PyObject_CallFunctionObjArgs(worker_hooks.on_error.get(), name.get(), raised.get(),
                                            is_dependency ? Py_True : Py_False, nullptr));
  if (!stored) return false;
  pickling_what = "error";
  outcome.error.reset(Py_NewRef(stored.get()));
  while (outcome.results.size() < count) {
    Encoder& encoder = outcome.results.add(true);
    encoder.start_value(kErrorFormat);
    if (encoder.add(stored.get())) continue;
    outcome.results.remove_last();
    return false;
  }
  return true;
}

bool encode_result(Outcome& outcome, PyObject* value) {
  Encoder& encoder = outcome.results.add(false);
  encoder.start_value(kValueFormat);
  if (encoder.add(value)) return true;
  outcome.results.remove_last();
  return false;
}

namespace {

// Of a generator with a fixed number of results: it is run here.
void encode_yielded(Outcome& outcome, PyObject* generator, std::uint32_t result_count, bool is_task) {
  outcome.keeps = true;
  std::uint32_t count = 0;
  for (;; ++count) {
    session->runs_user_code = is_task;
    const Owned value(PyIter_Next(generator));
    session->runs_user_code = false;
    if (PyErr_Occurred() != nullptr) return;
    if (!value && count < result_count)
      PyErr_Format(PyExc_ValueError, "Task returned %u objects, but num_returns=%u.", count, result_count);
    if (!value) return;
    if (count == result_count) break;
    if (!encode_result(outcome, value.get())) return;
  }
  PySys_WriteStderr("Task returned more than num_returns=%u objects: the others are dropped.\n", result_count);
  const Owned closed(PyObject_CallMethod(generator, "close", nullptr));
  if (!closed) PyErr_WriteUnraisable(generator);
}

}  // namespace

void encode_results(Outcome& outcome, PyObject* result, const scheduler::TaskEntry& entry) {
  const std::uint32_t result_count = entry.result_count.get();
  pickling_what = "return value";
  if (entry.has(scheduler::kStreams)) {
    for (std::uint32_t i = 0; i < result_count; ++i) (void)encode_result(outcome, Py_None);  // the end, completed()
  } else if (PyGen_Check(result) && result_count != 0) {
    encode_yielded(outcome, result, result_count, !entry.is_call());
  } else if (result_count == 1) {
    (void)encode_result(outcome, result);
  } else if (result_count > 1) {
    Owned items(PySequence_Fast(result, ""));
    if (!items || PySequence_Fast_GET_SIZE(items.get()) != static_cast<Py_ssize_t>(result_count)) {
      PyErr_Clear();
      if (items) {
        PyErr_Format(PyExc_ValueError, "Task returned %zd objects, but num_returns=%u.", PySequence_Fast_GET_SIZE(items.get()),
                     result_count);
      } else {
        PyErr_Format(PyExc_TypeError,
                     "object of type '%s' has no len(): with num_returns=%u a task must return a sequence of that length",
                     Py_TYPE(result)->tp_name, result_count);
      }
    }
    for (Py_ssize_t i = 0; PyErr_Occurred() == nullptr && i < static_cast<Py_ssize_t>(result_count); ++i) {
      if (!encode_result(outcome, PySequence_Fast_GET_ITEM(items.get(), i))) outcome.results.clear();
    }
  }
}

}  // namespace miniray::python
