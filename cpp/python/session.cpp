#include "python/session.hpp"

#include "python/codec.hpp"
#include "python/guard.hpp"
#include "python/raised.hpp"
#include "python/store_memory.hpp"
#include "runtime/write_guard.hpp"
#include "store/large_copy.hpp"

#include <algorithm>
#include <cstring>

namespace miniray::python {

Session* session = nullptr;
std::uint64_t epoch = 0;
Hooks hooks;
const char* pickling_what = "object";
MINIRAY_STATIC_TLS thread_local constinit std::uint32_t uses_of_this_thread = 0;

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
  (void)guard_quietly([slot] {
    bool is_error = false;
    const store::ObjectTable& objects = session->domain.objects;
    const Owned error(decode_object_or_error(objects.key(slot), objects.view(slot), is_error));
    const Owned none(error ? PyObject_CallOneArg(hooks.unread_error, error.get()) : nullptr);
  });
  PyErr_Clear();
  --session->counts[slot];
  PyErr_Restore(type, value, traceback);
}

}  // namespace

namespace {

void drop_count(Index slot) {
  const store::ObjectEntry& entry = session->domain.objects[slot];
  if (entry.current_state() == store::ObjectState::kPending) {
    // Nobody may call for a long time: the task that makes it must see at its end that nobody wants it.
    Transaction transaction(session->domain.lock);
    if (entry.current_state() == store::ObjectState::kPending) {
      (void)session->domain.objects.unhold(transaction, session->domain.self(), slot);
      transaction.close();
      if (session->domain.objects.first_dropped() != shm::kNone) session->domain.settle_handles();
      return;
    }
  }
  if (entry.current_state() == store::ObjectState::kError && !entry.has(store::kHandle)) [[unlikely]]
    report_unread_error(slot);
  session->releases.push_back(slot);
  // A small object that refers to others may be all that keeps a large one: a list of refs, a value with an array of the store.
  const bool keeps_much = entry.size_bytes.get() >= kReleaseAtOnceBytes || entry.contained_count.get() != 0;
  if (keeps_much || session->releases.size() >= kReleaseBatch) flush_releases_now();
}

}  // namespace

void count_down(Index slot) noexcept {
  if (--session->counts[slot] != 0 || session->domain.is_poisoned()) return;
  (void)guard_quietly([slot] { drop_count(slot); });
}

void flush_releases(Transaction& transaction) {
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

void flush_releases_now() {
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

namespace {

bool is_verified(Index slot) {
  const std::vector<Index>& unverified = session->unverified;
  return std::find(unverified.begin(), unverified.end(), slot) == unverified.end();
}

}  // namespace

bool PayloadPin::acquire(ObjectKey key, store::PayloadView& view) {
  Domain& domain = session->domain;
  MINIRAY_SOUND(is_possible(key), "objects: a payload refers to what is not there");
  bool is_current = false;
  if (session->pins[key.slot] != 0 && domain.objects[key.slot].generation.get() == key.generation) {
    ++session->pins[key.slot];  // pinned already: it stays where it is
    slot_ = key.slot;
    view = domain.objects.view(key.slot);
    return !view.is_spilled || is_verified(key.slot) || verify(key);
  }
  {
    Transaction transaction(domain.lock);
    is_current = domain.objects.is_current(key);
    if (is_current) {
      (void)domain.objects.pin(transaction, domain.own_entry(), domain.self(), key.slot);
      view = domain.objects.view(key.slot);
    }
  }
  if (!is_current) {
    (void)raise_lost(key, "gone");
    return false;
  }
  slot_ = key.slot;
  session->pins[key.slot] = 1;
  if (view.size_bytes >= kReferredBytes) add_region(view.data, {key, view.value_bytes(), nullptr});
  return !view.is_spilled || verify(key);
}

bool PayloadPin::verify(ObjectKey key) {
  session->unverified.push_back(key.slot);
  bool intact = false;
  {
    const GilRelease released;
    intact = runtime::spilled_is_intact(session->domain, key.slot);
  }
  std::vector<Index>& unverified = session->unverified;
  unverified.erase(std::find(unverified.begin(), unverified.end(), key.slot));
  if (intact) return true;
  release();
  (void)raise_lost(key, "damaged");
  return false;
}

void PayloadPin::release() noexcept {
  if (slot_ != shm::kNone) pin_down(slot_);
  slot_ = shm::kNone;
}

void pin_down(Index slot) noexcept {
  if (--session->pins[slot] != 0 || session->domain.is_poisoned()) return;
  (void)guard_quietly([slot] {
    Domain& domain = session->domain;
    if (domain.objects[slot].size_bytes.get() >= kReferredBytes) remove_region(domain.objects.view(slot).data);
    Transaction transaction(domain.lock);
    (void)domain.objects.unpin(transaction, domain.self(), slot);
  });
}

bool set_system_error(int error, const char* what) {
  if (error == -28 /* ENOSPC */ && hooks.store_full != nullptr) {
    raise_store_full(what, 0, 0, 0, error);
    return false;
  }
  errno = -error;
  PyErr_SetFromErrnoWithFilename(PyExc_OSError, what);
  return false;
}

PyObject* make_store_full(const char* reason, std::uint64_t needed, std::uint64_t used, std::uint64_t capacity,
                          int system_error) {
  return PyObject_CallFunction(hooks.store_full, "sKKKi", reason, static_cast<unsigned long long>(needed),
                               static_cast<unsigned long long>(used), static_cast<unsigned long long>(capacity), system_error);
}

void raise_store_full(const char* reason, std::uint64_t needed, std::uint64_t used, std::uint64_t capacity, int system_error) {
  Owned exception(make_store_full(reason, needed, used, capacity, system_error));
  raise_object(exception.get());
}

PyObject* raise_lost(ObjectKey key, const char* reason) {
  Owned ref(make_bare_object_ref(key.id(session->domain.objects.nonce())));
  Owned exception(ref ? PyObject_CallFunction(hooks.lost_error, "Os", ref.get(), reason) : nullptr);
  raise_object(exception.get());
  return nullptr;
}

bool PayloadMemory::reserve(Index object, std::uint64_t size_bytes, std::uint32_t contained_count) {
  object_ = object;
  return reserve({size_bytes, contained_count, true, true, may_grow_});
}

bool PayloadMemory::reserve_in_heap(Index object, std::uint64_t size_bytes) {
  object_ = object;
  return reserve({size_bytes, 0, false, false, true});
}

bool PayloadMemory::reserve(const runtime::PayloadDemand& demand) {
  using runtime::ReserveResult;
  Domain& domain = session->domain;
  const Index object = object_;
  const std::uint64_t size_bytes = demand.size_bytes;
  is_fresh_ = in_file_ = false;
  runtime::Reservation reservation = runtime::try_reserve_payload(domain, object, size_bytes);
  if (reservation.result == ReserveResult::kFull) {
    flush_releases_now();
    const GilRelease released;
    reservation = runtime::reserve_payload(domain, object, demand);
  }
  const char* reason = nullptr;
  switch (reservation.result) {
    case ReserveResult::kInHeap:
      runtime::wait_for_ranges();
      base_ = domain.objects.payload_for_write(object);
      return true;
    case ReserveResult::kInFreshHeap:
      is_fresh_ = true;
      base_ = nullptr;
      fresh_.begin(domain, object);
      return true;
    case ReserveResult::kInFile:
      in_file_ = true;
      runtime::wait_for_ranges();  // its contained references lie in the heap
      base_ = window_.open(domain, object);
      if (base_ != nullptr) return true;
      {
        Transaction transaction(domain.lock);
        domain.objects.discard_payload(transaction, object);
      }
      return set_system_error(-12 /* ENOMEM */, "no address space to write a spilled object");
    case ReserveResult::kSystem:
      return set_system_error(reservation.system_error, "shared memory is full: no room for the tables of the object store");
    case ReserveResult::kTooLarge:
      reason = "too large";
      break;
    case ReserveResult::kFull:
      reason = "full";
      break;
    case ReserveResult::kFileFull:
      reason = "spill limit";
      break;
    case ReserveResult::kDiskFull:
      reason = "disk";
      break;
  }
  raise_store_full(reason, size_bytes, domain.heap.used_bytes(), domain.heap.capacity_bytes(), reservation.system_error);
  return false;
}

Index create_writing_object() {
  Domain& domain = session->domain;
  if (const int error = domain.ensure_rows(1, 0, 0); error != 0) {
    set_system_error(error, "shared memory is full: no room for object entries");
    return shm::kNone;
  }
  Transaction transaction(domain.lock);
  const Index slot = domain.objects.create(transaction, store::ObjectState::kWriting, 0);
  if (slot != shm::kNone) {
    if (session->current_task != shm::kNone) {
      const std::uint64_t maker = domain.scheduler.tasks[session->current_task].sequence.get();
      Transaction::init(domain.objects[slot].maker, static_cast<std::uint32_t>(maker));
    }
    (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), slot);
    return slot;
  }
  transaction.close();
  PyErr_Format(PyExc_MemoryError,
               "miniray: all %u object entries are in use. Drop unused ObjectRefs, or raise init(object_capacity=...).",
               domain.objects.slots.capacity());
  return shm::kNone;
}

void discard_writing_object(Index slot) noexcept {
  (void)guard_quietly([slot] {
    Domain& domain = session->domain;
    Transaction transaction(domain.lock);
    domain.objects.discard_payload(transaction, slot);
    (void)domain.objects.unhold(transaction, domain.self(), slot);
  });
}

void PayloadMemory::write(std::uint64_t position, const void* data, std::uint64_t size_bytes) {
  if (is_fresh_) {
    fresh_.write(position, data, size_bytes);
  } else {
    store::copy_bytes(base_ + position, data, size_bytes);
  }
}

bool PayloadMemory::finish() {
  if (in_file_) window_.finish(session->domain, object_);
  if (!is_fresh_) return true;
  const GilRelease released;
  may_grow_ = false;  // if it must be done again
  return fresh_.finish(session->domain, object_) == 0;
}

bool require_session() {
  if (!require_attached()) return false;
  if (!session->domain.is_poisoned()) [[likely]]
    return true;
  (void)raise_damage(session->domain.lock.damage());
  return false;
}

bool require_attached() {
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
