// The memory side of a walked machine: channels, ports, readers and writers.
#pragma once
#include <algorithm>
#include <deque>
#include <vector>

#include "events_queues.hpp"

namespace lightmamba::events {

class Memory : public Items {
  public:
    explicit Memory(const Machine& machine)
        : Items(machine), readers_(m.n_readers), writers_(m.n_writers), ports_(m.n_ports), channels_(m.n_channels) {
        for (int64_t n = 0; n < m.n_readers; ++n) {
            const ReaderSpec& spec = m.readers[n];
            Reader& r = readers_[n];
            r.spec = &spec, r.free = spec.room, r.credit = spec.credit;
            r.leave = std::max<int64_t>(0, spec.leave);
        }
        for (int64_t n = 0; n < m.n_writers; ++n) {
            Writer& w = writers_[n];
            w.spec = m.writers + n, w.left = w.spec->command, w.copy = w.spec->copy;
        }
        for (int64_t n = 0; n < m.n_ports; ++n) {
            Port& p = ports_[n];
            p.spec = m.ports + n, p.origin = p.spec->channel, p.into = p.spec->other;
        }
        for (int64_t n = 0; n < m.n_channels; ++n) channels_[n].spec = m.channels + n;
    }

  protected:
    struct Command {
        int64_t beats, at, copy, times;
        bool waits;  // for leave
    };
    struct Reader {
        const ReaderSpec* spec;
        std::deque<Command> commands;
        int64_t free, left = 0, ready = 0, credit, leave, copy = 0;  // of beats; of the command that it carries out
        int64_t have = 0, used = 0;                                  // words of a beat; words of a segment
    };
    struct Writer {
        const WriterSpec* spec;
        int64_t stored = 0, whole = 0, left, open = 0, done = 0, due = 0, commands = 0, copy;
    };
    struct Port {
        const PortSpec* spec;
        int64_t last = 0, turn = 0, ask = 0, open = 0, origin;  // of reading
        int64_t writer = -1, write_turn = 0, beats = 0, finish = 0, into;
    };
    struct Request { int64_t client, beats, at; };  // of a reader, or of a writer: -1 less its number
    struct Channel {
        const ChannelSpec* spec;
        std::deque<Request> requests;
        int64_t credit = 0, time = 0, turned = 0;
        bool writing = false;
    };

    int64_t reads(int64_t port) const { return 1 + m.n_units + m.n_channels + port; }
    int64_t writes(int64_t port) const { return reads(port) + m.n_ports; }
    static int64_t cycle(int64_t fine) { return (fine + FINE - 1) / FINE; }

    // When a pass may end for a port that owes no burst.
    int64_t arrived(const Port& p) const { return cycle(p.last) + m.latency.owed; }

    // When a pass may end for all ports: all that was asked for has come.
    int64_t arrived() const {
        int64_t end = 0;
        for (const Port& p : ports_) end = std::max(end, p.open ? NEVER : arrived(p));
        return end;
    }

    void command(Reader& r, int64_t beats, int64_t at, int64_t copy, int64_t times, bool part = false) {
        if (times == 0 || beats == 0) return;
        r.commands.push_back({beats, at, copy, times, part || r.spec->leave >= 0});
        wake(reads(r.spec->port), at);
    }

    // A segment that is read ahead, and its parts.
    void ahead(Reader& r, int64_t at) {
        command(r, r.spec->segment, at, 0, 1);
        for (int64_t n = r.spec->parts; n < r.spec->parts_end; ++n) command(r, m.parts[n], at, 0, 1, true);
    }

    // First cycle in which an item may be taken; a word whose beat was taken is there.
    int64_t when(int64_t queue) {
        if (queue >= m.beats && readers_[queue - m.beats].have) return 0;
        Queue& q = queues_[queue];
        const int64_t beats = queue >= m.beats ? readers_[queue - m.beats].spec->beats : 1;
        return q.count >= beats ? q.at(beats - 1) : NEVER;
    }

    // Take an item, or a word: the next segment begins with a new beat.
    void take(int64_t queue, int64_t now) {
        Queue& q = queues_[queue];
        if (queue < m.beats) {
            pop(q);
            wake(q.spec.source, now + q.spec.back);
            if (q.spec.watched) {
                for (const Reader& r : readers_)
                    if (r.spec->behind == queue) wake(reads(r.spec->port), now + q.spec.watched);
            }
            return;
        }
        Reader& r = readers_[queue - m.beats];
        if (r.have == 0) {
            for (int64_t n = 0; n < r.spec->beats; ++n) pop(q);
            r.free += r.spec->beats;
            if (r.free >= r.spec->burst || (r.left && r.free >= r.left)) wake(reads(r.spec->port), now + 1);
            r.have = std::min(r.spec->per_beat, r.spec->words - r.used);
        }
        --r.have;
        if (++r.used == r.spec->words) r.used = 0;
    }

    void store(Writer& w, int64_t now) {
        if (++w.stored == std::min(w.spec->burst, w.left)) {
            w.whole = now + 1;
            wake(writes(w.spec->port), now + 1);
        }
    }

    // Send one address: clients take turns.
    int64_t read_port(int64_t number, int64_t now) {
        Port& p = ports_[number];
        const PortSpec& s = *p.spec;
        if (p.ask > now) return p.ask;
        if (p.open >= s.open) return NEVER;
        const int64_t count = s.readers_end - s.readers;
        for (int64_t k = 0; k < count; ++k) {
            const int64_t turn = (p.turn + 1 + k) % count, reader = m.clients[s.readers + turn];
            Reader& r = readers_[reader];
            const int64_t beats = burst(p, r, now);
            if (beats == 0) continue;
            p.origin = r.copy ? s.other : s.channel;
            const int64_t delay = m.latency.address + (count > 1 ? m.latency.arbiter : 0);
            request(p.origin, reader, beats, now + delay + m.channels[p.origin].latency);
            p.turn = turn, p.ask = now + 1;
            ++p.open;
            return now + 1;
        }
        return NEVER;
    }

    // Bring one burst after the other to the channel, each when all of it is there.
    int64_t write_port(int64_t number, int64_t now) {
        Port& p = ports_[number];
        if (p.writer >= 0) {
            if (cycle(p.finish) > now) return cycle(p.finish);
            request(p.into, -1 - p.writer, p.beats, now + m.channels[p.into].latency);
            p.writer = -1;
        }
        for (int64_t k = 0; k < m.n_writers; ++k) {
            const int64_t writer = (p.write_turn + 1 + k) % m.n_writers;
            Writer& w = writers_[writer];
            const int64_t beats = std::min(w.spec->burst, w.left);
            if (w.spec->port != number || w.open >= w.spec->open || w.stored < beats) continue;
            const int64_t into = w.copy ? p.spec->other : p.spec->channel;
            if (into != p.into && w.open) continue;  // one channel at a time
            // Its address went out while data of others passed.
            p.finish = std::max((w.whole + m.latency.writer) * FINE, p.finish) + beats * p.spec->step;
            p.writer = p.write_turn = writer, p.beats = beats, p.into = into;
            w.stored -= beats, w.left -= beats;
            ++w.open;
            if (w.left == 0) {
                w.left = w.spec->command;
                if (++w.commands == w.spec->each) w.commands = 0, w.copy ^= 1;  // the next pass writes the other copy
            }
            wake(w.spec->unit, now + 1);
            return std::max(now, cycle(p.finish));
        }
        return NEVER;
    }

    // Serve as many beats as the credit allows, in the order of the requests.
    int64_t channel(int64_t number, int64_t now) {
        Channel& c = channels_[number];
        const ChannelSpec& s = *c.spec;
        if (now < c.turned) return c.turned;
        int64_t passed = now - c.time;
        if (s.every) passed -= still(s, now + 1) - still(s, c.time + 1);
        c.time = now;
        c.credit = std::min(c.credit + passed * s.rate, s.limit);
        if (s.every && (now + s.phase) % s.every < s.pause) return now + s.pause - (now + s.phase) % s.every;
        while (!c.requests.empty()) {
            Request& first = c.requests.front();
            if (first.at > now) return first.at;
            if ((first.client < 0) != c.writing) {
                c.writing = !c.writing;
                if (s.turn) {
                    c.turned = now + s.turn, c.credit = 0, c.time = c.turned - 1;
                    return c.turned;
                }
            }
            const int64_t client = first.client;
            const int64_t port = client < 0 ? m.writers[-1 - client].port : m.readers[client].port;
            Port& p = ports_[port];
            const int64_t missing = s.cost * p.spec->bytes - c.credit;
            if (missing > 0) return now + (missing + s.rate - 1) / s.rate;
            c.credit = -missing;
            const bool last = --first.beats == 0;
            if (last) c.requests.pop_front();
            if (client < 0) {
                written(writers_[-1 - client], last, now);
                continue;
            }
            p.last = std::max(now * FINE, p.last + p.spec->step);  // a beat per cycle, at most
            push(m.beats + client, cycle(p.last) + m.readers[client].delay);
            if (last) {
                --p.open;
                wake(reads(port), cycle(p.last) + 1);
                if (!m.chained) wake(0, arrived(p));
            }
        }
        return NEVER;
    }

    std::vector<Reader> readers_;
    std::vector<Writer> writers_;
    std::vector<Port> ports_;
    std::vector<Channel> channels_;

  private:
    // Words in front of a unit and behind it, but those that are in it. Where the queue behind is full, results
    // wait in that at the end of the unit.
    int64_t words(const ReaderSpec& s, int64_t now) {
        Queue& behind = queues_[s.behind];
        int64_t stored = behind.count;
        while (stored && behind.at(stored - 1) > now + s.within) --stored;
        return queues_[s.before].count + std::min(stored, s.most);
    }

    // Beats of the burst that a reader asks for in this cycle, or 0; the room is reserved.
    int64_t burst(const Port& p, Reader& r, int64_t now) {
        const ReaderSpec& s = *r.spec;
        if (r.left == 0) {
            if (r.commands.empty() || r.credit == 0) return 0;  // who changes that wakes the port
            Command& next = r.commands.front();
            if (next.waits && r.leave == 0) return 0;
            if (next.at > now) {
                wake(reads(s.port), next.at);
                return 0;
            }
            r.left = next.beats, r.copy = next.copy, r.ready = now + m.latency.reader;
            --r.credit;
            if (next.waits) --r.leave;
            if (--next.times == 0) r.commands.pop_front();
        }
        if (r.ready > now) {
            wake(reads(s.port), r.ready);
            return 0;
        }
        const int64_t beats = std::min(s.burst, r.left);
        if (r.free < beats) return 0;
        if ((r.copy ? p.spec->other : p.spec->channel) != p.origin && p.open) return 0;  // one channel at a time
        if (s.most >= 0 && words(s, now) > s.most) return 0;
        r.free -= beats, r.left -= beats;
        return beats;
    }

    // Put a burst behind those that come to a channel before it, or with it: an address may be on its way for longer.
    void request(int64_t number, int64_t client, int64_t beats, int64_t at) {
        std::deque<Request>& all = channels_[number].requests;
        auto place = all.end();
        while (place != all.begin() && std::prev(place)->at > at) --place;
        all.insert(place, {client, beats, at});
        wake(1 + m.n_units + number, at);
    }

    // A beat is in memory; when it is the last one of a command, the reader may have it.
    void written(Writer& w, bool last, int64_t now) {
        ++w.done;
        if (last) {
            if (w.open == w.spec->open) w.whole = std::max(w.whole, now + 1);  // the next address waits for this answer
            --w.open;
            wake(writes(w.spec->port), now + 1);
        }
        if (w.done % w.spec->command) return;
        wake(0, now + m.latency.answer - 1);
        if (w.spec->reader < 0) return;
        Reader& r = readers_[w.spec->reader];
        ++r.credit;
        wake(reads(r.spec->port), now + m.latency.answer);
    }

    // Cycles of refresh before this one.
    static int64_t still(const ChannelSpec& s, int64_t cycle) {
        const int64_t shifted = cycle + s.phase;
        return shifted / s.every * s.pause + std::min(shifted % s.every, s.pause);
    }
};

}  // namespace lightmamba::events
