#include "seq.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "round.h"

/* With a window: the window and the batch that is being added to it. */
static int slots_of(const struct memory *m, int n_ctx, int n_batch) {
    int all = round_up(n_ctx, LANES);
    if (m->slot == 0) return 0;
    if (m->window <= 0 || m->window >= n_ctx) return all;
    int64_t ring = ((int64_t)m->window + n_batch + LANES - 1) / LANES * LANES + LANES;
    return ring < all ? (int)ring : all;
}

static int room_for(const struct plan *plan, int n_ctx) {
    return plan->n_positions > 0 && n_ctx > plan->n_positions ? plan->n_positions : n_ctx;
}

size_t seq_estimate(const struct plan *plan, int n_ctx, int n_batch, bool f32) {
    size_t bytes = 0;
    n_ctx = room_for(plan, n_ctx);
    for (int i = 0; i < plan->n_memories; i++) {
        const struct memory *m = &plan->memories[i];
        size_t slot = (size_t)m->slot * seq_number_bytes(f32);
        size_t n = (size_t)slots_of(m, n_ctx, n_batch), state = (size_t)m->state * sizeof(float);
        if (slot > 0 && n > (SIZE_MAX - bytes) / slot) return SIZE_MAX; // which no system has
        bytes += n * slot;
        if (state > SIZE_MAX - bytes) return SIZE_MAX;
        bytes += state;
    }
    return bytes;
}

size_t seq_used_bytes(const struct seq *s, int n) {
    size_t bytes = (size_t)(1 + s->n_checkpoints) * s->state_floats * sizeof(float);
    for (int i = 0; i < s->plan->n_memories; i++) {
        int used = round_up(n, LANES), all = s->memory[i].n_slots;
        bytes += (size_t)(used < all ? used : all) * (size_t)s->plan->memories[i].slot *
                 seq_number_bytes(s->f32);
    }
    return bytes;
}

static int out_of_memory(const struct seq *s, size_t bytes, struct error *err) {
    return error_set(err, KQ_NO_MEMORY,
                     "out of memory: a context of %d needs %zu bytes of key/value cache", s->n_ctx,
                     bytes);
}

static int map_slots(struct seq *s, int n_batch, size_t all_bytes, struct error *err) {
    s->map_bytes = all_bytes - s->state_floats * sizeof(float);
    if (s->map_bytes == 0) return 0;
    void *map =
        mmap(NULL, s->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) return out_of_memory(s, all_bytes, err);
#ifdef MADV_NOHUGEPAGE
    madvise(map, s->map_bytes,
            MADV_NOHUGEPAGE); // huge pages would make unused positions cost memory
#endif
    s->map = map;
    uint8_t *at = map;
    for (int i = 0; i < s->plan->n_memories; i++) {
        const struct memory *m = &s->plan->memories[i];
        int n = slots_of(m, s->n_ctx, n_batch);
        s->memory[i].slots = at;
        s->memory[i].n_slots = n;
        at += (size_t)n * (size_t)m->slot * seq_number_bytes(s->f32);
    }
    return 0;
}

static void place_states(struct seq *s) {
    float *at = s->states;
    for (int i = 0; i < s->plan->n_memories; at += s->plan->memories[i++].state) {
        s->memory[i].state = at;
    }
}

struct seq *seq_open(const struct plan *plan, int n_ctx, int n_batch, bool f32, struct error *err) {
    struct seq *s = calloc(1, sizeof *s);
    if (!s) {
        error_set(err, KQ_NO_MEMORY, "out of memory for a sequence");
        return NULL;
    }
    *s = (struct seq){
        .n_ctx = room_for(plan, n_ctx), .n_ctx_asked = n_ctx, .plan = plan, .f32 = f32};
    size_t bytes = seq_estimate(plan, n_ctx, n_batch, f32);
    for (int i = 0; bytes < SIZE_MAX && i < plan->n_memories; i++) {
        s->state_floats += (size_t)plan->memories[i].state;
    }
    s->memory = calloc((size_t)plan->n_memories + 1, sizeof *s->memory);
    s->states = calloc(s->state_floats + 1, sizeof *s->states);
    if (!s->memory || !s->states || bytes == SIZE_MAX) {
        out_of_memory(s, bytes, err);
    } else if (map_slots(s, n_batch, bytes, err) == 0) {
        place_states(s);
        return s;
    }
    seq_close(s);
    return NULL;
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

/* Forgets checkpoint i and those behind it. */
static void drop_checkpoints(struct seq *s, int i) {
    while (s->n_checkpoints > i) free(s->checkpoints[--s->n_checkpoints].states);
}

/* The checkpoint, not the newest, whose loss makes the smallest hole in relation to how far back it
 * is: what remains lies ever more thinly the further back. */
static int least_useful(const struct seq *s) {
    int best = 0;
    double least = 0;
    for (int i = 0; i + 1 < s->n_checkpoints; i++) {
        int before = i > 0 ? s->checkpoints[i - 1].length : 0;
        int hole = s->checkpoints[i + 1].length - before;
        double harm = (double)hole / (double)(s->length - s->checkpoints[i].length + 1);
        if (i == 0 || harm < least) {
            best = i;
            least = harm;
        }
    }
    return best;
}

void seq_checkpoint(struct seq *s, int distance) {
    int n = s->n_checkpoints, last = n > 0 ? s->checkpoints[n - 1].length : 0;
    if (s->state_floats == 0 || s->length - last < distance) return;
    float *states = NULL;
    if (n == MAX_CHECKPOINTS) {
        int i = least_useful(s);
        states = s->checkpoints[i].states; // is written anew
        memmove(s->checkpoints + i, s->checkpoints + i + 1,
                (size_t)(n - i - 1) * sizeof s->checkpoints[0]);
        s->n_checkpoints = --n;
    } else {
        states = malloc(s->state_floats * sizeof *states);
    }
    if (!states) return;
    memcpy(states, s->states, s->state_floats * sizeof *states);
    s->checkpoints[s->n_checkpoints++] = (struct checkpoint){s->length, states};
}

/* ---- open, close ----------------------------------------------------------------------------- */

void seq_close(struct seq *s) {
    if (!s) return;
    drop_checkpoints(s, 0);
    if (s->map) munmap(s->map, s->map_bytes);
    free(s->states);
    free(s->memory);
    free(s);
}

/* A ring still has the window before position `length` if what was written beyond it has not come
 * around. */
static bool is_kept(const struct seq *s, int length) {
    for (int i = 0; i < s->plan->n_memories; i++) {
        const struct memory *m = &s->plan->memories[i];
        bool ring = m->window > 0 && s->memory[i].n_slots < round_up(s->n_ctx, LANES);
        if (ring && length + s->memory[i].n_slots < s->most + m->window) return false;
    }
    return true;
}

int seq_rewind(struct seq *s, int length) {
    if (length >= s->length) return s->length;
    int i = s->n_checkpoints;
    while (i > 0 && s->checkpoints[i - 1].length > length) i--;
    drop_checkpoints(s, i);
    if (s->state_floats > 0) length = i > 0 ? s->checkpoints[i - 1].length : 0;
    if (length < 0 || !is_kept(s, length)) length = 0;
    if (length == 0) {
        s->most = 0;
        drop_checkpoints(s, 0);
        memset(s->states, 0, s->state_floats * sizeof *s->states);
    } else if (s->state_floats > 0) {
        memcpy(s->states, s->checkpoints[i - 1].states, s->state_floats * sizeof *s->states);
    }
    s->length = length;
    return length;
}

void seq_advance(struct seq *s, int n) {
    s->length += n;
    if (s->length > s->most) s->most = s->length;
}
