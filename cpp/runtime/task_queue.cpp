#include "runtime/task_queue.hpp"

#include <cstring>

namespace miniray::runtime {

using store::AllocateResult;

namespace {

void write_bytes(std::byte* target, TaskBytes function, TaskBytes arguments) {
  std::memcpy(target, &function.size, sizeof(function.size));
  if (function.size != 0) std::memcpy(target + sizeof(function.size), function.data, function.size);
  if (arguments.size != 0) std::memcpy(target + sizeof(function.size) + function.size, arguments.data, arguments.size);
}

}  // namespace

SubmitResult TaskQueue::write_object(TaskBytes function, TaskBytes arguments, Index& object, int& system_error) {
  const std::uint64_t size = sizeof(std::uint64_t) + function.size + arguments.size;
  if (size > domain_.heap.capacity_bytes()) return SubmitResult::kFullHeap;
  for (;;) {
    system_error = domain_.objects.slots.ensure_backed(domain_.lock, 1);
    if (system_error == 0) system_error = domain_.heap.ensure_rows(size);
    if (system_error != 0) return SubmitResult::kSystem;
    Transaction transaction(domain_.lock);
    object = domain_.objects.create(transaction, ObjectState::kWriting, 0);
    if (object == kNone) {
      if (!domain_.objects.slots.is_full()) continue;
      return SubmitResult::kFullTable;
    }
    (void)domain_.objects.hold(transaction, domain_.own_entry(), domain_.self(), object);
    const AllocateResult result = domain_.objects.reserve(transaction, object, size, false);
    if (result == AllocateResult::kDone) break;
    (void)domain_.objects.unhold(transaction, domain_.self(), object);
    if (result == AllocateResult::kFull) return SubmitResult::kFullHeap;
  }
  const std::uint64_t offset = domain_.objects[object].offset.get();
  if (!domain_.heap.is_backed(offset, size)) system_error = domain_.heap.ensure_backed(offset, size);
  if (system_error != 0) {
    drop(object);
    return SubmitResult::kSystem;
  }
  write_bytes(domain_.objects.payload_for_write(object), function, arguments);
  return SubmitResult::kDone;
}

SubmitResult TaskQueue::submit(ObjectId tag, TaskBytes function, TaskBytes arguments, int& system_error) {
  const std::uint64_t size = sizeof(std::uint64_t) + function.size + arguments.size;
  const bool is_inline = size <= scheduler::kInlineArgumentBytes;
  Index object = kNone;
  if (!is_inline) {
    if (const SubmitResult result = write_object(function, arguments, object, system_error); result != SubmitResult::kDone)
      return result;
  }
  for (;;) {
    system_error = domain_.scheduler.tasks.ensure_backed(domain_.lock, 1);
    if (system_error != 0) {
      drop(object);
      return SubmitResult::kSystem;
    }
    Wakes wakes;
    Transaction transaction(domain_.lock);
    const Index task = domain_.scheduler.tasks.take(transaction);
    if (task == kNone) {
      if (!domain_.scheduler.tasks.is_full()) continue;
      transaction.close();
      drop(object);
      return SubmitResult::kFullTable;
    }
    scheduler::TaskEntry& entry = domain_.scheduler.tasks[task];
    transaction.set(entry.state, static_cast<std::uint32_t>(scheduler::TaskState::kWaiting));
    Transaction::init(entry.dependencies, 1);
    Transaction::init(entry.function, kNone);
    Transaction::init(entry.arguments, object);
    Transaction::init(entry.first_result, kNone);
    Transaction::init(entry.result_count, 0);
    Transaction::init(entry.shape, kNone);
    Transaction::init(entry.inline_references, 0);
    Transaction::init(entry.inline_bytes_used, static_cast<std::uint32_t>(is_inline ? size : 0));
    Transaction::init(entry.tag_high, tag.high);
    Transaction::init(entry.tag_low, tag.low);
    if (is_inline) {
      write_bytes(entry.inline_bytes, function, arguments);
    } else {
      (void)domain_.objects.seal(transaction, object, ObjectState::kSealed);
      domain_.objects.add_reference(transaction, object);
      (void)domain_.objects.unhold(transaction, domain_.self(), object);
    }
    domain_.scheduler.submit(transaction, task, wakes);
    transaction.close();
    domain_.perform(wakes);
    return SubmitResult::kDone;
  }
}

bool TaskQueue::take(TakenTask& taken) {
  Transaction transaction(domain_.lock);
  const Index task = domain_.scheduler.pop_low_level(transaction);
  if (task == kNone) return false;
  const scheduler::TaskEntry& entry = domain_.scheduler.tasks[task];
  taken.tag = {entry.tag_high.get(), entry.tag_low.get()};
  taken.object = entry.arguments.get();
  std::uint64_t size = entry.inline_bytes_used.get();
  const std::byte* bytes = taken.copy;
  if (taken.object != kNone) {
    (void)domain_.objects.hold(transaction, domain_.own_entry(), domain_.self(), taken.object);
    const store::PayloadView view = domain_.objects.view(taken.object);
    size = view.size_bytes;
    bytes = view.data;
  } else {
    MINIRAY_SOUND(size <= sizeof(taken.copy), "tasks: more bytes than a row has room for");
    std::memcpy(taken.copy, entry.inline_bytes, size);
  }
  MINIRAY_SOUND(size >= sizeof(taken.function_bytes), "tasks: a task without its sizes");
  std::memcpy(&taken.function_bytes, bytes, sizeof(taken.function_bytes));
  MINIRAY_SOUND(taken.function_bytes <= size - sizeof(taken.function_bytes), "tasks: a function is longer than its task");
  domain_.scheduler.end_task(transaction, task);
  transaction.close();
  taken.argument_bytes = size - sizeof(taken.function_bytes) - taken.function_bytes;
  taken.data = bytes + sizeof(taken.function_bytes);
  return true;
}

void TaskQueue::release(const TakenTask& task) { drop(task.object); }

void TaskQueue::drop(Index object) {
  if (object == kNone) return;
  Transaction transaction(domain_.lock);
  (void)domain_.objects.unhold(transaction, domain_.self(), object);
}

platform::WaitResult TaskQueue::wait(std::uint32_t arrivals, std::int64_t timeout_ns) {
  scheduler::SchedulerHeader& shared = domain_.header().scheduler;
  shared.arrival_waiters.fetch_add_ordered(1);  // a waiter that is killed leaves it too high: a needless wake, nothing worse
  const auto result = platform::wait_on_word(shared.arrivals.address(), arrivals, timeout_ns);
  shared.arrival_waiters.fetch_sub_ordered(1);
  return result;
}

}  // namespace miniray::runtime
