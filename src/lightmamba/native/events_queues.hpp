// Queues of a walked machine, and when its units act.
#pragma once
#include <algorithm>
#include <memory>
#include <vector>

#include "events.hpp"

namespace lightmamba::events {

// When each unit acts next, and when each item may be taken.
class Items {
  public:
    explicit Items(const Machine& machine)
        : m(machine), groups_((1 + m.n_units + m.n_channels + 2 * m.n_ports + GROUP - 1) / GROUP, NEVER),
          wake_(GROUP * groups_.size(), NEVER), queues_(m.n_queues) {
        for (int64_t n = 0; n < m.n_queues; ++n) {
            Queue& q = queues_[n];
            q.spec = m.queues[n];
            int64_t size = 1;
            while (size < q.spec.room + 2) size *= 2;
            q.ring.reset(new int64_t[size]());
            q.last = size - 1;
            q.count = q.spec.first;
        }
    }

  protected:
    struct Queue {
        QueueSpec spec;
        std::unique_ptr<int64_t[]> ring;  // the first cycle in which each item may be taken
        int64_t head = 0, count = 0, kept = 0, last = 0;
        int64_t& at(int64_t place) { return ring[(head + place) & last]; }
    };

    void wake(int64_t unit, int64_t at) {
        wake_[unit] = std::min(wake_[unit], at);
        groups_[unit / GROUP] = std::min(groups_[unit / GROUP], at);
        if (unit <= acting_) soonest_ = std::min(soonest_, at);  // the others have their turn in this cycle
    }

    bool room(int64_t queue, int64_t count = 1) const {
        const Queue& q = queues_[queue];
        return q.count + q.kept + count <= q.spec.room;
    }

    void push(int64_t queue, int64_t at) {
        Queue& q = queues_[queue];
        q.at(q.count++) = at;
        wake(q.spec.target, at);
    }

    void pop(Queue& q) {
        ++q.head;
        --q.count;
    }

    // The newest `count` items come out when the unit's latency has passed.
    void release(int64_t queue, int64_t count, int64_t now) {
        Queue& q = queues_[queue];
        for (int64_t n = q.count - count; n < q.count; ++n) q.at(n) = now + q.spec.latency;
        if (count) wake(q.spec.target, now + q.spec.latency);
    }

    static constexpr int64_t GROUP = 8;

    const Machine& m;
    std::vector<int64_t> groups_;  // the first of each group of units, or a cycle before it
    std::vector<int64_t> wake_;    // sequencer, units, channels, ports that read, ports that write
    std::vector<Queue> queues_;
    int64_t acting_ = 0, soonest_ = NEVER;  // whose turn it is; the next cycle in which something happens
};

}  // namespace lightmamba::events
