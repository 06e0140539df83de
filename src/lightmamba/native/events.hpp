// A machine as the estimate walks it: what Python says of it, none of which changes while it runs. Units follow
// tables of steps, readers and writers carry beats between them and channels of memory (device/sim/memory.hpp).
#pragma once
#include <cstdint>

#include "shared.hpp"

namespace lightmamba::events {

SHARED(events,

// Items between two units. Those from `beats` on are beats that readers hold, in the order of the readers.
struct QueueSpec {
    int64_t source, target;       // units that wait for room in it, and for its items
    int64_t room, latency, back;  // items that fit; cycles from a step to its item, from one taken to its room
    int64_t first;                // items that are there in the beginning
    int64_t watched;              // cycles until readers see that one was taken; 0: they do not look
};

// Items that a step takes from each of `wide` queues; 0: they must be there all the same.
struct Take {
    int64_t first, wide, count, why;
};
enum TakeCode { KEPT = -2, CLEAR = -3 };  // one whose place stays taken; give back all such places

// Items that a step gives: to a queue or, by mode, to `wide` writers or readers; room for one must be there.
struct Give {
    int64_t mode, first, wide, count, release, why;
};
// Let `count` out; wait until all is taken; one at a time; hold one back and let the newest `release` out;
// a beat for writers; leave for readers to begin another command, which they see `release` cycles later.
enum Mode { LET, EMPTY, SINGLY, HOLD, STORE, LEAVE };

// A step: its takes and gives, cycles to the next step, what the cycle counts as (-1: this unit does not count),
// and whether it is logged: 1 in the middle of a job, 2 at its end.
struct Row {
    int64_t takes, takes_end, gives, gives_end, pause, why, mark;
};

// What a unit waits for in the beginning of a job: with each pass, an item in a queue when the instruction of a
// projection has been fetched and, if it is not 0, the pacing unit has begun the job `behind` before it.
struct CommandSpec {
    int64_t queue, job, behind;
};

struct Job {
    int64_t begin, end, early;
};  // its steps; early: with it, the next pass may ask for its state

// Jobs that a unit does one after the other, again and again; its first row; cycles for which it holds what it
// takes before it uses it; whether each gift of a step leaves when it fits; whether commands wait for its jobs.
struct UnitSpec {
    int64_t jobs, jobs_end, rows, hold, split, pacing;
};

enum When { AHEAD, BEGIN, STATE };  // a reader is asked a pass ahead, with a pass, or for a state

struct ReaderSpec {
    int64_t port, burst, room, delay;     // beats of a burst, and that fit; cycles from a beat that comes to its taker
    int64_t beats, per_beat, words;       // of a word; words of a beat, and after which the next begins with a new one
    int64_t when, each, segment, last;    // commands of a pass, beats of each, and of one more behind them
    int64_t parts, parts_end;             // beats of commands behind a segment that is read ahead, which wait for leave
    int64_t late, credit;                 // cycles by which commands come later; that need no write before them
    int64_t leave;                        // commands that it begins without leave; -1: only its parts need any
    int64_t most, before, behind, within; // it asks while no more words are in two queues, of which the second shows
};                                        // `most` words, `within` cycles before they may be taken; -1: always

struct WriterSpec {
    int64_t port, burst, depth, command, open;  // beats of a burst, that fit, of a command; bursts without an answer
    int64_t each, once, copy;                   // commands of a pass; of one with logits; the copy that it begins with
    int64_t reader;                             // who may read what a command wrote, or -1
    int64_t unit;
};

struct PortSpec {
    int64_t channel, other, bytes, step, readers, readers_end, open;
};

struct ChannelSpec {
    int64_t rate, cost, latency, every, pause, phase, limit, turn;
};

// Cycles of what lies between units and memory (arch/latency.py).
struct Latencies {
    int64_t fetch, begin, later;             // of an instruction; from a start to its requests; to those of the next pass
    int64_t reader, address, arbiter, writer, answer;
    int64_t owed;                            // from the last beat that was asked for to the end of a pass
};

struct Machine {
    const QueueSpec* queues;
    const Take* takes;
    const Give* gives;
    const Row* rows;
    const uint8_t* steps;
    const Job* jobs;
    const UnitSpec* units;
    const ReaderSpec* readers;
    const WriterSpec* writers;
    const PortSpec* ports;
    const ChannelSpec* channels;
    const CommandSpec* commands;
    const int64_t* clients;              // readers of ports in their order
    const int64_t* parts;                // of readers
    int64_t* log;                        // passes, places, a cycle and what the cycles before it were
    int64_t n_queues, n_units, n_readers, n_writers, n_ports, n_channels, n_commands;
    int64_t beats, finished;             // first queue of a reader; the queue that says that a pass is through
    int64_t passes, pass_jobs, head, chained, cold;
    Latencies latency;
};

)  // SHARED

constexpr int64_t NEVER = int64_t(1) << 60;  // later than everything
constexpr int64_t FINE = 1024;               // parts of a cycle in which a port keeps time
constexpr int64_t REASONS = 6;               // what a cycle counts as
constexpr int64_t IDLE = REASONS - 1;

// Run all passes of a machine; false, if all of it waits for something.
bool walk(const Machine& machine);

}  // namespace lightmamba::events
