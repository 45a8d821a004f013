/* A disk under observation: loaded before libc (LD_PRELOAD), it writes down, in order, what a process does to the
 * files below one folder, and fails calls on demand. C, because the workspace forbids `unsafe` in Rust, and a library
 * loaded into a foreign process cannot do without.
 *
 * SIXFOLD_DISK_ROOT    the folder; files whose names end in "-shm" are left out: they are mapped memory, which SQLite
 *                      makes anew after a crash
 * SIXFOLD_DISK_RECORD  where records are appended (record.rs reads them)
 * SIXFOLD_DISK_FAULTS  a file with a fault a line: CALL ERRNO PART, with CALL one of write, fsync, read, and PART what
 *                      the path contains, or with "$" behind it ends with; read at each call, so that faults begin and
 *                      end while the process runs
 * SIXFOLD_DISK_LIES    with any value, fsync does nothing and says that it did: a disk that lies, or synchronous=OFF
 *
 * One lock is held over a change and its record, so the order of records is the order of changes. It is not held over
 * an fsync: that has a record at its beginning and one at its end, and makes durable what stands before the first. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define DESCRIPTORS 65536
#define FAILURES 65536

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *root, *faults;
static size_t root_length;
static int record_fd = -1, lies;
static char *paths[DESCRIPTORS]; /* by descriptor: the path of each that is observed */

/* Failed fsyncs. A fault of a file is told to each of its descriptors that was open then, by its next fsync, as Linux
 * does since 4.13 (errseq_t): a checkpoint's descriptor must not take the writer's fault away. */
static struct { uint64_t inode; int error; } failures[FAILURES];
static size_t failed, told[DESCRIPTORS]; /* by descriptor: how many of them it was told of, or came before it */

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static int real_open(const char *path, int flags, mode_t mode) {
    static int (*real)(const char *, int, ...);
    if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    return real(path, flags | O_CLOEXEC, mode);
}
static ssize_t real_write(int fd, const void *data, size_t length) {
    REAL(write);
    return real(fd, data, length);
}
static int real_close(int fd) {
    REAL(close);
    return real(fd);
}

static void die(const char *what) {
    dprintf(2, "disk.c: %s: %s\n", what, strerror(errno));
    abort();
}

__attribute__((constructor)) static void load(void) {
    root = getenv("SIXFOLD_DISK_ROOT");
    faults = getenv("SIXFOLD_DISK_FAULTS");
    lies = getenv("SIXFOLD_DISK_LIES") != NULL;
    const char *file = getenv("SIXFOLD_DISK_RECORD");
    if (!root) return;
    root_length = strlen(root);
    if (file && (record_fd = real_open(file, O_WRONLY | O_CREAT | O_APPEND, 0600)) < 0) die(file);
}

static int is_observed(const char *path) {
    if (!root || !path || strncmp(path, root, root_length) != 0) return 0;
    if (path[root_length] != '/' && path[root_length] != 0) return 0;
    size_t length = strlen(path);
    return length < 4 || strcmp(path + length - 4, "-shm") != 0;
}

static const char *path_of(int fd) { return fd >= 0 && fd < DESCRIPTORS ? paths[fd] : NULL; }

static uint64_t inode_of(int fd) {
    struct stat found;
    if (fstat(fd, &found) != 0) die("fstat");
    return found.st_ino;
}

/* Begins a change and its record. Whoever kills the process holds the recording's lock: no change is without a record. */
static void begin(void) {
    pthread_mutex_lock(&lock);
    while (record_fd >= 0 && flock(record_fd, LOCK_EX) != 0)
        if (errno != EINTR) die("the recording");
}

static void end(void) {
    if (record_fd >= 0 && flock(record_fd, LOCK_UN) != 0) die("the recording");
    pthread_mutex_unlock(&lock);
}

/* Appends one record; gives where it begins. The lock is held. */
static uint64_t record(char kind, uint64_t inode, uint64_t number, const void *data, size_t length) {
    if (record_fd < 0) return 0;
    struct stat found;
    if (fstat(record_fd, &found) != 0) die("the recording");
    unsigned char head[21];
    uint32_t size = (uint32_t)length;
    head[0] = (unsigned char)kind;
    memcpy(head + 1, &inode, 8);
    memcpy(head + 9, &number, 8);
    memcpy(head + 17, &size, 4);
    struct iovec parts[2] = {{head, sizeof head}, {(void *)data, length}};
    static ssize_t (*real)(int, const struct iovec *, int);
    if (!real) real = (ssize_t (*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    if (real(record_fd, parts, 2) != (ssize_t)(sizeof head + length)) die("the recording");
    return (uint64_t)found.st_size;
}

static int matches(const char *path, char *part) {
    size_t length = strlen(part), whole = strlen(path);
    if (length == 0 || part[length - 1] != '$') return strstr(path, part) != NULL;
    part[--length] = 0;
    return whole >= length && !strcmp(path + whole - length, part);
}

/* Gives the error that a call on a path is to fail with, or 0. */
static int fault_of(const char *call, const char *path) {
    if (!faults || !path) return 0;
    int fd = real_open(faults, O_RDONLY, 0), found = 0;
    if (fd < 0) return 0;
    char text[1024];
    ssize_t length = pread(fd, text, sizeof text - 1, 0);
    real_close(fd);
    if (length <= 0) return 0;
    text[length] = 0;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line && !found; line = strtok_r(NULL, "\n", &rest)) {
        char name[16], part[256];
        int number;
        if (sscanf(line, "%15s %d %255s", name, &number, part) == 3 && !strcmp(name, call) && matches(path, part))
            found = number;
    }
    return found;
}

static int opened(int fd, const char *path, int flags) {
    if (fd < 0 || fd >= DESCRIPTORS) return fd;
    struct stat found;
    if (fstat(fd, &found) != 0) die("fstat");
    free(paths[fd]);
    paths[fd] = strdup(path);
    told[fd] = failed;
    uint64_t kind = S_ISDIR(found.st_mode) ? 2 : (flags & O_TRUNC) != 0;
    record('O', found.st_ino, kind, path, strlen(path));
    return fd;
}

static int open_any(const char *path, int flags, mode_t mode) {
    if (!is_observed(path)) return real_open(path, flags, mode);
    begin();
    int fd = opened(real_open(path, flags, mode), path, flags), error = errno;
    end();
    errno = error;
    return fd;
}

static mode_t mode_of(int flags, va_list rest) {
    return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(rest, int) : 0;
}

/* Writes the path of a name relative to a folder's descriptor; false when the folder is not observed. */
static int join(int folder, const char *name, char *path) {
    if (name[0] == '/' || folder == AT_FDCWD) return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX;
    if (!path_of(folder)) return 0;
    return snprintf(path, PATH_MAX, "%s/%s", path_of(folder), name) < PATH_MAX;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return open_any(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return open_any(path, flags, mode);
}

static int openat_any(int folder, const char *name, int flags, mode_t mode) {
    static int (*real)(int, const char *, int, ...);
    if (!real) real = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat");
    char path[PATH_MAX];
    begin();
    int fd = real(folder, name, flags, mode), error = errno;
    if (fd >= 0 && join(folder, name, path) && is_observed(path)) opened(fd, path, flags);
    end();
    errno = error;
    return fd;
}
int openat(int folder, const char *name, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return openat_any(folder, name, flags, mode);
}
int openat64(int folder, const char *name, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return openat_any(folder, name, flags, mode);
}

int close(int fd) {
    if (!path_of(fd)) return real_close(fd);
    begin();
    free(paths[fd]);
    paths[fd] = NULL;
    int done = real_close(fd), error = errno;
    end();
    errno = error;
    return done;
}

/* libc closes a folder's descriptor by itself. */
int closedir(DIR *folder) {
    REAL(closedir);
    int fd = dirfd(folder);
    begin();
    if (path_of(fd)) {
        free(paths[fd]);
        paths[fd] = NULL;
    }
    int done = real(folder), error = errno;
    end();
    errno = error;
    return done;
}

static ssize_t fail(int error) {
    errno = error;
    return -1;
}

static ssize_t wrote(int fd, ssize_t done, off_t offset, const void *data) {
    int error = errno;
    if (done > 0) record('W', inode_of(fd), (uint64_t)offset, data, (size_t)done);
    end();
    errno = error;
    return done;
}

ssize_t write(int fd, const void *data, size_t length) {
    const char *path = path_of(fd);
    if (!path) return real_write(fd, data, length);
    int error = fault_of("write", path);
    if (error) return fail(error);
    begin();
    off_t offset = lseek(fd, 0, SEEK_CUR);
    return wrote(fd, real_write(fd, data, length), offset, data);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (!path_of(fd)) return real(fd, parts, count);
    /* A short count is always allowed: the caller goes on with the rest. */
    for (int part = 0; part < count; part++)
        if (parts[part].iov_len) return write(fd, parts[part].iov_base, parts[part].iov_len);
    return 0;
}

static ssize_t pwrite_any(int fd, const void *data, size_t length, off_t offset) {
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real) real = (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
    const char *path = path_of(fd);
    if (!path) return real(fd, data, length, offset);
    int error = fault_of("write", path);
    if (error) return fail(error);
    begin();
    return wrote(fd, real(fd, data, length, offset), offset, data);
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite_any(fd, data, length, offset); }
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) { return pwrite_any(fd, data, length, offset); }

ssize_t read(int fd, void *data, size_t length) {
    REAL(read);
    int error = fault_of("read", path_of(fd));
    return error ? fail(error) : real(fd, data, length);
}
static ssize_t pread_any(int fd, void *data, size_t length, off_t offset) {
    static ssize_t (*real)(int, void *, size_t, off_t);
    if (!real) real = (ssize_t (*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
    int error = path_of(fd) ? fault_of("read", path_of(fd)) : 0;
    return error ? fail(error) : real(fd, data, length, offset);
}
ssize_t pread(int fd, void *data, size_t length, off_t offset) { return pread_any(fd, data, length, offset); }
ssize_t pread64(int fd, void *data, size_t length, off64_t offset) { return pread_any(fd, data, length, offset); }

static int ftruncate_any(int fd, off_t length) {
    static int (*real)(int, off_t);
    if (!real) real = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate");
    if (!path_of(fd)) return real(fd, length);
    begin();
    int done = real(fd, length), error = errno;
    if (done == 0) record('T', inode_of(fd), (uint64_t)length, NULL, 0);
    end();
    errno = error;
    return done;
}
int ftruncate(int fd, off_t length) { return ftruncate_any(fd, length); }
int ftruncate64(int fd, off64_t length) { return ftruncate_any(fd, length); }

/* Notes the fault of an fsync, if it had one, and gives the error that the descriptor is to be told. The lock is held. */
static int note_failure(int fd, uint64_t inode, int error) {
    if (error) {
        if (failed == FAILURES) die("more failed fsyncs than are kept");
        failures[failed].inode = inode;
        failures[failed++].error = error;
    }
    for (; told[fd] < failed; told[fd]++)
        if (failures[told[fd]].inode == inode) error = failures[told[fd]].error;
    return error;
}

static int sync_any(int fd, int (*real)(int)) {
    const char *path = path_of(fd);
    if (!path) return real(fd);
    if (lies) return 0;
    uint64_t inode = inode_of(fd);
    begin();
    uint64_t from = record('S', inode, 0, NULL, 0);
    end();
    /* A fault is a fault of the medium: what was to be flushed counts as clean afterwards, as Linux has it. */
    int fault = fault_of("fsync", path), done = fault ? -1 : real(fd), error = fault ? fault : errno;
    begin();
    record(done == 0 ? 'E' : 'F', inode, from, NULL, 0);
    error = note_failure(fd, inode, done == 0 ? 0 : error);
    end();
    errno = error;
    return error ? -1 : 0;
}
int fsync(int fd) {
    REAL(fsync);
    return sync_any(fd, real);
}
int fdatasync(int fd) {
    REAL(fdatasync);
    return sync_any(fd, real);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    if (!is_observed(from) && !is_observed(to)) return real(from, to);
    char both[2 * PATH_MAX];
    int length = snprintf(both, sizeof both, "%s%c%s", from, 0, to);
    begin();
    int done = real(from, to), error = errno;
    if (done == 0) record('R', 0, 0, both, (size_t)length);
    end();
    errno = error;
    return done;
}

static int removed(int done, char kind, const char *path) {
    int error = errno;
    if (done == 0) record(kind, 0, 0, path, strlen(path));
    end();
    errno = error;
    return done;
}
int unlink(const char *path) {
    REAL(unlink);
    if (!is_observed(path)) return real(path);
    begin();
    return removed(real(path), 'U', path);
}
int rmdir(const char *path) {
    REAL(rmdir);
    if (!is_observed(path)) return real(path);
    begin();
    return removed(real(path), 'U', path);
}
int unlinkat(int folder, const char *name, int flags) {
    REAL(unlinkat);
    char path[PATH_MAX];
    if (!join(folder, name, path) || !is_observed(path)) return real(folder, name, flags);
    begin();
    return removed(real(folder, name, flags), 'U', path);
}
int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    if (!is_observed(path)) return real(path, mode);
    begin();
    return removed(real(path, mode), 'M', path);
}

/* What would go past the record: the callers fall back to what is observed, or must not be there. */
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t length, unsigned flags) {
    REAL(copy_file_range);
    return path_of(out) ? fail(ENOSYS) : real(in, from, out, to, length, flags);
}
int dup(int fd) {
    REAL(dup);
    if (path_of(fd)) die("a file that is observed was duplicated");
    return real(fd);
}
int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    REAL(linkat);
    if (is_observed(from) || is_observed(to)) die("a file that is observed was linked");
    return real(from_folder, from, to_folder, to, flags);
}
