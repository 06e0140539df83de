// The walk of a machine: from each cycle in which something happens to the next.
#include "events.hpp"

#include "events_memory.hpp"

namespace lightmamba::events {

namespace {

class Walk : Memory {
  public:
    explicit Walk(const Machine& machine) : Memory(machine), units_(m.n_units) {
        for (int64_t n = 0; n < m.n_units; ++n) {
            units_[n].spec = m.units + n;
            begin_job(units_[n], 0);
            wake(1 + n, 0);
        }
    }

    // Run all passes; whether they came to an end.
    bool run() {
        for (Reader& r : readers_)
            if (r.spec->when == AHEAD) ahead(r, 0);
        wake(0, m.cold);
        for (int64_t now = 0; pass_ < m.passes; now = soonest_) {
            if (now >= NEVER) return false;
            soonest_ = NEVER;
            for (int64_t group = 0; group < int64_t(groups_.size()); ++group) {
                if (groups_[group] <= now) act(group * GROUP, now);
                soonest_ = std::min(soonest_, groups_[group]);
            }
        }
        return true;
    }

  private:
    struct Unit {
        const UnitSpec* spec;
        int64_t job, at, end;             // which of its jobs, and of its steps
        int64_t next = 0;                 // cycle of its next step, or later
        std::vector<int64_t> given = {};  // of a step whose gifts leave apart
    };
    enum State { WAITING, BUSY, ENDING };

    // A group's part of a cycle.
    void act(int64_t first, int64_t now) {
        for (acting_ = first; acting_ < first + GROUP; ++acting_) {
            if (wake_[acting_] > now) continue;
            wake_[acting_] = NEVER;
            wake(acting_, turn(acting_, now));
        }
        groups_[first / GROUP] = *std::min_element(&wake_[first], &wake_[first] + GROUP);
    }

    // One unit's part of a cycle; when it wants to act again. What changes for it wakes it before.
    int64_t turn(int64_t number, int64_t now) {
        if (number == 0) return sequence(now);
        if ((number -= 1) < m.n_units) return follow(units_[number], now);
        if ((number -= m.n_units) < m.n_channels) return channel(number, now);
        if ((number -= m.n_channels) < m.n_ports) return read_port(number, now);
        return write_port(number - m.n_ports, now);
    }

    void begin_job(Unit& u, int64_t job) {
        u.job = u.spec->jobs + job == u.spec->jobs_end ? 0 : job;
        u.at = m.jobs[u.spec->jobs + u.job].begin, u.end = m.jobs[u.spec->jobs + u.job].end;
    }

    // A step, when all that it takes is there and all that it gives fits.
    int64_t follow(Unit& u, int64_t now) {
        if (u.next > now) return u.next;
        const Row& row = m.rows[u.spec->rows + m.steps[u.at]];
        for (int64_t n = row.takes; n < row.takes_end; ++n) {
            const Take& take = m.takes[n];
            if (take.count == CLEAR) continue;
            int64_t ready = 0;
            for (int64_t q = take.first; q < take.first + take.wide; ++q) ready = std::max(ready, when(q));
            if (ready + u.spec->hold <= now) continue;
            account(take.why, now);
            return std::min(NEVER, ready + u.spec->hold);
        }
        if (u.spec->split) {
            if (!hand_on(u, row, now)) return waiting_;
        } else {
            for (int64_t n = row.gives; n < row.gives_end; ++n) {
                if (fits(m.gives[n])) continue;
                account(m.gives[n].why, now);
                return NEVER;  // who takes from it wakes the unit
            }
        }
        account(row.why, now);
        for (int64_t n = row.takes; n < row.takes_end; ++n) use(m.takes[n], now);
        if (!u.spec->split)
            for (int64_t n = row.gives; n < row.gives_end; ++n) give(m.gives[n], now);
        const Job& job = m.jobs[u.spec->jobs + u.job];
        if (job.early && u.at == job.begin) early(now);
        if (u.spec->pacing && u.at == job.begin) pace(u.job, now);
        if (row.mark) log(2 * u.job + row.mark, now);
        if (++u.at == u.end) begin_job(u, u.job + 1);
        return u.next = now + row.pause;
    }

    bool fits(const Give& g) {
        switch (g.mode) {
            case EMPTY: return queues_[g.first].count == 0;
            case LEAVE: return true;
            case STORE:
                for (int64_t n = g.first; n < g.first + g.wide; ++n)
                    if (writers_[n].stored >= m.writers[n].depth) return false;
                return true;
            default: return room(g.first, std::max<int64_t>(1, g.count));
        }
    }

    void give(const Give& g, int64_t now) {
        switch (g.mode) {
            case EMPTY: break;
            case STORE:
                for (int64_t n = g.first; g.count && n < g.first + g.wide; ++n) store(writers_[n], now);
                break;
            case LEAVE:
                for (int64_t n = g.first; n < g.first + g.wide; ++n) {
                    ++readers_[n].leave;
                    wake(reads(m.readers[n].port), now + g.release);
                }
                break;
            case HOLD:
                push(g.first, NEVER);
                release(g.first, g.release, now);
                break;
            default:
                for (int64_t n = 0; n < g.count; ++n) push(g.first, now + m.queues[g.first].latency);
        }
    }

    void use(const Take& take, int64_t now) {
        for (int64_t q = take.first; q < take.first + take.wide; ++q) {
            if (take.count == KEPT) {
                pop(queues_[q]);
                ++queues_[q].kept;
            } else if (take.count == CLEAR) {
                queues_[q].kept = 0;
                wake(m.queues[q].source, now + 1);
            }
            for (int64_t n = 0; n < take.count; ++n) this->take(q, now);
        }
    }

    // Let each of a step's gifts leave as it fits; whether all have.
    bool hand_on(Unit& u, const Row& row, int64_t now) {
        u.given.resize(std::max<size_t>(u.given.size(), row.gives_end - row.gives));
        bool some = false, all = true;
        for (int64_t n = row.gives; n < row.gives_end; ++n) {
            const Give& g = m.gives[n];
            int64_t& given = u.given[n - row.gives];
            for (bool more = true; more && given < g.count && room(g.first); more = g.mode != SINGLY) {
                push(g.first, now + m.queues[g.first].latency);
                ++given;
                some = true;
            }
            all = all && given == g.count;
        }
        if (all) std::fill(u.given.begin(), u.given.end(), 0);
        waiting_ = some ? now + 1 : NEVER;
        return all;
    }

    // End a pass, when all its work is done, and begin the next.
    int64_t sequence(int64_t now) {
        if (now < m.cold) return m.cold;
        if (state_ == BUSY) {
            const int64_t ready = when(m.finished);
            if (ready > now) return ready;
            take(m.finished, now);
            state_ = ENDING;
        }
        if (state_ == ENDING) {
            if (!m.chained) {  // else the next one waits for no answer
                for (const Writer& w : writers_)
                    if (w.done < w.due) return NEVER;
                if (const int64_t ready = arrived(); ready > now) return ready;
            }
            log(2 * m.pass_jobs + 1, now);
            if (++pass_ == m.passes) return NEVER;
        }
        state_ = BUSY, begun_ = now;
        log(0, now);
        for (int64_t n = 0; n < m.n_commands; ++n)
            if (const CommandSpec& c = m.commands[n]; !c.behind || c.job < c.behind) push(c.queue, fetched(c.job));
        const int64_t at = now + m.latency.begin;
        for (Reader& r : readers_) {
            if (m.head) command(r, r.spec->last, at, 0, 1);
            if (r.spec->when == AHEAD) ahead(r, at);
            if (r.spec->when == BEGIN) command(r, r.spec->segment, now + m.latency.fetch + 1, 0, 1);
        }
        if (m.head)
            for (Writer& w : writers_) w.due += w.spec->once * w.spec->command;
        if (!early_) states(at);
        early_ = false;
        return when(m.finished);
    }

    int64_t fetched(int64_t job) const { return begun_ + (job + 2) * m.latency.fetch; }

    // A unit has begun a job that commands wait for.
    void pace(int64_t job, int64_t now) {
        for (int64_t n = 0; n < m.n_commands; ++n)
            if (const CommandSpec& c = m.commands[n]; c.behind && c.job == job + c.behind)
                push(c.queue, std::max(now + m.latency.later, fetched(c.job)));
    }

    // A pass behind this one asks for its state, when there is room for the command behind this one's last.
    void early(int64_t now) {
        if (!m.chained || pass_ + 1 == m.passes) return;
        states(std::max(now + m.latency.later, fetched(m.pass_jobs)));
        early_ = true;
    }

    // Ask for what a pass reads layer by layer, or head by head; owe its writes.
    void states(int64_t at) {
        for (Reader& r : readers_)
            if (r.spec->when == STATE) command(r, r.spec->segment, at + r.spec->late, copy_, r.spec->each);
        for (Writer& w : writers_) w.due += w.spec->each * w.spec->command;
        copy_ ^= 1;
    }

    // Count the cycles since the last time, and say what those from now on are.
    void account(int64_t why, int64_t now) {
        if (why < 0) return;
        counts_[why_] += now - since_;
        since_ = now, why_ = why;
    }

    void log(int64_t place, int64_t now) {
        int64_t* entry = m.log + (pass_ * (2 * m.pass_jobs + 2) + place) * (1 + REASONS);
        *entry = now;
        std::copy_n(counts_, REASONS, entry + 1);
        entry[1 + why_] += now - since_;
    }

    std::vector<Unit> units_;
    State state_ = WAITING;
    int64_t pass_ = 0, begun_ = 0, copy_ = 0, waiting_ = NEVER;
    bool early_ = false;
    int64_t counts_[REASONS] = {}, why_ = IDLE, since_ = 0;
};

}  // namespace

bool walk(const Machine& machine) { return Walk(machine).run(); }

}  // namespace lightmamba::events
