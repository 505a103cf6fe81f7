#include "python/domain_errors.hpp"

#include "python/session.hpp"

#include <string>

namespace miniray::python {

namespace {

PyObject* raise_os_error(int error, const std::string& text) {
  Owned arguments(Py_BuildValue("(is)", -error, text.c_str()));
  if (arguments) PyErr_SetObject(PyExc_OSError, arguments.get());
  return nullptr;
}

// What the system refused, with the limit that did it.
PyObject* raise_system_error(int error, const char* name) {
  const std::string what = name;
  if (error == -28 /* ENOSPC */) {
    (void)set_system_error(error, ("there is no room to create " + what).c_str());
    return nullptr;
  }
  if (error == -12 /* ENOMEM */) {
    const std::uint64_t limit = platform::address_space_limit_bytes();
    return raise_os_error(
        error, "no address space to map " + what + ": " +
                   (limit != UINT64_MAX ? "this process may have " + std::to_string(limit) +
                                              " bytes of it (RLIMIT_AS, ulimit -v). Raise that limit"
                                        : "the system refuses it (vm.overcommit_memory, vm.max_map_count). Change that") +
                   ", or ask for a smaller store: init(object_store_memory=...). A store is mapped twice");
  }
  if (error == -24 /* EMFILE */) {
    return raise_os_error(error, "no file descriptor is left for " + what + ": this process may have " +
                                     std::to_string(platform::descriptor_limit()) +
                                     " (RLIMIT_NOFILE). Raise that limit (ulimit -n), or close files");
  }
  if (error == -23 /* ENFILE */)
    return raise_os_error(error,
                          "no file is left for " + what + " in the whole system (fs.file-max). End programs, or raise it");
  if (error == -27 /* EFBIG */) {
    return raise_os_error(error, what +
                                     " would be larger than a file may be (RLIMIT_FSIZE). Raise that limit (ulimit -f), or ask "
                                     "for a smaller store: init(object_store_memory=...)");
  }
  if (error == -1 /* EPERM */ || error == -38 /* ENOSYS */) {
    return raise_os_error(error,
                          "the system refuses to make or to map " + what +
                              ": a sandbox or container forbids one of the calls memfd_create, ftruncate, fallocate, mmap "
                              "(seccomp). Allow them there, or run elsewhere");
  }
  (void)set_system_error(error, name);
  return nullptr;
}

}  // namespace

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
    case DomainError::kNoFile:
      return PyErr_Format(
          PyExc_PermissionError,
          "/dev/shm/%s is a link, a folder or a pipe, no file: it is neither opened nor removed. Find out who made "
          "it, remove it, or choose another name",
          name);
    case DomainError::kWrongVersion:
      return PyErr_Format(PyExc_RuntimeError,
                          "%s has layout version %u, this miniray has %u. All processes must use the same miniray", name,
                          failure.found_version, runtime::kLayoutVersion);
    case DomainError::kNoProcessSlot:
      return PyErr_Format(PyExc_RuntimeError, "%s: all process slots are taken; end some of the processes that have it open",
                          name);
    case DomainError::kNoStartTime:
      return PyErr_Format(PyExc_OSError,
                          "%s: /proc/%d/stat does not tell when this process began, so others could not see its death; mount "
                          "/proc, or raise the limit of open files (ulimit -n)",
                          name, static_cast<int>(platform::current_process()));
    case DomainError::kSystem:
      return raise_system_error(failure.system_error, name);
    case DomainError::kOtherNamespace:
      return PyErr_Format(
          PyExc_RuntimeError,
          "%s was made in another process or time namespace (a container); who lives there cannot be seen from here. Each "
          "container needs a /dev/shm of its own, or miniray programs that all run in the same one",
          name);
    case DomainError::kNone:
    case DomainError::kCorrupt:
      break;
  }
  return PyErr_Format(PyExc_RuntimeError, "%s is damaged, incomplete, or not of this kind; remove it if no program uses it",
                      name);
}

}  // namespace miniray::python
