/* threads.c: every index exactly once, whatever the number of threads, the sleep between calls and
 * the load of the machine; and the number of threads worth having, on machines made of files. */
#include "test.h"
#include "threads.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static struct threads *open_or_exit(int n) {
    struct error err;
    struct threads *t = threads_open(n, &err);
    if (!t) {
        printf("threads_open(%d): %s\n", n, err.text);
        exit(1);
    }
    return t;
}

static void sleep_us(long us) {
    nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
}

/* ---- one call -------------------------------------------------------------------------------- */

enum { N_MAX = 1000, T_MAX = 8 };

/* Plain bytes: a piece given out twice is also a data race that TSan reports. */
struct visits {
    long n, grain;
    int n_threads;
    unsigned char seen[N_MAX];
    atomic_int inside[T_MAX]; // calls running now under each thread number
    atomic_int bad_piece, bad_thread;
};

static void visit(void *arg, long begin, long end, int thread) {
    struct visits *v = arg;
    if (thread < 0 || thread >= v->n_threads || atomic_fetch_add(&v->inside[thread], 1) != 0) {
        atomic_fetch_add(&v->bad_thread, 1);
    }
    bool whole = v->n <= v->grain || v->n_threads == 1;
    long expected = whole ? v->n : v->n - begin < v->grain ? v->n - begin : v->grain;
    if (begin < 0 || end > v->n || end - begin != expected || (!whole && begin % v->grain != 0)) {
        atomic_fetch_add(&v->bad_piece, 1);
    }
    for (long i = begin; i < end; i++) v->seen[i]++;
    atomic_fetch_sub(&v->inside[thread], 1);
}

static void check_visits(struct threads *t, struct visits *v, long n, long grain) {
    memset(v, 0, sizeof *v);
    v->n = n;
    v->grain = grain;
    v->n_threads = threads_count(t);
    parallel_for(t, NULL, n, grain, visit, v);
    long wrong = 0;
    for (long i = 0; i < N_MAX; i++) wrong += v->seen[i] != (i < n);
    CHECK(wrong == 0 && v->bad_piece == 0 && v->bad_thread == 0,
          "%d threads, n %ld, grain %ld: %ld indices not once, %d bad pieces, %d bad threads",
          v->n_threads, n, grain, wrong, v->bad_piece, v->bad_thread);
}

static void test_every_index_once(void) {
    static const long grains[] = {1, 3, 64, 1000};
    static struct visits v;
    for (int n_threads = 1; n_threads <= T_MAX; n_threads++) {
        struct threads *t = open_or_exit(n_threads);
        CHECK(threads_count(t) == n_threads, "%d, not %d", threads_count(t), n_threads);
        for (size_t g = 0; g < sizeof grains / sizeof grains[0]; g++) {
            // All small n, then steps coprime to the grains.
            for (long n = 0; n <= N_MAX; n += n < 140 ? 1 : 43) check_visits(t, &v, n, grains[g]);
        }
        threads_close(t);
    }
}

/* ---- many calls ------------------------------------------------------------------------------ */

struct sum {
    long partial[T_MAX][16]; // a cache line each
};

static void add_range(void *arg, long begin, long end, int thread) {
    struct sum *s = arg;
    for (long i = begin; i < end; i++) s->partial[thread][0] += i;
}

static long parallel_sum(struct threads *t, long n, long grain) {
    struct sum s = {0};
    parallel_for(t, NULL, n, grain, add_range, &s);
    long sum = 0;
    for (int i = 0; i < T_MAX; i++) sum += s.partial[i][0];
    return sum;
}

/* Calls in quick succession: workers of the last job meet the next one. */
static void test_quick_calls(void) {
    for (int n_threads = 2; n_threads <= T_MAX; n_threads += 2) {
        struct threads *t = open_or_exit(n_threads);
        long wrong = 0;
        for (int i = 0; i < 10000; i++) {
            long n = 2 + i % 37;
            wrong += parallel_sum(t, n, 1) != n * (n - 1) / 2;
        }
        CHECK(wrong == 0, "%d threads: %ld of 10000 sums", n_threads, wrong);
        threads_close(t);
    }
}

/* Pauses around the end of the spin: workers asleep, awake, and on the way from one to the other.
 */
static void test_pauses(void) {
    for (int n_threads = 2; n_threads <= T_MAX; n_threads += 3) {
        struct threads *t = open_or_exit(n_threads);
        long wrong = 0;
        for (int i = 0; i < 200; i++) {
            sleep_us(i * 5);
            wrong += parallel_sum(t, 100, 3) != 4950;
        }
        CHECK(wrong == 0, "%d threads: %ld of 200 sums", n_threads, wrong);
        threads_close(t);
    }
}

static void test_large_sum(void) {
    struct threads *t = open_or_exit(4);
    CHECK(parallel_sum(t, 1000000, 977) == 499999500000, "sum of a million");
    threads_close(t);
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* What ends a test that will not end by itself. However busy the machine, a thread that is woken
 * runs within this time. */
#define DEADLINE 60.0 // seconds

struct meeting {
    double until;
    atomic_uint came; // a bit for each thread
};

/* Nobody leaves before two threads are there. */
static void meet(void *arg, long begin, long end, int thread) {
    struct meeting *m = arg;
    (void)begin, (void)end;
    atomic_fetch_or(&m->came, 1u << thread);
    for (;;) {
        unsigned came = atomic_load(&m->came);
        if (came & (came - 1) || seconds(CLOCK_MONOTONIC) > m->until) return;
        sleep_us(10);
    }
}

/* Without this, a pool whose workers never come would pass every other test. Pauses, so that they
 * come from their sleep as well as from their spin. */
static void test_workers_take_part(void) {
    for (int n_threads = 2; n_threads <= T_MAX; n_threads *= 2) {
        struct threads *t = open_or_exit(n_threads);
        bool met = true;
        for (int i = 0; i < 20 && met; i++) {
            struct meeting m = {.until = seconds(CLOCK_MONOTONIC) + DEADLINE};
            parallel_for(t, NULL, 8, 1, meet, &m);
            met = (m.came & (m.came - 1)) != 0;
            CHECK(met, "%d threads, job %d: nobody came to help", n_threads, i);
            sleep_us(i % 2 * 1000);
        }
        threads_close(t);
    }
}

/* Workers that spin for ever would pass every other test, too. How soon they sleep is the system's
 * affair, so there is no limit but the deadline. */
static void test_idle_is_free(void) {
    for (int n_threads = 2; n_threads <= T_MAX; n_threads *= 2) {
        struct threads *t = open_or_exit(n_threads);
        parallel_sum(t, 100, 1);
        double until = seconds(CLOCK_MONOTONIC) + DEADLINE, used;
        do {
            used = seconds(CLOCK_PROCESS_CPUTIME_ID);
            sleep_us(20000);
            used = seconds(CLOCK_PROCESS_CPUTIME_ID) - used;
        } while (used > 2e-3 && seconds(CLOCK_MONOTONIC) < until);
        CHECK(used <= 2e-3, "%d threads: never idle: %.1f ms of processor time in 20 ms", n_threads,
              used * 1e3);
        threads_close(t);
    }
}

struct stopping {
    atomic_int flag;
    atomic_long n_pieces;
};

/* The eleventh piece sets the flag; whoever has begun a later one waits until it is set. */
static void stop_at_ten(void *arg, long begin, long end, int thread) {
    struct stopping *s = arg;
    (void)thread;
    long before = atomic_fetch_add(&s->n_pieces, end - begin);
    if (before == 10) s->flag = 1;
    while (before > 10 && !s->flag) sleep_us(10);
}

/* Pieces begun before the flag was set are finished, others are not begun. */
static void test_stop(void) {
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        struct stopping s = {0}, other = {0};
        struct threads *t = open_or_exit(n_threads);
        parallel_for(t, &s.flag, 1000000, 1, stop_at_ten, &s);
        long n = atomic_load(&s.n_pieces);
        CHECK(n > 10 && n <= 10 + n_threads, "%d threads: %ld pieces", n_threads, n);
        parallel_for(t, &other.flag, 1000000, 1, stop_at_ten, &other);
        CHECK(other.flag && other.n_pieces > 10, "%d threads: stopped by another call's flag",
              n_threads);
        parallel_for(t, &s.flag, 1000000, 1, stop_at_ten, &s);
        CHECK(atomic_load(&s.n_pieces) == n, "%d threads: pieces after the flag", n_threads);
        parallel_for(t, NULL, 1000, 1, stop_at_ten, &s);
        CHECK(atomic_load(&s.n_pieces) == n + 1000, "%d threads: no flag, no stop", n_threads);
        threads_close(t);
    }
}

static void test_open_and_close(void) {
    for (int i = 0; i < 1000; i++) {
        struct threads *t = open_or_exit(1 + i % 5);
        if (i % 3) CHECK(parallel_sum(t, 50, 7) == 1225, "pool %d", i);
        threads_close(t);
    }
    threads_close(NULL);
}

static void test_refusals(void) {
    static const int bad[] = {0, -1, 1025, 0x7fffffff, -0x7fffffff - 1};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error err = {0};
        CHECK(!threads_open(bad[i], &err) && err.text[0], "%d threads", bad[i]);
    }
}

/* A process with room for some stacks but not for 200. In a child: the limit cannot be undone. */
static void test_no_room(void) {
#if defined(__linux__) && !TEST_SANITIZED
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {64 << 20, 64 << 20};
        struct error err = {0};
        if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(3);
        void *volatile probe = malloc(128 << 20);
        if (probe) _exit(3);
        if (threads_open(200, &err)) _exit(1);
        _exit(strstr(err.text, "expected to start 200") ? 0 : 2);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child, "fork: %s", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 3) {
        printf("SKIP no room for stacks (the limit has no effect here)\n");
    } else {
        CHECK(status == 0, "200 threads in 64 MB: status %d", status);
    }
#else
    printf("SKIP no room for stacks (sanitizers reserve more than any limit)\n");
#endif
}

/* ---- machines made of files ------------------------------------------------------------------ */

static char tree_root[256];
static char tree_path[200][512]; // what was made, in order
static int tree_n;

static void tree_begin(void) {
    const char *tmp = getenv("TMPDIR");
    snprintf(tree_root, sizeof tree_root, "%.200s/test_threads.XXXXXX", tmp ? tmp : "/tmp");
    tree_n = 0;
    if (!mkdtemp(tree_root)) {
        perror(tree_root);
        exit(1);
    }
}

static void tree_end(void) {
    while (tree_n > 0) remove(tree_path[--tree_n]);
    remove(tree_root);
}

/* The next path: `len` characters of `path` below the root. */
static char *tree_next(const char *path, size_t len) {
    size_t root_len = strlen(tree_root);
    if (tree_n == 200 || root_len + len >= sizeof tree_path[0]) exit(1);
    memcpy(tree_path[tree_n], tree_root, root_len);
    memcpy(tree_path[tree_n] + root_len, path, len);
    tree_path[tree_n][root_len + len] = 0;
    return tree_path[tree_n];
}

static void tree_file(const char *path, const char *text) {
    for (const char *p = path; (p = strchr(p + 1, '/'));) {
        if (mkdir(tree_next(path, (size_t)(p - path)), 0700) == 0) tree_n++;
    }
    FILE *f = fopen(tree_next(path, strlen(path)), "w");
    if (!f || fputs(text, f) < 0 || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
    tree_n++;
}

static void tree_siblings(int cpu, const char *list) {
    char path[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    tree_file(path, list);
}

/* cpus: one character a processor, '1' where the process may run. */
static void check_usable(const char *cpus, int cores, int logical) {
    bool allowed[64];
    int n_cpu = (int)strlen(cpus);
    for (int i = 0; i < n_cpu; i++) allowed[i] = cpus[i] == '1';
    int c = threads_usable(tree_root, allowed, n_cpu, true);
    int l = threads_usable(tree_root, allowed, n_cpu, false);
    CHECK(c == cores, "cpus %s: %d cores, expected %d", cpus, c, cores);
    CHECK(l == logical, "cpus %s: %d processors, expected %d", cpus, l, logical);
}

static void test_siblings(void) {
    static const char *const far[] = {"0,4\n", "1,5\n", "2,6\n", "3,7\n"};
    tree_begin();
    check_usable("11111111", 8, 8); // nothing told
    check_usable("", 1, 1);
    check_usable("0000", 1, 1);
    for (int cpu = 0; cpu < 8; cpu++) tree_siblings(cpu, far[cpu % 4]);
    check_usable("11111111", 4, 8);
    check_usable("10001000", 1, 2);
    check_usable("01001000", 2, 2);
    check_usable("00001111", 4, 4); // their cores' first processors are not ours
    check_usable("1111", 4, 4);
    tree_end();

    tree_begin();
    for (int cpu = 0; cpu < 8; cpu++) tree_siblings(cpu, cpu < 4 ? "0-3\n" : "4-5,6-7\n");
    check_usable("11111111", 2, 8);
    check_usable("00110011", 2, 4);
    check_usable("00000001", 1, 1);
    tree_end();

    static const char *const garbage[] = {"",   "\n",   "x",  "-1",
                                          "0-", "5-2,", ",,", "99999999999999"};
    tree_begin();
    for (int cpu = 0; cpu < 8; cpu++) tree_siblings(cpu, garbage[cpu]);
    check_usable("01111111", 7, 7);
    tree_end();
}

/* Each file set alone on a machine of 8. */
static void check_quota(const char *group_line, const char *file, const char *text, int expected) {
    tree_begin();
    tree_file("/proc/self/cgroup", group_line);
    tree_file(file, text);
    if (strstr(file, "quota")) tree_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    check_usable("11111111", expected, expected);
    tree_end();
}

static void test_quota_v2(void) {
    static const char own[] = "/sys/fs/cgroup/a/b/cpu.max";
    check_quota("0::/a/b\n", own, "max 100000\n", 8);
    check_quota("0::/a/b\n", own, "300000 100000\n", 3);
    check_quota("0::/a/b\n", own, "300001 100000\n", 4);
    check_quota("0::/a/b\n", own, "10000 100000\n", 1);
    check_quota("0::/a/b\n", own, "9900000 100000\n", 8);
    check_quota("0::/a/b\n", own, "9223372036854775807 1\n", 8);
    check_quota("0::/a/b\n", own, "0 100000\n", 8);
    check_quota("0::/a/b\n", own, "300000\n", 8);
    check_quota("0::/a/b\n", own, "", 8);
    check_quota("0::/a/b", "/sys/fs/cgroup/a/cpu.max", "200000 100000\n", 2); // an ancestor's
    check_quota("0::/\n", "/sys/fs/cgroup/cpu.max", "200000 100000\n", 2);
    check_quota("0::/../..\n", "/sys/fs/cgroup/cpu.max", "200000 100000\n", 2);
    check_quota("0::/a/b\n", "/sys/fs/cgroup/a/b/c/cpu.max", "200000 100000\n", 8); // not ours
    check_quota("0::/a/b\n", "/sys/fs/cpu.max", "200000 100000\n", 8);              // outside
    check_quota("nonsense\n0:\n::\n", "/sys/fs/cgroup/cpu/x", "1", 8);

    tree_begin();
    tree_file("/proc/self/cgroup", "0::/a/b\n");
    tree_file("/sys/fs/cgroup/a/cpu.max", "200000 100000\n");
    tree_file("/sys/fs/cgroup/a/b/cpu.max", "600000 100000\n");
    check_usable("11111111", 2, 2); // the tighter one, here the parent's
    check_usable("10000000", 1, 1);
    tree_end();

    tree_begin();
    tree_file("/proc/self/cgroup", "0::/..\n");
    tree_file("/sys/fs/cgroup/x", "");
    tree_file("/sys/fs/cpu.max", "200000 100000\n");
    check_usable("11111111", 8, 8); // the group's name leads outside the mount
    tree_end();
}

static void test_quota_v1(void) {
    static const char line[] = "3:memory:/m\n2:cpuacct,cpu:/docker/x\n1:name=systemd:/\n";
    static const char top[] = "/sys/fs/cgroup/cpu/cpu.cfs_quota_us";
    check_quota(line, top, "250000\n", 3); // in a container the group's own name is not found
    check_quota(line, top, "-1\n", 8);
    check_quota(line, top, "x\n", 8);
    check_quota("2:cpuset:/\n", top, "250000\n", 8);

    tree_begin();
    tree_file("/proc/self/cgroup", line);
    tree_file("/sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us", "50000\n");
    check_usable("1111", 4, 4); // no period
    tree_file("/sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us", "25000\n");
    check_usable("1111", 2, 2);
    tree_end();
}

int main(void) {
    test_every_index_once();
    test_quick_calls();
    test_pauses();
    test_large_sum();
    test_workers_take_part();
    test_idle_is_free();
    test_stop();
    test_open_and_close();
    test_refusals();
    test_no_room();
    test_siblings();
    test_quota_v2();
    test_quota_v1();
    CHECK(threads_default_count() >= 1, "default %d", threads_default_count());
    return test_done("test_threads");
}
