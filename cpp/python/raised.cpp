#include "python/raised.hpp"

namespace miniray::python {

Owned take_raised() {
  PyObject *type = nullptr, *raised = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &raised, &traceback);
  PyErr_NormalizeException(&type, &raised, &traceback);
  const Owned owned_type(type);
  const Owned owned_traceback(traceback);
  if (raised != nullptr && traceback != nullptr) (void)PyException_SetTraceback(raised, traceback);
  return Owned(raised);
}

void raise_object(PyObject* exception) {
  if (exception != nullptr) PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception)), exception);
}

}  // namespace miniray::python
