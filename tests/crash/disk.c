// A simulated disk failure for tests, as a preloaded library: the process ends at the n-th operation
// on a file below a folder, with or without the loss of unsynced data, or the disk is full from then.
//
// Writes, truncations, allocations, renames and syncs count. A write at which the process ends
// writes half of its bytes. A full disk refuses one rename or sync, and all that takes room after it.
// What a mapping of memory writes is not seen.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { KILL, LOSE, FULL };  // shared with Python: `Mode` of disk.py
enum { FILES = 1024, RANGES = 65536, STATUS = 86 };

struct file {
    dev_t device;
    ino_t number;
    int handle;    // of our own, so that it can be cut after it was closed or renamed
    off_t synced;  // size that the disk has
};

struct range {
    int file;
    off_t begin, end;  // written since the last sync, below the synced size
};

static char root[PATH_MAX];
static size_t root_length;
static long left = -1;
static int mode, full;
static struct file files[FILES];
static struct range ranges[RANGES];
static int file_count, range_count;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

void disk_arm(const char* folder, long n, int how) {
    if (realpath(folder, root) == NULL) abort();
    root_length = strlen(root);
    left = n, mode = how;
}

static int below(const char* path) {
    return strncmp(path, root, root_length) == 0 && path[root_length] == '/';
}

static int ours(int handle) {
    if (left < 0) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    const ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0) return 0;
    path[size] = 0;
    return below(path) || strcmp(path, root) == 0;
}

static int named(int folder, const char* path) {
    if (left < 0) return 0;
    char whole[PATH_MAX], resolved[PATH_MAX];
    if (folder != AT_FDCWD && path[0] != '/') return ours(folder);
    snprintf(whole, sizeof whole, "%s", path);
    char* slash = strrchr(whole, '/');
    if (slash == NULL) return 0;
    *slash = 0;
    return realpath(whole, resolved) != NULL && (below(resolved) || strcmp(resolved, root) == 0);
}

// What a power cut leaves: files as they were synced, and zeros where they were written over since.
static void lose(void) {
    static const char zeros[4096];
    for (int n = 0; n < range_count; ++n) {
        const int handle = files[ranges[n].file].handle;
        for (off_t at = ranges[n].begin; at < ranges[n].end; at += sizeof zeros) {
            const off_t more = ranges[n].end - at;
            const size_t size = more < (off_t)sizeof zeros ? (size_t)more : sizeof zeros;
            if (REAL(pwrite64)(handle, zeros, size, at) < 0) abort();
        }
    }
    for (int n = 0; n < file_count; ++n) {
        struct stat about;
        if (fstat(files[n].handle, &about) != 0 || about.st_size <= files[n].synced) continue;
        if (REAL(ftruncate64)(files[n].handle, files[n].synced) != 0) abort();
    }
}

void disk_end(void) {
    if (mode == LOSE) lose();
}

int disk_failed(void) { return left == 0; }

static void die(void) {
    disk_end();
    _exit(STATUS);
}

enum { FREES, NEEDS_LITTLE, TAKES };  // what an operation does with the room that there is

// Count an operation: 0, or 1 where it fails, or 2 where the process ends in it.
static int now(int room) {
    if (full) return room == TAKES;
    if (left == 0 || --left > 0) return 0;
    if (mode != FULL) return 2;
    full = 1;
    return room != FREES;
}

static int note(int handle) {
    struct stat about;
    if (fstat(handle, &about) != 0 || !S_ISREG(about.st_mode)) return -1;
    for (int n = 0; n < file_count; ++n)
        if (files[n].device == about.st_dev && files[n].number == about.st_ino) return n;
    if (file_count == FILES) abort();
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    const int own = open(link, O_RDWR | O_CLOEXEC);
    if (own < 0) return -1;
    files[file_count] = (struct file){about.st_dev, about.st_ino, own, about.st_size};
    return file_count++;
}

static void wrote(int handle, off_t begin, off_t end) {
    const int n = note(handle);
    if (n < 0 || begin >= files[n].synced) return;
    if (range_count == RANGES) abort();
    if (end > files[n].synced) end = files[n].synced;
    ranges[range_count++] = (struct range){n, begin, end};
}

static void synced(int handle) {
    const int n = note(handle);
    struct stat about;
    if (n < 0 || fstat(handle, &about) != 0) return;
    files[n].synced = about.st_size;
    int kept = 0;
    for (int k = 0; k < range_count; ++k)
        if (ranges[k].file != n) ranges[kept++] = ranges[k];
    range_count = kept;
}

static void cut(int handle, off_t size) {
    const int n = note(handle);
    if (n >= 0 && files[n].synced > size) files[n].synced = size;
}

static off_t place(int handle) {
    struct stat about;
    if (fcntl(handle, F_GETFL) & O_APPEND) return fstat(handle, &about) == 0 ? about.st_size : 0;
    const off_t at = lseek(handle, 0, SEEK_CUR);
    return at < 0 ? 0 : at;
}

static ssize_t put(int handle, const void* data, size_t size, off_t at, int positioned) {
    const int fate = ours(handle) ? now(TAKES) : -1;
    if (fate == 1) return errno = ENOSPC, -1;
    if (fate == 2) size /= 2;
    if (!positioned) at = place(handle);
    if (fate >= 0) wrote(handle, at, at + size);
    const ssize_t done = positioned ? REAL(pwrite64)(handle, data, size, at)
                                    : REAL(write)(handle, data, size);
    if (fate == 2) die();
    return done;
}

ssize_t write(int handle, const void* data, size_t size) { return put(handle, data, size, 0, 0); }

ssize_t pwrite(int handle, const void* data, size_t size, off_t at) {
    return put(handle, data, size, at, 1);
}

ssize_t pwrite64(int handle, const void* data, size_t size, off64_t at) {
    return put(handle, data, size, at, 1);
}

ssize_t writev(int handle, const struct iovec* parts, int count) {
    ssize_t done = 0;
    if (!ours(handle)) return REAL(writev)(handle, parts, count);
    for (int n = 0; n < count; ++n) {
        const ssize_t one = put(handle, parts[n].iov_base, parts[n].iov_len, 0, 0);
        if (one < 0) return done ? done : one;
        done += one;
    }
    return done;
}

#define SIMPLE(type, name, arguments, given, check, room, after)  \
    type name arguments {                                         \
        const int fate = (check) ? now(room) : -1;                \
        if (fate == 1) return errno = ENOSPC, (type) - 1;         \
        if (fate == 2) die();                                     \
        const type done = REAL(name) given;                       \
        if (fate == 0 && done == 0) { after; }                    \
        return done;                                              \
    }

SIMPLE(int, fsync, (int handle), (handle), ours(handle), NEEDS_LITTLE, synced(handle))
SIMPLE(int, fdatasync, (int handle), (handle), ours(handle), NEEDS_LITTLE, synced(handle))
SIMPLE(int, ftruncate, (int handle, off_t size), (handle, size), ours(handle), FREES,
       cut(handle, size))
SIMPLE(int, ftruncate64, (int handle, off64_t size), (handle, size), ours(handle), FREES,
       cut(handle, size))
SIMPLE(int, rename, (const char* from, const char* to), (from, to), named(AT_FDCWD, to),
       NEEDS_LITTLE, )
SIMPLE(int, renameat, (int a, const char* from, int b, const char* to), (a, from, b, to),
       named(b, to), NEEDS_LITTLE, )
SIMPLE(int, renameat2, (int a, const char* from, int b, const char* to, unsigned flags),
       (a, from, b, to, flags), named(b, to), NEEDS_LITTLE, )

int posix_fallocate64(int handle, off64_t at, off64_t size) {
    const int fate = ours(handle) ? now(TAKES) : -1;
    if (fate == 1) return ENOSPC;
    if (fate == 2) die();
    if (fate == 0) note(handle);
    return REAL(posix_fallocate64)(handle, at, size);
}

int posix_fallocate(int handle, off_t at, off_t size) {
    return posix_fallocate64(handle, at, size);
}
