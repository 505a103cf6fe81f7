#include "python/guard.hpp"

namespace miniray::python {

PyObject* raise_damage(const debug::Damage& damage) {
  if (session == nullptr) return raise_damage(damage, "of a session that has ended");
  session->domain.poison(damage.text());
  // The first who found something says it best; what comes after follows from it.
  return raise_damage(session->domain.lock.damage(), ("miniray_" + session->name).c_str());
}

PyObject* raise_damage(const debug::Damage& damage, const char* segment) {
  PyErr_Clear();
  const Owned module(PyImport_ImportModule("miniray.exceptions"));
  const Owned type(module ? PyObject_GetAttrString(module.get(), "SegmentCorruptedError") : nullptr);
  const Owned arguments(type ? PyTuple_New(0) : nullptr);
  const Owned facts(arguments ? Py_BuildValue("{s:s,s:s}", "segment_name", segment, "problem", damage.text()) : nullptr);
  const Owned error(facts ? PyObject_Call(type.get(), arguments.get(), facts.get()) : nullptr);
  if (error) PyErr_SetObject(type.get(), error.get());
  return nullptr;
}

}  // namespace miniray::python
