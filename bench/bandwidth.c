/* How many bytes per second this machine reads from memory: BYTES THREADS PASSES.
 *
 * Every thread sums its share of one array, which was written before, in huge pages where the
 * system gives them. Prints the GB/s of each pass. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

typedef uint64_t wide __attribute__((vector_size(64)));
enum { ALIGNED = 1 << 21 };

struct share {
    const wide *first;
    size_t count;
    uint64_t sum;
};

static void *sum(void *given)
{
    struct share *s = given;
    wide totals = {0};
    for (size_t i = 0; i < s->count; i++)
        totals += s->first[i];
    uint64_t out = 0;
    for (int i = 0; i < 8; i++)
        out += totals[i];
    s->sum = out;
    return NULL;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: bandwidth BYTES THREADS PASSES\n");
        return 2;
    }
    int threads = atoi(argv[2]), passes = atoi(argv[3]);
    size_t unit = sizeof(wide) * threads;
    size_t bytes = strtoull(argv[1], NULL, 10) / unit * unit;
    size_t room = (bytes + ALIGNED - 1) / ALIGNED * ALIGNED;
    wide *data = aligned_alloc(ALIGNED, room);
    struct share *shares = calloc(threads, sizeof *shares);
    pthread_t *ids = calloc(threads, sizeof *ids);
    if (!bytes || !data || !shares || !ids) {
        fprintf(stderr, "no room for %zu bytes\n", bytes);
        return 1;
    }
    madvise(data, room, MADV_HUGEPAGE);
    memset(data, 1, room);
    size_t count = bytes / sizeof(wide) / threads;
    for (int pass = 0; pass < passes; pass++) {
        double start = now();
        for (int i = 0; i < threads; i++) {
            shares[i] = (struct share){data + i * count, count, 0};
            if (i)
                pthread_create(&ids[i], NULL, sum, &shares[i]);
        }
        sum(&shares[0]);
        uint64_t all = shares[0].sum;
        for (int i = 1; i < threads; i++) {
            pthread_join(ids[i], NULL);
            all += shares[i].sum;
        }
        double seconds = now() - start;
        if (all != bytes / 8 * 0x0101010101010101ull)
            return 3;
        printf("%.4f\n", 1e-9 * bytes / seconds);
    }
    return 0;
}
