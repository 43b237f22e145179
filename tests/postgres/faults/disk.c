/* A disk that fails on demand, in front of whoever this is preloaded into. What it does to files below FAULT_FOLDER stands in the
 * file FAULT_ORDER, read at each call:
 *
 *   write N     writes fail with errno N, the first of them after half of the bytes
 *   sync N      fsync and fdatasync fail with errno N, and what was written since the last that did not is gone: as the kernel may
 *               have it (fsync(2), "dirty pages"), it reads as zeros from then on
 *
 * Anything else: nothing fails. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* How many bytes of a file, by inode, the disk has. */
static struct { ino_t file; off_t size; } known[64];
static int torn;

#define REAL(name, type, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

/* The errno that a call on a file is to fail with; 0 for none. */
static int order(const char *what, int fd) {
    const char *folder = getenv("FAULT_FOLDER"), *file = getenv("FAULT_ORDER");
    char link[64], path[PATH_MAX], text[64] = "", verb[32] = "";
    int error = 0;
    if (!folder || !file) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    if (strncmp(path, folder, strlen(folder))) return 0;
    int orders = open(file, O_RDONLY | O_CLOEXEC);
    if (orders < 0) return 0;
    ssize_t got = read(orders, text, sizeof text - 1);
    close(orders);
    if (got <= 0 || sscanf(text, "%31s %d", verb, &error) != 2) return 0;
    if (strcmp(verb, "write")) torn = 0;
    return strcmp(verb, what) ? 0 : error;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    int error = order("write", fd);
    if (!error) return REAL("write", ssize_t, int, const void *, size_t)(fd, bytes, count);
    if (!torn && count > 1) {
        torn = 1;
        return REAL("write", ssize_t, int, const void *, size_t)(fd, bytes, count / 2);
    }
    errno = error;
    return -1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    int error = order("write", fd);
    if (!error) return REAL("pwrite64", ssize_t, int, const void *, size_t, off64_t)(fd, bytes, count, at);
    errno = error;
    return -1;
}

static int sync_by(const char *name, int fd) {
    int error = order("sync", fd);
    struct stat file;
    if (fstat(fd, &file)) return -1;
    pthread_mutex_lock(&lock);
    int at = 0;
    while (at < 63 && known[at].file && known[at].file != file.st_ino) at++;
    if (error) {
        off_t size = known[at].file == file.st_ino ? known[at].size : 0;
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        /* Not the caller's own, which may only append. */
        int again = open(link, O_WRONLY | O_CLOEXEC);
        static const char zeros[65536];
        while (again >= 0 && size < file.st_size) {
            size_t part = file.st_size - size < (off_t)sizeof zeros ? (size_t)(file.st_size - size) : sizeof zeros;
            ssize_t done = REAL("pwrite64", ssize_t, int, const void *, size_t, off64_t)(again, zeros, part, size);
            if (done <= 0) break;
            size += done;
        }
        if (again >= 0) close(again);
        pthread_mutex_unlock(&lock);
        errno = error;
        return -1;
    }
    known[at].file = file.st_ino;
    known[at].size = file.st_size;
    pthread_mutex_unlock(&lock);
    return REAL(name, int, int)(fd);
}

int fsync(int fd) { return sync_by("fsync", fd); }

int fdatasync(int fd) { return sync_by("fdatasync", fd); }
