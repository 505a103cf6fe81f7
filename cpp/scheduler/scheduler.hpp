// scheduler/scheduler.hpp - from call to result: whoever causes an event does its scheduling, inside one section.
//
// Invariants  S1 a worker is idle, or leases one task, or is blocked inside one; the idle list holds exactly the idle ones,
//                newest first; there is one for each environment.
//             S2 after each section no idle worker exists beside a queued task of its environment whose demand fits; but for those that
//                a lookout starts in a moment (lookout.cpp).
//             S3 truth: task rows, worker_state, lease, bundle and GPUs of process rows. Derived: idle list, queues, available amounts.
// Locks       every method with a Transaction runs under the domain's lock; wakes are listed and done by the caller afterwards.
// Memory     while no worker holds a lease nobody looks at the memory: a lease then rings the supervisor (`memory_watch_sleeps`).
// Crash       recover_worker() ends or repeats the lease of a dead worker; finish_notifications() completes a cut-off seal.
#pragma once

#include "scheduler/actor_entry.hpp"
#include "scheduler/death_notes.hpp"
#include "scheduler/placement_entry.hpp"
#include "scheduler/stream_entry.hpp"
#include "scheduler/task_end.hpp"
#include "scheduler/wait_table.hpp"

namespace miniray::scheduler {

struct SchedulerHeader {
  shm::SlotTableHeader tasks;
  shm::SlotTableHeader actors;
  shm::SlotTableHeader placements;
  shm::SlotTableHeader bundles;
  ResourcesHeader resources;
  PlacementList waiting_placements;  // the oldest first
  PlacementList removed_placements;
  Cell<std::uint32_t> listed_placements;  // in both
  std::uint32_t padding;
  Cell<std::uint32_t> idle_count;
  Cell<std::uint32_t> running_count;  // leases not blocked
  Cell<std::uint32_t> worker_count;
  Cell<Index> notifying;                    // object whose waiters are being told, referred to until then
  Cell<std::uint32_t> memory_watch_sleeps;  // 1: the supervisor wants to be rung at the next lease
  Cell<std::uint64_t> next_sequence;
  Cell<std::uint64_t> finished_count;
  Cell<std::uint64_t> finished_at_look;  // the same when the lookout looked last
  Cell<Index> lookout;                // idle worker that looks in a moment what more is to begin; kNone: nothing waits for it
  Cell<std::uint32_t> looks;          // counts
  Cell<std::uint32_t> processors;     // never changes
  Cell<std::uint32_t> running_limit;  // so many leases begin at once; at least `processors`
  Atomic<std::uint32_t> arrivals;     // futex word: tasks came (low-level module)
  Atomic<std::uint32_t> arrival_waiters;
  Atomic<std::uint32_t> doorbell_rung;  // the supervisor has been rung and has not looked yet
  Atomic<std::uint32_t> spinners;       // threads that spin for a result
  Atomic<std::uint32_t> idle_spinners;  // idle workers that spin for a lease
  Atomic<std::uint32_t> trim_wanted;    // 1: tables hold more empty chunks than are worth keeping; 2: the supervisor knows
  Atomic<std::uint32_t> trimmer;        // ProcessId, packed, of who gives chunks back; 0: nobody
  Cell<std::uint32_t> memory_retries;   // how often a task may be ended for memory and tried again; kRetryForever
  Cell<Index> ending;                   // actor whose calls are being failed
  DeathNotes death_notes;
};

class Scheduler {
 public:
  Scheduler() = default;
  Scheduler(std::byte* region, SchedulerHeader* header, const SchedulerHeader& layout, ObjectTable* objects, WaitTable* waits,
            process::ProcessTable* processes, platform::Descriptor file, std::uint64_t file_offset) noexcept
      : tasks(region, &header->tasks, layout.tasks, file, file_offset, &header->trim_wanted),
        actors(region, &header->actors, layout.actors, file, file_offset, &header->trim_wanted),
        placements(region, &header->placements, layout.placements, file, file_offset, &header->trim_wanted),
        bundles(region, &header->bundles, layout.bundles, file, file_offset, &header->trim_wanted),
        header_(header),
        objects_(objects),
        waits_(waits),
        processes_(processes) {}

  shm::SlotTable<TaskEntry> tasks;
  shm::SlotTable<ActorEntry> actors;
  shm::SlotTable<PlacementEntry> placements;
  shm::SlotTable<BundleEntry> bundles;

  [[nodiscard]] SchedulerHeader& header() const { return *header_; }
  [[nodiscard]] Resource& resource(std::uint32_t index) const {
    MINIRAY_SOUND(index < kResourceCapacity, "scheduler: a number of a resource that is not there");
    return header_->resources.resources[index];
  }
  [[nodiscard]] Shape& shape(Index index) const {
    MINIRAY_SOUND(index < kShapeCapacity, "scheduler: a number of a demand that is not there");
    return header_->resources.shapes[index];
  }
  [[nodiscard]] std::uint32_t shape_count() const {
    const std::uint32_t count = header_->resources.shape_count.get();
    MINIRAY_SOUND(count <= kShapeCapacity, "scheduler: more demands than there is room for");
    return count;
  }
  [[nodiscard]] static std::uint32_t demand_count(const Shape& shape) {
    const std::uint32_t count = shape.demand_count.get();
    MINIRAY_SOUND(count <= kShapeDemands, "scheduler: a demand for more resources than there is room for");
    return count;
  }

  [[nodiscard]] static std::uint32_t bundle_demands(const BundleEntry& bundle) {
    const std::uint32_t count = bundle.demand_count.get();
    MINIRAY_SOUND(count <= kShapeDemands, "bundles: a demand for more resources than there is room for");
    return count;
  }

  // --- set-up -------------------------------------------------------------------------------------------------------
  // Index of a resource by name; adds it with total 0 when unknown. kResourceCapacity when there is no room.
  [[nodiscard]] std::uint32_t find_resource(const char* name, bool add);
  void set_total(Transaction& transaction, std::uint32_t resource, std::int64_t units);
  // Where a shape is to be found: on the machine, or in a placement group.
  struct Place {
    Index placement = kNone;
    std::uint32_t bundle = kAnyBundle;
    bool captures = false;
    std::uint32_t environment = 0;
  };
  [[nodiscard]] Index find_shape(Transaction& transaction, const Demand* demands, std::uint32_t count,
                                 Place place);  // kNone: no room
  [[nodiscard]] Index find_shape(Transaction& transaction, const Demand* demands, std::uint32_t count) {
    return find_shape(transaction, demands, count, {});
  }
  [[nodiscard]] bool shape_can_ever_run(Index shape) const;

  // --- calls --------------------------------------------------------------------------------------------------------
  // The row is filled; dependencies counts the nodes added plus one guard. Drops the guard.
  void submit(Transaction& transaction, Index task, Wakes& wakes);
  void dependency_met(Transaction& transaction, Index task, Wakes& wakes);
  // Fails a task, or the actor of a creation, that has not begun: it stays where it is, and is not run.
  void refuse(Transaction& transaction, Index task, DeathCause cause, Wakes& wakes);
  // Seals and tells waiters and dependents; frees an object that nobody refers to.
  void seal(Transaction& transaction, Index object, store::ObjectState state, Wakes& wakes);
  void finish_notifications(Transaction& transaction, Wakes& wakes);
  // Takes the oldest task of the low-level queue (shape 0) away; kNone when empty. The caller reads and then ends it.
  [[nodiscard]] Index pop_low_level(Transaction& transaction);
  // Drops what the task holds and frees its row.
  void end_task(Transaction& transaction, Index task);

  // --- cancel (cancellation.cpp) --------------------------------------------------------------------------------------
  // What the canceller is to do when the section is over; to the process in row `worker`.
  enum class CancelStep : std::uint8_t { kNothing, kInterrupt, kKill, kRefused };
  struct Cancellation {
    CancelStep step = CancelStep::kNothing;
    Index worker = kNone;
  };
  // Cancels a task or a call: it does not run, is interrupted, or its host is told. kRefused: `force` of a call. May take several
  // sections, which a canceller that dies leaves to whoever runs the task.
  [[nodiscard]] Cancellation cancel(Transaction& transaction, Index task, bool force, Wakes& wakes);
  // Whether a task was made by the one with that sequence.
  [[nodiscard]] bool is_child(Index task, std::uint64_t parent) const {
    return !tasks[task].is_free() && tasks[task].tag_high.get() == parent;
  }

  // --- workers ------------------------------------------------------------------------------------------------------
  void add_worker(Transaction& transaction, ProcessId worker, Wakes& wakes);  // becomes idle, or takes a task
  void finish_lease(Transaction& transaction, ProcessId worker,
                    Wakes& wakes);                                               // results are sealed; next task or idle
  void repeat_lease(Transaction& transaction, ProcessId worker, Wakes& wakes);   // the call is to be tried again
  void begin_blocked(Transaction& transaction, ProcessId worker, Wakes& wakes);  // inside get or wait: CPU given back
  void end_blocked(Transaction& transaction, ProcessId worker);
  void return_lease(Transaction& transaction,
                    ProcessId worker);  // not begun: back to the front of its queue; worker idle
  [[nodiscard]] bool retire(Transaction& transaction, ProcessId worker);  // idle worker leaves; false: it has a lease
  void recover_worker(Transaction& transaction, ProcessId worker, ProcessEnd end, Wakes& wakes);
  // Fails the oldest task that fits now when no worker of its environment is idle and none runs, so that only a new one could take it; none
  // that came after
  // `last_sequence`. True: one was failed.
  [[nodiscard]] bool fail_stranded_task(Transaction& transaction, ProcessEnd end, std::uint64_t last_sequence, Wakes& wakes);
  // Whether no worker holds a lease; the next one rings the supervisor then.
  [[nodiscard]] bool let_memory_watch_sleep(Transaction& transaction);
  // Whether a task ended for memory would be tried again.
  [[nodiscard]] bool may_repeat_for_memory(const TaskEntry& task) const {
    return (task.flags.get() & kRetriable) != 0 && task.memory_ends() < header_->memory_retries.get();
  }
  // Name of a task, out of its function; cut to the room there is.
  [[nodiscard]] std::size_t copy_name(Index task, char* name, std::size_t room) const;
  [[nodiscard]] std::uint32_t queued_count() const {  // tasks
    return header_->resources.queued_count.get() - header_->listed_placements.get();
  }
  void dispatch(Transaction& transaction, Wakes& wakes);

  // --- environments (environments.cpp) ---------------------------------------------------------------------------------
  [[nodiscard]] Environment& environment(std::uint32_t index) const {
    MINIRAY_SOUND(index < kEnvironmentCapacity, "scheduler: a number of an environment that is not there");
    return header_->resources.environments[index];
  }
  [[nodiscard]] std::uint32_t environment_count() const {  // with 0
    const std::uint32_t count = header_->resources.environment_count.get() + 1;
    MINIRAY_SOUND(count <= kEnvironmentCapacity, "scheduler: more environments than there is room for");
    return count;
  }
  // Number of the environment that an object describes, which stays; 0: no room for another.
  [[nodiscard]] std::uint32_t find_environment(Transaction& transaction, Index object);
  // What the supervisor must know of the workers of one environment.
  struct Pool {
    std::uint32_t needed = 0;   // workers to be started, less those that are being started
    std::uint32_t present = 0;  // processes of it that are workers, hosts of actors or about to leave
    std::uint32_t hosts = 0;    // of these, those that belong to no pool (any more)
  };
  void describe_pools(Pool* pools) const;  // kEnvironmentCapacity of them; under the lock
  // Up to `count` idle workers of other environments, for which nothing is queued, leave to make room; how many.
  [[nodiscard]] std::uint32_t give_way(Transaction& transaction, std::uint32_t environment, std::uint32_t count, Wakes& wakes);
  // Lists idle workers of other environments, to be woken: there may be more of them than are to be kept now.
  void tell_others(std::uint32_t environment, Wakes& wakes) const;
  // Fails the oldest queued task of an environment; none that came after `last_sequence`. True: one was failed.
  [[nodiscard]] bool fail_environment_task(Transaction& transaction, std::uint32_t environment, ProcessEnd end,
                                           std::uint64_t last_sequence, Wakes& wakes);

  // --- lookout (lookout.cpp) -----------------------------------------------------------------------------------------
  struct Watch {
    Index lookout = kNone;
    std::uint32_t looks = 0;
    [[nodiscard]] bool operator==(const Watch&) const noexcept = default;
  };
  [[nodiscard]] Watch watch() const { return {header_->lookout.get(), header_->looks.get()}; }
  // Whether, since the last look, those that run have finished a task each.
  [[nodiscard]] bool tasks_are_short() const;
  // By the lookout. `gets_on`: more leases would not get more done.
  void look_out(Transaction& transaction, ProcessId worker, bool gets_on, Wakes& wakes);
  // A demand whose tasks could begin, and that nobody will look at: against S2; kNone.
  [[nodiscard]] Index neglected_shape() const;
  // By anybody: the lookout has not looked since it was `seen`.
  void relieve_lookout(Transaction& transaction, Watch seen, Wakes& wakes);

  // --- actors (actors.cpp, actor_calls.cpp) --------------------------------------------------------------------------
  // Row and handle object of a new actor, which its creator is to hold; kNone when a table has no row left.
  [[nodiscard]] Index create_actor(Transaction& transaction, Index hold_shape, std::uint32_t restarts, std::uint32_t flags,
                                   ProcessId creator);
  [[nodiscard]] Index actor_of(Index handle) const { return (*objects_)[handle].next_result.get(); }
  // The constructor returned: its worker becomes the host.
  void finish_creation(Transaction& transaction, ProcessId worker, Wakes& wakes);
  // The next call that may run now; kNone. The host runs it.
  [[nodiscard]] Index begin_call(Transaction& transaction, ProcessId host);
  void finish_call(Transaction& transaction, Index task);  // its results are sealed
  void repeat_call(Transaction& transaction, Index task);  // it is to be tried again, before all others
  // Ends an actor: calls fail with the record, or with `error` for kInitFailed. Its host, if it lives, leaves the actor.
  void end_actor(Transaction& transaction, Index actor, ActorEndRecord record, ObjectKey error, Wakes& wakes);
  // kill(): ends an actor without a host; of another the row of its host, which the caller ends.
  [[nodiscard]] Index kill_actor(Transaction& transaction, Index actor, bool restart, Wakes& wakes);
  // Ends actors that a dead process made, unless it left in good order; some of them, so until it returns 0. hosts: rows that are
  // to be ended in the same section; kNone: none. Before recover_worker() of the dead process.
  [[nodiscard]] std::uint32_t orphan_actors(Transaction& transaction, ProcessId creator, Index* hosts, std::uint32_t room,
                                            Wakes& wakes);
  // Acts on the first dropped handle; false when there is none.
  bool settle_dropped_handle(Transaction& transaction, Wakes& wakes);
  void set_name(Transaction& transaction, Index actor, Index name);

  // --- streams (streams.cpp) ------------------------------------------------------------------------------------------
  // Makes the task, whose two results are made, one that streams; false: no row is left. Its maker is to hold the stream.
  [[nodiscard]] bool create_stream(Transaction& transaction, Index task, std::uint32_t limit);
  [[nodiscard]] Index stream_of(Index task) const { return static_cast<Index>(tasks[task].tag_low.get()); }
  [[nodiscard]] StreamRecord& stream_record(Index stream) const {
    store::ObjectEntry& entry = (*objects_)[stream];
    MINIRAY_SOUND(entry.has(store::kStream), "streams: a number of a row that is none");
    return *reinterpret_cast<StreamRecord*>(entry.inline_bytes);
  }
  enum class Yield : std::uint8_t { kGoesOn, kIsOver, kNoRow };
  // The payload of the tail is in place: it becomes an item. kIsOver: nobody reads on, and it was discarded. kNoRow: back one, and again.
  [[nodiscard]] Yield add_item(Transaction& transaction, Index task, Wakes& wakes);
  // The first item, which the holder has a reference of from now on; kNone: it is not there yet, or there is none (is_stream_end).
  [[nodiscard]] Index take_item(Transaction& transaction, Index stream, ProcessId holder, Wakes& wakes);
  // Whether no item is left and none will come.
  [[nodiscard]] bool is_stream_end(Index stream) const;
  // Whether who waits for the object has to: it is not made; of a stream: it has no room for another item.
  [[nodiscard]] bool is_awaited(Index object) const {
    const store::ObjectEntry& entry = (*objects_)[object];
    return entry.current_state() == store::ObjectState::kPending &&
           !(entry.has(store::kStream) && stream_record(object).has_room());
  }

  // --- placement groups (placements.cpp) --------------------------------------------------------------------------------
  // In steps, so that a group may have many bundles: a row, its bundles, and at last the object that is sealed when it is placed, which
  // its process is writing. kNone, false: a table has no row left.
  [[nodiscard]] Index begin_placement(Transaction& transaction, ProcessId creator, Index description, std::uint32_t flags);
  [[nodiscard]] bool add_bundle(Transaction& transaction, Index placement, const Demand* demands, std::uint32_t count);
  void finish_placement(Transaction& transaction, Index placement, Index ready, Wakes& wakes);
  [[nodiscard]] bool placement_can_ever_fit(Index placement) const;
  // Nobody starts in it any more. How many processes are to be ended in the same section; their rows go into `hosts`, which has room for
  // all processes. What is left to do settle_removed() does.
  [[nodiscard]] std::uint32_t remove_placement(Transaction& transaction, Index placement, Index* hosts, Wakes& wakes);
  // Removes groups that a dead process was making; how many, 0 when there are no more.
  [[nodiscard]] std::uint32_t orphan_placements(Transaction& transaction, ProcessId creator, Wakes& wakes);
  // Goes on with groups that are removed; false: there is nothing to do but to wait for processes that end.
  bool settle_removed(Transaction& transaction, Wakes& wakes);
  [[nodiscard]] bool is_removed(const Shape& shape) const {
    return shape.placement.get() != kNone && placements[shape.placement.get()].current_state() == PlacementState::kRemoved;
  }

  [[nodiscard]] const char* validate() const;
  // Adds what tasks hold to counts[object], for ObjectTable::validate.
  void count_references(std::uint32_t* counts) const;

  // Bounds a walk through a task's results.
  [[nodiscard]] debug::WalkLimit result_limit() const noexcept {
    return {objects_->slots.capacity(), "tasks: the chain of a task's results has a cycle"};
  }

 private:
  [[nodiscard]] const char* validate_waiting() const;
  [[nodiscard]] TaskEntry& leased_task(Index task) const;
  void make_ready(Transaction& transaction, Index task, bool first, Wakes& wakes);
  void queue_push(Transaction& transaction, Index task, bool first);
  void queue_pop(Transaction& transaction, Index shape);
  [[nodiscard]] bool fits(const Shape& shape) const;
  [[nodiscard]] Index fitting_bundle(const Shape& shape) const;
  [[nodiscard]] bool bundle_fits(Index bundle, const Shape& shape) const;
  [[nodiscard]] std::int64_t runnable_in_group(const Shape& shape) const;
  [[nodiscard]] Cell<std::int64_t>& available(Index bundle, std::uint32_t resource) const;
  [[nodiscard]] GpuShares& gpu_shares(Index bundle) const;
  [[nodiscard]] std::int64_t gpu_demand(Index shape) const;
  [[nodiscard]] static std::uint32_t share_of_gpu(std::int64_t amount) {  // of each, for that amount
    return static_cast<std::uint32_t>(amount < kResourceUnit ? amount : kResourceUnit);
  }
  [[nodiscard]] static std::uint64_t pick_from(std::uint32_t (&left)[kGpuCapacity], std::int64_t amount);
  static void move_gpus(Transaction& transaction, GpuShares& shares, std::uint64_t gpus, std::int64_t difference);
  [[nodiscard]] static std::int64_t demand_in(const BundleEntry& bundle, std::uint32_t resource) {
    for (std::uint32_t i = 0; i < bundle_demands(bundle); ++i) {
      if (bundle.demands[i].resource == resource) return bundle.demands[i].amount;
    }
    return 0;
  }
  [[nodiscard]] debug::WalkLimit bundle_limit() const noexcept {
    return {bundles.capacity(), "placement groups: the chain of bundles has a cycle"};
  }
  // What the task holds while it has a lease. A creation: what its actor holds for life; what placing it takes is only looked at.
  [[nodiscard]] Index held_shape(Index task) const {
    const TaskEntry& entry = tasks[task];
    return entry.actor.get() != kNone ? actors[entry.actor.get()].hold_shape.get() : entry.shape.get();
  }
  // Whether its CPU goes to others while it waits: that of an actor does not.
  [[nodiscard]] bool lends_cpu(Index task) const { return tasks[task].actor.get() == kNone; }
  void charge(Transaction& transaction, Index shape, Index bundle, std::int64_t sign, bool cpu_only);
  // What the process holds from now on, of the machine or of that bundle; and no more.
  void take_share(Transaction& transaction, Index shape, Index worker, Index bundle);
  void return_share(Transaction& transaction, Index shape, Index worker);
  // The shape whose oldest queued task came first, among those that fit now and have an idle worker; and the sequence of the first task
  // that fits and lacks one, ~0 without any.
  [[nodiscard]] Index best_shape(std::uint64_t& unserved) const;
  [[nodiscard]] Index idle_head(const Shape& shape) const { return environment(shape.environment.get()).idle_head.get(); }
  // True: what fits is left for the lookout, since so many leases run or the section has no room for more.
  [[nodiscard]] bool dispatch_up_to(Transaction& transaction, std::uint32_t most_running, Wakes& wakes);
  void keep_lookout(Transaction& transaction, const Shape& queue, Wakes& wakes);
  void count_one_less(Transaction& transaction);  // of those that run
  void fail_head(Transaction& transaction, Index shape, ProcessEnd end, Wakes& wakes);
  [[nodiscard]] const char* validate_environments() const;
  void lease(Transaction& transaction, Index task, Index worker, Wakes& wakes);
  [[nodiscard]] bool may_repeat_after_death(Index task, DeathCause cause) const;
  void take_retry(Transaction& transaction, Index task, DeathCause cause);
  void idle_push(Transaction& transaction, Index worker);
  void idle_remove(Transaction& transaction, Index worker);
  void drop_lease(Transaction& transaction, Index worker, bool keeps_share = false);
  void fail_with_crash(Transaction& transaction, Index task, ProcessEnd end, Wakes& wakes);
  void discard_half_made_results(Transaction& transaction, Index task);
  void push_call(Transaction& transaction, Index task, Wakes& wakes);
  void make_call_ready(Transaction& transaction, Index task, Wakes& wakes);
  void push_ready(Transaction& transaction, Index task, bool first);
  void add_lane(Transaction& transaction, Index task);
  void pop_ready(Transaction& transaction, ActorEntry& actor);
  void take_from_lane(Transaction& transaction, Index task);
  void link_running(Transaction& transaction, Index task);
  void unlink_running(Transaction& transaction, Index task);
  void fail_results(Transaction& transaction, Index task, ActorEnd end, Wakes& wakes);
  void end_failed_call(Transaction& transaction, Index task);
  void release_host(Transaction& transaction, ActorEntry& actor);
  void finish_endings(Transaction& transaction, Wakes& wakes);
  void recover_host(Transaction& transaction, ProcessId host, ProcessEnd end, Wakes& wakes);
  void unqueue(Transaction& transaction, Index task);
  [[nodiscard]] const char* validate_actors() const;
  void free_actor(Transaction& transaction, Index actor);
  void mark_killed(Transaction& transaction, ActorEntry& actor);
  [[nodiscard]] Index next_item(Index stream, Index item) const;
  void tell_producer(Transaction& transaction, Index stream, Wakes& wakes);
  void stop_waiting_for_room(Transaction& transaction, Index stream, Wakes& wakes);
  void end_stream_of(Transaction& transaction, Index task);
  void settle_dropped_stream(Transaction& transaction, Wakes& wakes);
  void count_stream_references(std::uint32_t* counts) const;
  [[nodiscard]] const char* validate_streams() const;
  template <class Visit>
  void for_each_stream(Visit visit) const {
    objects_->slots.for_each_used([&](Index object) {
      if ((*objects_)[object].has(store::kStream)) visit(object);
    });
  }
  void list_append(Transaction& transaction, PlacementList& list, Index placement);
  void list_remove(Transaction& transaction, PlacementList& list, Index placement);
  void sum_demands(const PlacementEntry& group, std::int64_t (&wanted)[kResourceCapacity]) const;
  [[nodiscard]] bool placement_fits(const PlacementEntry& group, bool is_alone) const;
  [[nodiscard]] bool place_next(Transaction& transaction, std::uint64_t before, Wakes& wakes);
  void place(Transaction& transaction, Index placement, Wakes& wakes);
  [[nodiscard]] bool fail_one_of_removed(Transaction& transaction, Index placement, Wakes& wakes);
  void free_placement(Transaction& transaction, Index placement);
  [[nodiscard]] const char* validate_shares(const std::uint64_t* left) const;
  [[nodiscard]] const char* validate_bundle(Index bundle) const;
  [[nodiscard]] const char* validate_placements() const;

  SchedulerHeader* header_ = nullptr;
  ObjectTable* objects_ = nullptr;
  WaitTable* waits_ = nullptr;
  process::ProcessTable* processes_ = nullptr;
};

}  // namespace miniray::scheduler
