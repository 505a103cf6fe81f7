// python/pending_calls.cpp - see pending_calls.hpp.
#include "python/pending_calls.hpp"

#include <unordered_map>

namespace miniray::python {

namespace {

struct PendingCall {
  Index task;
  std::uint64_t sequence;
};

struct ActorCalls {
  ObjectKey actor;
  std::vector<PendingCall> calls;
};

auto& known = never_destroyed<std::unordered_map<Index, ActorCalls>>();  // by the slot of the handle object
std::uint64_t known_epoch = 0;

bool is_finished(const PendingCall& call) {
  const auto& tasks = session->domain.scheduler.tasks;
  if (!tasks.is_valid_index(call.task)) return true;
  return tasks[call.task].is_free() || tasks[call.task].sequence.get() != call.sequence;
}

void forget_finished(std::vector<PendingCall>& calls) { std::erase_if(calls, is_finished); }

}  // namespace

bool is_full_of_calls(ObjectKey actor, std::uint32_t limit) {
  const auto found = known_epoch == epoch ? known.find(actor.slot) : known.end();
  if (found == known.end() || found->second.actor.generation != actor.generation) return false;
  std::vector<PendingCall>& calls = found->second.calls;
  if (calls.size() < limit) return false;
  forget_finished(calls);
  if (calls.size() < limit) return false;
  const Transaction transaction(session->domain.lock);  // a section that has sealed a result has ended the call too
  forget_finished(calls);
  return calls.size() >= limit;
}

void note_pending_call(ObjectKey actor, Index task, std::uint64_t sequence) {
  if (known_epoch != epoch) known.clear();
  known_epoch = epoch;
  auto found = known.find(actor.slot);
  if (found == known.end()) {
    std::erase_if(known, [](const auto& each) { return !session->domain.objects.is_current(each.second.actor); });
    found = known.emplace(actor.slot, ActorCalls{actor, {}}).first;
  }
  if (found->second.actor.generation != actor.generation) found->second = ActorCalls{actor, {}};
  found->second.calls.push_back({task, sequence});
}

}  // namespace miniray::python
