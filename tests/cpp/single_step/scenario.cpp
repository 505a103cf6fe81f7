#include "scenario.hpp"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace single_step {

using miniray::runtime::DomainUsage;
using miniray::runtime::ProcessKind;
using miniray::store::AllocateResult;
namespace scheduler = miniray::scheduler;

std::vector<Scenario> all_scenarios() {
  std::vector<Scenario> list;
  add_store_scenarios(list);
  add_spill_scenarios(list);
  add_table_scenarios(list);
  add_scheduler_scenarios(list);
  add_environment_scenarios(list);
  add_lookout_scenarios(list);
  add_actor_scenarios(list);
  add_stream_scenarios(list);
  add_placement_scenarios(list);
  add_recovery_scenarios(list);
  return list;
}

void World::open(const DomainConfig& config) {
  EXPECT(!driver.create("miniray_single-step_scheduler", "miniray_single-step_objectstore", config, DomainUsage::kSession,
                        ProcessKind::kDriver, true));
  if (config.spill_bytes == 0) return;
  spill_file = platform::create_anonymous_file("single-step-spill", config.spill_bytes + kPage);
  EXPECT(spill_file >= 0 && driver.set_spill_file(platform::duplicate_descriptor(spill_file)) == 0);
}

void World::attach(Domain& domain) const {
  EXPECT(!domain.attach_descriptors(driver.control_file(), driver.heap_file(), DomainUsage::kSession, ProcessKind::kWorker));
  if (spill_file >= 0) EXPECT(domain.set_spill_file(platform::duplicate_descriptor(spill_file)) == 0);
}

Domain& World::join() {
  Domain& domain = others.emplace_back();
  attach(domain);
  return domain;
}

void World::die_after(const std::function<void(Domain&)>& work) {
  auto* told =
      static_cast<ProcessId*>(mmap(nullptr, sizeof(ProcessId), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  EXPECT(told != MAP_FAILED);
  (void)std::fflush(nullptr);
  const pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    Domain domain;
    attach(domain);
    *told = domain.self();
    work(domain);
    _exit(0);
  }
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  dead.push_back(*told);
  (void)munmap(told, sizeof(ProcessId));
}

void change(Domain& domain, const std::function<void(Transaction&, Wakes&)>& work) {
  Wakes wakes;
  Transaction transaction(domain.lock);
  work(transaction, wakes);
  transaction.close();
  domain.perform(wakes);
}

Index begin_object(Domain& domain, std::uint64_t size_bytes) {
  Index slot = kNone;
  while (slot == kNone) {
    EXPECT(domain.ensure_rows(1, 0, 0) == 0);
    Transaction transaction(domain.lock);
    slot = domain.objects.create(transaction, ObjectState::kWriting, 0);
    if (slot == kNone) continue;
    (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), slot);
  }
  for (AllocateResult result = AllocateResult::kNeedsBacking; result != AllocateResult::kDone;) {
    EXPECT(domain.heap.ensure_rows(size_bytes) == 0);
    Transaction transaction(domain.lock);
    result = domain.objects.reserve(transaction, slot, size_bytes, false);
    EXPECT(result != AllocateResult::kFull);
  }
  if (!domain.objects.is_backed(slot)) EXPECT(domain.heap.ensure_backed(domain.objects[slot].offset.get(), size_bytes) == 0);
  return slot;
}

void end_object(Domain& domain, Index slot, const std::vector<ObjectKey>& contained) {
  for (std::size_t position = 0; position < contained.size();) {
    Transaction transaction(domain.lock);
    for (; position < contained.size() && transaction.room() > 64; ++position)
      domain.objects.add_contained(transaction, slot, contained[position]);
  }
  Wakes wakes;
  Transaction transaction(domain.lock);
  domain.scheduler.seal(transaction, slot, ObjectState::kSealed, wakes);
  transaction.close();
  domain.perform(wakes);
}

ObjectKey put(Domain& domain, std::uint64_t size_bytes, const std::vector<ObjectKey>& contained) {
  const Index slot = begin_object(domain, size_bytes + 8 * contained.size());
  std::memset(domain.objects.payload_for_write(slot), 0x5A, size_bytes < 32 ? size_bytes : 32);  // each byte is a state
  end_object(domain, slot, contained);
  return domain.objects.key(slot);
}

void drop(Domain& domain, ObjectKey key) {
  {
    Transaction transaction(domain.lock);
    (void)domain.objects.unhold(transaction, domain.self(), key.slot);
  }
  domain.reclaim();
}

void set_processors(World& world, int count) {
  Domain& domain = world.driver;
  const Index slot = begin_object(domain, 32);
  std::byte* payload = domain.objects.payload_for_write(slot);
  std::memset(payload, 0, 32);
  payload[0] = std::byte{scheduler::kFunctionFormat};
  const std::uint32_t length = 4;
  std::memcpy(payload + 4, &length, sizeof(length));
  std::memcpy(payload + 8, "task", 4);
  end_object(domain, slot, {});
  world.function = slot;
  Transaction transaction(domain.lock);
  scheduler::Resource& resource = domain.scheduler.resource(scheduler::kCpu);
  transaction.set(resource.total, count * scheduler::kResourceUnit);
  transaction.set(resource.available, count * scheduler::kResourceUnit);
  const scheduler::Demand demand{scheduler::kCpu, 0, scheduler::kResourceUnit};
  world.shape = domain.scheduler.find_shape(transaction, &demand, 1);
}

std::vector<ObjectKey> submit(World& world, Domain& domain, const Call& call) {
  Index argument = kNone;
  const bool is_inline = call.argument_bytes + 8 * call.dependencies.size() <= scheduler::kInlineArgumentBytes;
  if (!is_inline) {
    argument = begin_object(domain, call.argument_bytes + 8 * call.dependencies.size());
    Transaction transaction(domain.lock);
    for (const ObjectKey& key : call.dependencies) domain.objects.add_contained(transaction, argument, key);
  }
  std::vector<ObjectKey> results;
  results.reserve(call.result_count);
  EXPECT(domain.ensure_rows(call.result_count + (call.streams ? 1U : 0U), 1,
                            static_cast<std::uint32_t>(call.dependencies.size())) == 0);
  Wakes wakes;
  Transaction transaction(domain.lock);
  const Index task = domain.scheduler.tasks.take(transaction);
  EXPECT(task != kNone);
  scheduler::TaskEntry& entry = domain.scheduler.tasks[task];
  transaction.set(entry.state, static_cast<std::uint32_t>(scheduler::TaskState::kWaiting));
  Transaction::init(entry.dependencies, 1);
  Transaction::init(entry.function, world.function);
  Transaction::init(entry.function_generation, domain.objects[world.function].generation.get());
  Transaction::init(entry.arguments, argument);
  Transaction::init(entry.first_result, kNone);
  Transaction::init(entry.result_count, call.result_count);
  Transaction::init(entry.shape, world.shape);
  Transaction::init(entry.retries_left, call.retries);
  Transaction::init(entry.attempt, 0);
  Transaction::init(entry.worker, 0);
  Transaction::init(entry.flags, 0);
  Transaction::init(entry.actor, kNone);
  Transaction::init(entry.inline_references, 0);
  Transaction::init(entry.inline_bytes_used, 0);
  domain.objects.add_reference(transaction, world.function);
  Index previous = kNone;
  for (std::uint32_t i = 0; i < call.result_count; ++i) {
    if (transaction.room() < 512) transaction.commit();
    const Index result = domain.objects.create(transaction, ObjectState::kPending, 0);
    EXPECT(result != kNone);
    Transaction::init(domain.objects[result].producer, task);
    transaction.set(previous == kNone ? entry.first_result : domain.objects[previous].next_result, result);
    previous = result;
  }
  Index first_given = entry.first_result.get();
  if (call.streams) {
    EXPECT(domain.scheduler.create_stream(transaction, task, call.stream_limit));
    first_given = domain.objects[first_given].next_result.get();
    (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), domain.scheduler.stream_of(task));
  }
  for (Index result = first_given; result != kNone; result = domain.objects[result].next_result.get()) {
    if (transaction.room() < 512) transaction.commit();
    (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), result);
  }
  if (is_inline) {
    auto* pairs = reinterpret_cast<std::uint32_t*>(entry.inline_bytes);
    for (const ObjectKey& key : call.dependencies) {
      *pairs++ = key.slot;
      *pairs++ = key.generation;
      domain.objects.add_reference(transaction, key.slot);
    }
    transaction.set(entry.inline_references, static_cast<std::uint32_t>(call.dependencies.size()));
    Transaction::init(entry.inline_bytes_used, static_cast<std::uint32_t>(8 * call.dependencies.size() + call.argument_bytes));
  } else {
    (void)domain.objects.seal(transaction, argument, ObjectState::kSealed);
    domain.objects.add_reference(transaction, argument);
    (void)domain.objects.unhold(transaction, domain.self(), argument);
  }
  for (const ObjectKey& key : call.dependencies) {
    if (domain.objects[key.slot].current_state() != ObjectState::kPending) continue;
    if (domain.waits.add_dependency(transaction, domain.objects, task, key.slot)) transaction.add(entry.dependencies, 1);
  }
  domain.scheduler.submit(transaction, task, wakes);
  for (Index result = first_given; result != kNone; result = domain.objects[result].next_result.get())
    results.push_back(domain.objects.key(result));
  if (call.streams) results.push_back(domain.objects.key(domain.scheduler.stream_of(task)));
  transaction.close();
  domain.perform(wakes);
  return results;
}

void start_worker(Domain& domain) {
  Wakes wakes;
  Transaction transaction(domain.lock);
  domain.scheduler.add_worker(transaction, domain.self(), wakes);
  transaction.close();
  domain.perform(wakes);
}

void seal_results(Domain& domain, Transaction& transaction, Wakes& wakes, std::uint64_t size_bytes, ObjectState state) {
  const scheduler::TaskEntry& entry = domain.scheduler.tasks[domain.own_entry().lease.get()];
  for (Index object = entry.first_result.get(); object != kNone;) {
    if (transaction.room() < 1024) transaction.commit();
    const Index next = domain.objects[object].next_result.get();
    if (domain.objects[object].size_bytes.get() == 0)
      EXPECT(domain.objects.reserve(transaction, object, size_bytes, false) == AllocateResult::kDone);
    domain.scheduler.seal(transaction, object, state, wakes);
    object = next;
  }
}

void finish_task(Domain& domain) {
  Wakes wakes;
  Transaction transaction(domain.lock);
  seal_results(domain, transaction, wakes);
  if (transaction.room() < 2048) transaction.commit();
  domain.scheduler.finish_lease(transaction, domain.self(), wakes);
  transaction.close();
  domain.perform(wakes);
}

}  // namespace single_step
