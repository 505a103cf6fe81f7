// ring.cpp - the least that a task's round trip between two Python processes can cost: a ring of messages in shared memory each way.
//
// The receiver spins, then sleeps on a futex. No scheduler, no references, no recovery: a yardstick, not a design.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>

namespace {

constexpr std::uint32_t kMessages = 4096;
constexpr std::uint32_t kLargestMessage = 252;
constexpr int kSpins = 20'000;

struct Message {
  std::uint32_t size;
  char data[kLargestMessage];
};

struct Ring {
  alignas(64) std::atomic<std::uint32_t> sent;
  alignas(64) std::atomic<std::uint32_t> received;
  alignas(64) std::atomic<std::uint32_t> sleeping;
  alignas(64) Message messages[kMessages];
};

Ring* rings = nullptr;  // 0: to the server, 1: back

void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

long futex(std::atomic<std::uint32_t>* word, int operation, std::uint32_t value) {
  return syscall(SYS_futex, word, operation, value, nullptr, nullptr, 0);
}

void wait_for_message(Ring& ring) {
  const std::uint32_t received = ring.received.load(std::memory_order_relaxed);
  for (int i = 0; i < kSpins; ++i) {
    if (ring.sent.load(std::memory_order_acquire) != received) return;
    cpu_relax();
  }
  while (ring.sent.load() == received) {
    ring.sleeping.store(1);
    if (ring.sent.load() == received) futex(&ring.sent, FUTEX_WAIT, received);
    ring.sleeping.store(0);
  }
}

PyObject* open_rings(PyObject*, PyObject*) {
  void* memory = mmap(nullptr, 2 * sizeof(Ring), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return PyErr_SetFromErrno(PyExc_OSError);
  rings = static_cast<Ring*>(memory);
  Py_RETURN_NONE;
}

PyObject* send(PyObject*, PyObject* const* arguments, Py_ssize_t) {
  char* data = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_AsStringAndSize(arguments[1], &data, &size) < 0) return nullptr;
  if (size > static_cast<Py_ssize_t>(kLargestMessage)) {
    return PyErr_Format(PyExc_ValueError, "a message of %zd bytes, at most %u", size, kLargestMessage);
  }
  Ring& ring = rings[PyLong_AsLong(arguments[0])];
  const std::uint32_t sent = ring.sent.load(std::memory_order_relaxed);
  while (sent - ring.received.load(std::memory_order_acquire) >= kMessages) cpu_relax();
  Message& message = ring.messages[sent % kMessages];
  message.size = static_cast<std::uint32_t>(size);
  std::memcpy(message.data, data, static_cast<std::size_t>(size));
  ring.sent.store(sent + 1);
  if (ring.sleeping.load() != 0) futex(&ring.sent, FUTEX_WAKE, 1);
  Py_RETURN_NONE;
}

PyObject* receive(PyObject*, PyObject* const* arguments, Py_ssize_t) {
  Ring& ring = rings[PyLong_AsLong(arguments[0])];
  const std::uint32_t received = ring.received.load(std::memory_order_relaxed);
  if (ring.sent.load(std::memory_order_acquire) == received) {
    Py_BEGIN_ALLOW_THREADS;
    wait_for_message(ring);
    Py_END_ALLOW_THREADS;
  }
  const Message& message = ring.messages[received % kMessages];
  PyObject* result = PyBytes_FromStringAndSize(message.data, message.size);
  ring.received.store(received + 1, std::memory_order_release);
  return result;
}

PyMethodDef methods[] = {
    {"open_rings", open_rings, METH_NOARGS, nullptr},
    {"send", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(send)), METH_FASTCALL, nullptr},
    {"receive", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(receive)), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyModuleDef definition = {PyModuleDef_HEAD_INIT, "floor_ring", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit_floor_ring() { return PyModule_Create(&definition); }
