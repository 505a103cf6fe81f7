#include "scheduler/wait_table.hpp"

namespace miniray::scheduler {

Index WaitTable::create_group(Transaction& transaction, ProcessId owner, bool fail_fast) {
  const Index group = groups.take(transaction);
  if (group == kNone) return kNone;
  WaitGroup& entry = groups[group];
  transaction.set(entry.owner, owner.packed());
  Transaction::init(entry.remaining, 0);
  Transaction::init(entry.fail_fast, fail_fast ? 1 : 0);
  Transaction::init(entry.first_node, kNone);
  return group;
}

Index WaitTable::link(Transaction& transaction, ObjectTable& objects, Index object) {
  const Index node = nodes.take(transaction);
  if (node == kNone) return kNone;
  WaitNode& entry = nodes[node];
  Cell<Index>& head = objects[object].waiters;
  const Index next = head.get();
  Transaction::init(entry.object, object);
  Transaction::init(entry.next, next);
  Transaction::init(entry.previous, kNone);
  Transaction::init(entry.group_next, kNone);
  if (next != kNone) transaction.set(nodes[next].previous, node);
  transaction.set(head, node);
  return node;
}

bool WaitTable::add_to_group(Transaction& transaction, ObjectTable& objects, Index group, Index object) {
  const Index node = link(transaction, objects, object);
  if (node == kNone) return false;
  transaction.set(nodes[node].task, kNone);
  transaction.set(nodes[node].group, group);
  Transaction::init(nodes[node].group_next, groups[group].first_node.get());
  transaction.set(groups[group].first_node, node);
  return true;
}

bool WaitTable::add_dependency(Transaction& transaction, ObjectTable& objects, Index task, Index object) {
  const Index node = link(transaction, objects, object);
  if (node == kNone) return false;
  transaction.set(nodes[node].group, kNone);
  transaction.set(nodes[node].task, task);
  return true;
}

bool WaitTable::end_group_step(Transaction& transaction, ObjectTable& objects, Index group) {
  WaitGroup& entry = groups[group];
  for (Index node = entry.first_node.get(); node != kNone; node = entry.first_node.get()) {
    if (transaction.room() < 64) return true;
    WaitNode& found = nodes[node];
    MINIRAY_SOUND(found.group.get() == group, "waits: a group leads to the nodes of another");
    transaction.set(entry.first_node, found.group_next.get());
    const Index object = found.object.get();
    if (object != kNone) {
      const Index next = found.next.get();
      const Index previous = found.previous.get();
      MINIRAY_SOUND((previous != kNone ? nodes[previous].next : objects[object].waiters).get() == node,
                    "waits: a list of waiters is torn");
      if (next != kNone) transaction.set(nodes[next].previous, previous);
      transaction.set(previous != kNone ? nodes[previous].next : objects[object].waiters, next);
      transaction.set(found.object, kNone);
    }
    transaction.set(found.group, kNone);
    nodes.put(transaction, node);
  }
  transaction.set(entry.owner, 0);
  groups.put(transaction, group);
  return false;
}

void WaitTable::wake_group(Index group) {
  groups[group].wake.fetch_add_ordered(1);  // [W4]
  platform::wake_word(groups[group].wake.address(), 1 << 30);
}

void WaitTable::wake_all_groups() noexcept {
  groups.for_each_row_there_is([](WaitGroup& group) {
    if (group.is_free()) return;
    group.wake.fetch_add_ordered(1);  // [W4]
    platform::wake_word(group.wake.address(), 1 << 30);
  });
}

}  // namespace miniray::scheduler
