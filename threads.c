#define _GNU_SOURCE // sched_getaffinity
#include "threads.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif

#include "fpstate.h"

/* ---- the pool -------------------------------------------------------------------------------- */

/* A job is open while the caller of parallel_for still has pieces to give away. A worker takes
 * part only by counting itself in while the job is open; when the caller finds no piece left it
 * closes the job and waits for those counted in, not for all. So a worker that the system has not
 * scheduled delays nobody: the others do its share.
 *
 * Both facts live in one word, so that "is it open" and "count me in" are one atomic step. */

enum {
    STATE_ACTIVE = 0xfff,    // workers inside the job
    STATE_OPEN = 1 << 12,    // the job may be entered
    STATE_QUIT = 1 << 13,    // the pool is being closed
    STATE_JOB_ONE = 1 << 14, // the bits from here up number the jobs, modulo 2^18
    THREADS_MAX = 1024,      // fits STATE_ACTIVE
};
/* A worker that slept through exactly 2^18 jobs takes the next one for the one it knows and misses
 * it: the others do its share. */
#define STATE_JOB (~(STATE_JOB_ONE - 1u))

/* How often a waiting thread looks before it sleeps: 50 microseconds on Zen 5, whose pause takes
 * 25 ns. Longer than the serial stretches of a forward pass, shorter than a time slice. */
#define SPIN_LOOKS 2000

#define CACHE_LINE 64

struct worker {
    struct threads *pool;
    pthread_t handle;
    int index; // 1..n_threads-1; the caller of parallel_for is 0
};

struct threads {
    int n_threads; // the caller included
    int n_workers; // started
    int spin_looks;
    int wake_max; // more workers than this would only take the processor from each other

    // The job: written while no worker is inside, read only by workers that counted themselves in.
    threads_fn *fn;
    void *arg;
    atomic_int *stop; // NULL: nothing stops it
    long n, grain, n_pieces;

    pthread_mutex_t mutex;
    pthread_cond_t wake;      // a new job, or the end of the pool
    pthread_cond_t done;      // the last worker has left a closed job
    atomic_int n_asleep;      // workers waiting for `wake`
    atomic_int caller_asleep; // the caller waits for `done`

    char pad0[CACHE_LINE];
    atomic_uint state;
    char pad1[CACHE_LINE];
    atomic_long next_piece;
    char pad2[CACHE_LINE];

    struct worker worker[]; // n_threads - 1
};

static void cpu_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb"); // drains the pipeline; `yield` does nothing on most cores
#endif
}

static bool is_stopped(const struct threads *t) {
    return t->stop && atomic_load_explicit(t->stop, memory_order_relaxed);
}

static void run_pieces(struct threads *t, int index) {
    for (;;) {
        long piece = atomic_fetch_add(&t->next_piece, 1);
        if (piece >= t->n_pieces || is_stopped(t)) return;
        long begin = piece * t->grain;
        long end = t->n - begin > t->grain ? begin + t->grain : t->n;
        t->fn(t->arg, begin, end, index);
    }
}

/* Counts the worker in. It enters whichever job is open now, perhaps a later one than it saw. */
static bool enter_job(struct threads *t) {
    unsigned state = atomic_load(&t->state);
    while (state & STATE_OPEN) {
        if (atomic_compare_exchange_weak(&t->state, &state, state + 1)) return true;
    }
    return false;
}

static void leave_job(struct threads *t) {
    unsigned state = atomic_fetch_sub(&t->state, 1) - 1;
    if (state & (STATE_ACTIVE | STATE_OPEN) || !atomic_load(&t->caller_asleep)) return;
    pthread_mutex_lock(&t->mutex);
    pthread_cond_signal(&t->done);
    pthread_mutex_unlock(&t->mutex);
}

static bool is_news(unsigned state, unsigned seen) {
    return (state & (STATE_JOB | STATE_QUIT)) != seen;
}

/* Returns the state once it shows another job than `seen`, or the end of the pool.
 * Nobody is left asleep: the sleeper says that it sleeps and then looks at the state, the other
 * side changes the state and then looks for sleepers (all sequentially consistent), so at least
 * one of them sees the other; and the mutex lets no signal fall between look and sleep. What is
 * said is exchanged and not stored: QEMU 7.2 lets a load of aarch64 overtake a store before it. */
static unsigned wait_for_job(struct threads *t, unsigned seen) {
    unsigned state = atomic_load(&t->state);
    for (int i = 0; i < t->spin_looks && !is_news(state, seen); i++) {
        cpu_pause();
        state = atomic_load(&t->state);
    }
    if (is_news(state, seen)) return state;
    pthread_mutex_lock(&t->mutex);
    atomic_fetch_add(&t->n_asleep, 1);
    while (!is_news(state = atomic_load(&t->state), seen)) {
        pthread_cond_wait(&t->wake, &t->mutex);
    }
    atomic_fetch_sub(&t->n_asleep, 1);
    pthread_mutex_unlock(&t->mutex);
    return state;
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    struct threads *t = w->pool;
    fp_enter(); // a thread begins with the state of the one that made it
    for (unsigned seen = 0;;) {
        unsigned state = wait_for_job(t, seen);
        if (state & STATE_QUIT) return NULL;
        seen = state & STATE_JOB;
        if (!enter_job(t)) continue;
        run_pieces(t, w->index);
        leave_job(t);
    }
}

static void wake_workers(struct threads *t, long at_most) {
    int n_asleep = atomic_load(&t->n_asleep);
    if (n_asleep == 0) return;
    if (at_most > n_asleep) at_most = n_asleep;
    pthread_mutex_lock(&t->mutex);
    for (long i = 0; i < at_most; i++) pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->mutex);
}

/* Waits until the last worker has left the job, which is closed. */
static void wait_until_left(struct threads *t) {
    for (int i = 0; i < t->spin_looks; i++) {
        if (!(atomic_load(&t->state) & STATE_ACTIVE)) return;
        cpu_pause();
    }
    pthread_mutex_lock(&t->mutex);
    atomic_exchange(&t->caller_asleep, 1);
    while (atomic_load(&t->state) & STATE_ACTIVE) pthread_cond_wait(&t->done, &t->mutex);
    atomic_store(&t->caller_asleep, 0);
    pthread_mutex_unlock(&t->mutex);
}

void parallel_for(struct threads *t, atomic_int *stop, long n, long grain, threads_fn *fn,
                  void *arg) {
    unsigned state = atomic_load(&t->state);
    assert(grain > 0 && !(state & (STATE_OPEN | STATE_ACTIVE))); // a parallel_for inside another
    if (n <= 0) return;
    if (n <= grain || (t->n_threads == 1 && !stop)) {
        fn(arg, 0, n, 0);
        return;
    }
    t->fn = fn;
    t->arg = arg;
    t->stop = stop;
    t->n = n;
    t->grain = grain;
    t->n_pieces = (n - 1) / grain + 1;
    atomic_store(&t->next_piece, 0);
    atomic_exchange(&t->state, (state + STATE_JOB_ONE) | STATE_OPEN);
    wake_workers(t, t->n_pieces - 1 < t->wake_max ? t->n_pieces - 1 : t->wake_max);
    run_pieces(t, 0);
    if (atomic_fetch_and(&t->state, ~(unsigned)STATE_OPEN) & STATE_ACTIVE) wait_until_left(t);
}

static int usable_here(bool physical);

static int start_workers(struct threads *t, struct error *err) {
    for (int i = 0; i < t->n_threads - 1; i++) {
        t->worker[i] = (struct worker){.pool = t, .index = i + 1};
        int e = pthread_create(&t->worker[i].handle, NULL, worker_main, &t->worker[i]);
        if (e) {
            return error_set(err, KQ_NO_MEMORY,
                             "threads: expected to start %d, found room for %d: %s", t->n_threads,
                             i + 1, strerror(e));
        }
        t->n_workers++;
    }
    return 0;
}

struct threads *threads_open(int n, struct error *err) {
    if (n < 1 || n > THREADS_MAX) {
        error_set(err, KQ_BAD_ARGUMENT, "threads: expected 1 to %d, found %d", THREADS_MAX, n);
        return NULL;
    }
    struct threads *t = calloc(1, sizeof *t + (size_t)(n - 1) * sizeof t->worker[0]);
    if (!t) {
        error_set(err, KQ_NO_MEMORY, "threads: out of memory for a pool of %d", n);
        return NULL;
    }
    int n_cpu = n > 1 ? usable_here(false) : 1;
    *t = (struct threads){
        .n_threads = n,
        .spin_looks = n <= n_cpu ? SPIN_LOOKS : 0,
        .wake_max = n_cpu > 2 ? n_cpu - 1 : 1,
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .wake = PTHREAD_COND_INITIALIZER,
        .done = PTHREAD_COND_INITIALIZER,
    };
    if (start_workers(t, err) != 0) {
        threads_close(t);
        return NULL;
    }
    return t;
}

void threads_close(struct threads *t) {
    if (!t) return;
    atomic_fetch_or(&t->state, STATE_QUIT);
    pthread_mutex_lock(&t->mutex);
    pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->mutex);
    for (int i = 0; i < t->n_workers; i++) pthread_join(t->worker[i].handle, NULL);
    pthread_cond_destroy(&t->done);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->mutex);
    free(t);
}

int threads_count(const struct threads *t) {
    return t->n_threads;
}

/* ---- how many threads are worth having ------------------------------------------------------- */

#define CPU_MAX 8192

/* The first line of root + path (without its newline); false if there is none that fits. */
static bool read_line(const char *root, const char *path, char *line, size_t size) {
    char name[4096];
    int len = snprintf(name, sizeof name, "%s%s", root, path);
    if (len < 0 || (size_t)len >= sizeof name) return false;
    FILE *f = fopen(name, "r");
    if (!f) return false;
    bool ok = fgets(line, (int)size, f) != NULL;
    fclose(f);
    if (ok) line[strcspn(line, "\n")] = 0;
    return ok;
}

/* The lowest usable processor of cpu's core, from a list like "0,4" or "2-3"; cpu itself if the
 * platform does not tell. */
static int core_leader(const char *root, const bool *allowed, int n_cpu, int cpu) {
    char path[128], line[1024];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    if (!read_line(root, path, line, sizeof line)) return cpu;
    for (char *p = line;;) {
        char *end;
        long first = strtol(p, &end, 10);
        long last = *end == '-' ? strtol(end + 1, &end, 10) : first;
        for (long c = first; c >= 0 && c <= last && c < n_cpu; c++) {
            if (allowed[c]) return (int)c;
        }
        if (*end != ',') return cpu;
        p = end + 1;
    }
}

/* Processors' worth of time a control group may use, rounded up; INT_MAX without a limit.
 * Version 2: cpu.max holds "quota period" or "max period"; version 1: a file each, quota -1 for no
 * limit (Linux Documentation/admin-guide/cgroup-v2.rst, scheduler/sched-bwc.rst). */
static int group_quota(const char *root, const char *group, bool v2) {
    char path[4096], line[128];
    long long quota = -1, period = -1;
    if (v2) {
        snprintf(path, sizeof path, "%.4000s/cpu.max", group);
        if (!read_line(root, path, line, sizeof line)) return INT_MAX;
        if (sscanf(line, "%lld %lld", &quota, &period) != 2) return INT_MAX;
    } else {
        snprintf(path, sizeof path, "%.4000s/cpu.cfs_quota_us", group);
        if (!read_line(root, path, line, sizeof line)) return INT_MAX;
        quota = strtoll(line, NULL, 10);
        snprintf(path, sizeof path, "%.4000s/cpu.cfs_period_us", group);
        if (!read_line(root, path, line, sizeof line)) return INT_MAX;
        period = strtoll(line, NULL, 10);
    }
    if (quota <= 0 || period <= 0 || quota / period >= INT_MAX - 1) return INT_MAX;
    return (int)(quota / period + (quota % period != 0));
}

/* The tightest limit of a group and its ancestors. In a container the group's name may be the one
 * outside, which is not to be found here; walking up ends at the container's own group. */
static int tightest_quota(const char *root, const char *mount, const char *group, bool v2) {
    char path[4096];
    if (strstr(group, "/..")) group = "/";
    int len = snprintf(path, sizeof path, "%s%s", mount, group);
    if (len < 0 || (size_t)len >= sizeof path) return INT_MAX;
    int quota = INT_MAX;
    for (;;) {
        int q = group_quota(root, path, v2);
        if (q < quota) quota = q;
        if (strlen(path) <= strlen(mount)) return quota;
        *strrchr(path, '/') = 0;
    }
}

/* Lines of /proc/self/cgroup are "id:controllers:group"; version 2 has no controllers. */
static int cpu_quota(const char *root) {
    char name[4096], line[4096];
    int quota = INT_MAX;
    snprintf(name, sizeof name, "%.4000s/proc/self/cgroup", root);
    FILE *f = fopen(name, "r");
    if (!f) return quota;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *group++ = 0;
        int q = INT_MAX;
        bool v2 = *++controllers == 0;
        if (v2) q = tightest_quota(root, "/sys/fs/cgroup", group, true);
        char *next;
        for (char *c = strtok_r(controllers, ",", &next); c; c = strtok_r(NULL, ",", &next)) {
            if (!strcmp(c, "cpu")) q = tightest_quota(root, "/sys/fs/cgroup/cpu", group, false);
        }
        if (q < quota) quota = q;
    }
    fclose(f);
    return quota;
}

int threads_usable(const char *root, const bool *allowed, int n_cpu, bool physical) {
    int n = 0;
    for (int cpu = 0; cpu < n_cpu; cpu++) {
        if (!allowed[cpu]) continue;
        if (!physical || core_leader(root, allowed, n_cpu, cpu) == cpu) n++;
    }
    int quota = cpu_quota(root);
    if (n > quota) n = quota;
    return n < 1 ? 1 : n;
}

static int usable_here(bool physical) {
    bool allowed[CPU_MAX] = {false};
#ifdef __linux__
    cpu_set_t set[CPU_MAX / CPU_SETSIZE];
    if (sched_getaffinity(0, sizeof set, set) == 0) {
        for (int i = 0; i < CPU_MAX; i++) allowed[i] = CPU_ISSET_S((size_t)i, sizeof set, set);
        return threads_usable("", allowed, CPU_MAX, physical);
    }
#endif
    long n_cpu = sysconf(_SC_NPROCESSORS_ONLN);
    if (n_cpu > CPU_MAX) n_cpu = CPU_MAX;
    for (long i = 0; i < n_cpu; i++) allowed[i] = true;
    return threads_usable("", allowed, n_cpu < 0 ? 0 : (int)n_cpu, physical);
}

int threads_default_count(void) {
    return usable_here(true);
}
