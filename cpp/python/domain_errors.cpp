#include "python/domain_errors.hpp"

#include "python/session.hpp"

namespace miniray::python {

PyObject* raise_domain_failure(const runtime::DomainFailure& failure, const char* name) {
  using runtime::DomainError;
  switch (failure.error) {
    case DomainError::kExists:
      return PyErr_Format(PyExc_FileExistsError,
                          "%s is in use by process %d. Open it with create=False, end that process, or choose another name",
                          name, failure.owner);
    case DomainError::kNotFound:
      return PyErr_Format(PyExc_FileNotFoundError,
                          "there is no %s in /dev/shm. The main process makes it with create=True before others open it", name);
    case DomainError::kForeign:
      return PyErr_Format(
          PyExc_PermissionError,
          "%s belongs to another user, or others may read it (it must be ours with mode 0600); it is not opened", name);
    case DomainError::kWrongVersion:
      return PyErr_Format(PyExc_RuntimeError,
                          "%s has layout version %u, this miniray has %u. All processes must use the same miniray", name,
                          failure.found_version, runtime::kLayoutVersion);
    case DomainError::kNoProcessSlot:
      return PyErr_Format(PyExc_RuntimeError, "%s: all process slots are taken; end some of the processes that have it open",
                          name);
    case DomainError::kSystem:
      (void)set_system_error(failure.system_error, name);
      return nullptr;
    case DomainError::kOtherNamespace:
      return PyErr_Format(PyExc_RuntimeError, "%s was made in another process namespace; deaths there cannot be seen from here",
                          name);
    case DomainError::kNone:
    case DomainError::kCorrupt:
      break;
  }
  return PyErr_Format(PyExc_RuntimeError, "%s is damaged, incomplete, or not of this kind; remove it if no program uses it",
                      name);
}

}  // namespace miniray::python
