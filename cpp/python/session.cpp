#include "python/session.hpp"

#include "python/codec.hpp"

#include <cstring>

namespace miniray::python {

Session* session = nullptr;
std::uint64_t epoch = 0;
Hooks hooks;
const char* pickling_what = "object";
thread_local std::uint32_t uses_of_this_thread = 0;

namespace {

// An error that goes without having been raised here is told to the hook; whoever drops the last ref must not fail for it.
void report_unread_error(Index slot) noexcept {
  std::vector<Index>& read = session->read_errors;
  for (std::size_t i = 0; i < read.size(); ++i) {
    if (read[i] != slot) continue;
    read[i] = read.back();
    read.pop_back();
    return;
  }
  if (session->is_worker || hooks.unread_error == nullptr || Py_IsInitialized() == 0) return;
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  ++session->counts[slot];  // the object must not be dropped again while it is read
  bool is_error = false;
  PyObject* error = decode_object_or_error(session->domain.objects.key(slot), session->domain.objects.view(slot), is_error);
  Owned none(error != nullptr ? PyObject_CallOneArg(hooks.unread_error, error) : nullptr);
  if (!none) PyErr_Clear();
  Py_XDECREF(error);
  --session->counts[slot];
  PyErr_Restore(type, value, traceback);
}

}  // namespace

void count_down(Index slot) noexcept {
  if (--session->counts[slot] != 0) return;
  const store::ObjectEntry& entry = session->domain.objects[slot];
  if (entry.current_state() == store::ObjectState::kPending) {
    // Nobody may call for a long time: the task that makes it must see at its end that nobody wants it.
    Transaction transaction(session->domain.lock);
    if (entry.current_state() == store::ObjectState::kPending) {
      (void)session->domain.objects.unhold(transaction, session->domain.self(), slot);
      return;
    }
  }
  if (entry.current_state() == store::ObjectState::kError) [[unlikely]]
    report_unread_error(slot);
  session->releases.push_back(slot);
  if (session->releases.size() >= kReleaseBatch || entry.size_bytes.get() >= kReleaseAtOnceBytes) flush_releases_now();
}

void flush_releases(Transaction& transaction) noexcept {
  std::vector<Index>& releases = session->releases;
  std::size_t done = 0;
  while (!releases.empty() && done++ < kReleaseBatch && transaction.room() > 512) {
    const Index slot = releases.back();
    releases.pop_back();
    if (session->counts[slot] == 0) (void)session->domain.objects.unhold(transaction, session->domain.self(), slot);
  }
  if (session->domain.objects.has_reclaimable() && transaction.room() > 2048)
    (void)session->domain.objects.reclaim_step(transaction);
}

void flush_releases_now() noexcept {
  while (!session->releases.empty()) {
    Transaction transaction(session->domain.lock);
    flush_releases(transaction);
  }
  session->domain.reclaim();
}

bool hold_all(const std::vector<ObjectKey>& keys) {
  Domain& domain = session->domain;
  std::size_t position = 0;
  while (position < keys.size()) {
    Transaction transaction(domain.lock);
    for (; position < keys.size() && transaction.room() > 64; ++position) {
      const ObjectKey key = keys[position];
      if (domain.objects.is_current(key)) (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), key.slot);
    }
  }
  return true;
}

bool set_system_error(int error, const char* what) {
  if (error == -28 /* ENOSPC */ && hooks.store_full != nullptr) {
    Owned exception(PyObject_CallFunction(hooks.store_full, "s", what));
    if (exception) PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())), exception.get());
    return false;
  }
  errno = -error;
  PyErr_SetFromErrnoWithFilename(PyExc_OSError, what);
  return false;
}

void raise_store_full(std::uint64_t needed, std::uint64_t used, std::uint64_t capacity) {
  Owned exception(PyObject_CallFunction(hooks.store_full, "KKK", static_cast<unsigned long long>(needed),
                                        static_cast<unsigned long long>(used), static_cast<unsigned long long>(capacity)));
  if (exception) PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())), exception.get());
}

bool reserve_payload(Index object, std::uint64_t size_bytes, bool fresh) {
  Domain& domain = session->domain;
  store::AllocateResult result = store::AllocateResult::kDone;
  for (bool flushed = false;;) {
    if (const int error = domain.heap.ensure_rows(size_bytes); error != 0)
      return set_system_error(error, "shared memory is full");
    {
      Transaction transaction(domain.lock);
      result = domain.objects.reserve(transaction, object, size_bytes, fresh);
    }
    if (result == store::AllocateResult::kDone) break;
    if (result == store::AllocateResult::kNeedsBacking) continue;
    if (flushed) {
      raise_store_full(size_bytes, domain.heap.used_bytes(), domain.heap.capacity_bytes());
      return false;
    }
    flush_releases_now();
    flushed = true;
  }
  const store::ObjectEntry& entry = domain.objects[object];
  const std::uint64_t offset = entry.offset.get();
  if (offset == 0 || domain.heap.is_backed(offset, size_bytes)) return true;
  int error = 0;
  {
    GilRelease released;
    error = domain.heap.ensure_backed(offset, size_bytes);
  }
  if (error == 0) return true;
  {
    Transaction transaction(domain.lock);
    domain.objects.discard_payload(transaction, object);
  }
  return set_system_error(error, "shared memory is full: no pages for an object");
}

bool require_session() {
  if (session != nullptr && !session->ends.load(std::memory_order_relaxed)) [[likely]]
    return true;
  if (session != nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "miniray.shutdown() is under way in another thread");
    return false;
  }
  if (hooks.auto_init == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "miniray is not set up in this process");
    return false;
  }
  Owned result(PyObject_CallNoArgs(hooks.auto_init));
  if (!result) return false;
  if (session != nullptr) return true;
  PyErr_SetString(PyExc_RuntimeError, "miniray.init() has not been called");
  return false;
}

}  // namespace miniray::python
