// scheduler/streams.cpp - streams of tasks that yield.
//
// Invariants  stream_entry.hpp M1 to M6.
//             Y1 a section that may be cut by a commit has linked everything before: telling waiters comes last.
// Cost        O(1) an item on both sides.
#include "scheduler/scheduler.hpp"

namespace miniray::scheduler {

using store::ObjectEntry;
using store::ObjectState;

namespace {
constexpr std::uint32_t kRoom = 2048;
}  // namespace

bool Scheduler::create_stream(Transaction& transaction, Index task, std::uint32_t limit) {
  TaskEntry& entry = tasks[task];
  const Index stream = objects_->create(transaction, ObjectState::kPending, store::kHandle | store::kStream);
  if (stream == kNone) return false;
  const Index tail = entry.first_result.get();
  StreamRecord& record = stream_record(stream);
  Transaction::init((*objects_)[stream].next_result, tail);
  Transaction::init(record.tail, tail);
  Transaction::init(record.task, task);
  Transaction::init(record.limit, limit);
  Transaction::init(record.flags, 0);
  Transaction::init(record.produced, 0);
  Transaction::init(record.consumed, 0);
  objects_->add_reference(transaction, tail);
  transaction.set(entry.tag_low, stream);
  transaction.set(entry.flags, entry.flags.get() | kStreams);
  return true;
}

Scheduler::Yield Scheduler::add_item(Transaction& transaction, Index task, Wakes& wakes) {
  const TaskEntry& entry = tasks[task];
  StreamRecord& record = stream_record(stream_of(task));
  const Index tail = record.tail.get();
  if (entry.first_result.get() != tail) return Yield::kIsOver;  // it ended before, in a run whose process died
  if (record.is_given_up()) {
    objects_->discard_payload(transaction, tail);
    return Yield::kIsOver;
  }
  const Index next = objects_->create(transaction, ObjectState::kPending, 0);
  if (next == kNone) return Yield::kNoRow;
  ObjectEntry& made = (*objects_)[tail];
  Transaction::init((*objects_)[next].producer, task);
  Transaction::init((*objects_)[next].next_result, made.next_result.get());
  Transaction::init((*objects_)[next].references, 1);
  transaction.set(made.next_result, next);
  transaction.set(record.tail, next);
  transaction.add(record.produced, 1);
  seal(transaction, tail, ObjectState::kSealed, wakes);
  return Yield::kGoesOn;
}

Index Scheduler::take_item(Transaction& transaction, Index stream, ProcessId holder, Wakes& wakes) {
  ObjectEntry& entry = (*objects_)[stream];
  StreamRecord& record = stream_record(stream);
  const Index item = entry.next_result.get();
  if (item == kNone || (*objects_)[item].current_state() == ObjectState::kPending || is_stream_end(stream)) return kNone;
  transaction.set(entry.next_result, next_item(stream, item));
  transaction.add(record.consumed, 1);
  (void)objects_->hold(transaction, (*processes_)[holder.slot], holder, item);
  objects_->drop_reference(transaction, item);
  if (entry.waiters.get() != kNone && record.has_room()) tell_producer(transaction, stream, wakes);
  return item;
}

bool Scheduler::is_stream_end(Index stream) const {
  const Index head = (*objects_)[stream].next_result.get();
  if (head == kNone) return true;
  return head == stream_record(stream).tail.get() && (*objects_)[head].current_state() == ObjectState::kSealed;
}

Index Scheduler::next_item(Index stream, Index item) const {
  return item == stream_record(stream).tail.get() ? kNone : (*objects_)[item].next_result.get();
}

void Scheduler::tell_producer(Transaction& transaction, Index stream, Wakes& wakes) {
  objects_->add_reference(transaction, stream);  // as in seal()
  transaction.set(header_->notifying, stream);
  finish_notifications(transaction, wakes);
}

void Scheduler::stop_waiting_for_room(Transaction& transaction, Index stream, Wakes& wakes) {
  transaction.set(stream_record(stream).limit, 0);
  if ((*objects_)[stream].waiters.get() != kNone) tell_producer(transaction, stream, wakes);
}

void Scheduler::end_stream_of(Transaction& transaction, Index task) {
  const Index stream = stream_of(task);
  transaction.set(stream_record(stream).task, kNone);
  if ((*objects_)[stream].references.get() == 0) objects_->put_dropped(transaction, stream);
}

// The first on the list of dropped handles is a stream: lets some of its items go, and at last the stream.
void Scheduler::settle_dropped_stream(Transaction& transaction, Wakes& wakes) {
  const Index stream = objects_->first_dropped();
  ObjectEntry& entry = (*objects_)[stream];
  StreamRecord& record = stream_record(stream);
  if (!record.is_given_up()) transaction.set(record.flags, record.flags.get() | kGivenUp);
  for (Index item = entry.next_result.get(); item != kNone; item = entry.next_result.get()) {
    if (transaction.room() < kRoom) return;
    transaction.set(entry.next_result, next_item(stream, item));
    objects_->drop_reference(transaction, item);
    if (objects_->first_dropped() != stream) return;  // the item held the last reference of another
  }
  objects_->take_dropped(transaction);
  if (record.task.get() == kNone) {
    // A coroutine that was cancelled while it waited for room may have left a node.
    if (entry.waiters.get() == kNone) {
      objects_->free(transaction, stream);
    } else {
      tell_producer(transaction, stream, wakes);  // which puts it on the list again
    }
  } else if (entry.waiters.get() != kNone) {
    tell_producer(transaction, stream, wakes);
  }
}

void Scheduler::count_stream_references(std::uint32_t* counts) const {
  for_each_stream([&](Index stream) {
    debug::WalkLimit limit = result_limit();
    for (Index item = (*objects_)[stream].next_result.get(); item != kNone; item = next_item(stream, item)) {
      limit.step();
      MINIRAY_SOUND(item <= objects_->slots.capacity(), "streams: an item that is not there");
      ++counts[item];
    }
  });
}

const char* Scheduler::validate_streams() const {
  const char* fault = nullptr;
  for_each_stream([&](Index stream) {
    const ObjectEntry& entry = (*objects_)[stream];
    const StreamRecord& record = stream_record(stream);
    if (entry.current_state() != ObjectState::kPending) fault = "streams: one is sealed";
    if (const Index task = record.task.get(); task != kNone) {
      if (!tasks.is_valid_index(task) || tasks[task].is_free() || !tasks[task].has(kStreams) || stream_of(task) != stream)
        fault = "streams: a task that does not make it";
    } else if (entry.references.get() == 0 && !entry.has(store::kDropped)) {
      fault = "streams: one that nobody makes or reads was not freed";
    }
    std::uint64_t count = 0;
    debug::WalkLimit limit = result_limit();
    for (Index item = entry.next_result.get(); item != kNone; item = next_item(stream, item)) {
      limit.step();
      const ObjectState state = (*objects_)[item].current_state();
      if (item != record.tail.get() && state != ObjectState::kSealed) fault = "streams: an item that is not there yet";
      if (++count > record.produced.get() - record.consumed.get() + 1) break;
    }
    if (entry.next_result.get() != kNone && !record.is_given_up() && count != record.produced.get() - record.consumed.get() + 1)
      fault = "streams: the items differ from the count";
  });
  return fault;
}

}  // namespace miniray::scheduler
