/* What a sequence remembers between passes: for each memory of a plan (plan.h) the slots of its
 * positions and its state. Sizes and strides only: what is in them is the steps' business. */
#ifndef SEQ_H
#define SEQ_H

#include "plan.h"

/* One memory of one sequence. */
struct remembered {
    uint8_t *slots; // (n_slots) positions of memory.slot numbers: in what order, the step says
    int n_slots;    // multiple of 8; position p is in slot p % n_slots
    float *state;
};

/* A copy of all states, as they were when the sequence had so many positions. */
struct checkpoint {
    int length;
    float *states;
};
enum { MAX_CHECKPOINTS = 8 };

struct seq {
    int n_ctx;       // room in positions
    int n_ctx_asked; // the length that longrope chooses its factors by; seq_open: n_ctx. Whoever
                     // has less room than was asked for, for want of memory, sets it before the
                     // first pass
    int length;      // positions that are remembered
    int most;        // the largest length since it was last 0: slots beyond may have been written
    struct remembered *memory; // (plan's n_memories)
    const struct plan *plan;
    bool f32;
    void *map; // all slots
    size_t map_bytes;
    float *states; // all states
    size_t state_floats;
    struct checkpoint checkpoints[MAX_CHECKPOINTS]; // ascending by length
    int n_checkpoints;
};

/* How numbers are kept in slots: halves, or floats. */
static inline size_t seq_number_bytes(bool f32) {
    return f32 ? sizeof(float) : sizeof(ggml_half);
}

/* An empty sequence with room for n_ctx positions, or as many as the plan knows (n_positions), to
 * which a pass adds at most n_batch. The plan must outlive it. NULL and err if memory is short:
 * slots are reserved, and cost memory once a position in them is used. */
struct seq *seq_open(const struct plan *plan, int n_ctx, int n_batch, bool f32, struct error *err);
void seq_close(struct seq *s); // NULL is fine

/* Forgets positions from `length` on; gives the length reached, which is smaller where that much
 * was not kept: a layer with a window keeps it and n_batch positions behind it, recurrent states
 * are known where there is a checkpoint. 0 is always reached. */
int seq_rewind(struct seq *s, int length);

/* n positions were added, or begun: after a pass that failed seq_rewind takes them back. */
void seq_advance(struct seq *s, int n);

/* Makes a checkpoint here if there are states and the last one is at least `distance` >= 1
 * positions back. Passes do so every CHECKPOINT_EVERY positions, whoever reads a prompt at its end,
 * where the next one is likely to part from it. Of at most 8 the ones far back are thinned out.
 * Without memory for it there is none: going back then goes further. */
void seq_checkpoint(struct seq *s, int distance);
enum { CHECKPOINT_EVERY = 512 };

/* Bytes that n positions take, checkpoints included, and what seq_open would reserve for n_ctx of
 * them. */
size_t seq_used_bytes(const struct seq *s, int n);
size_t seq_estimate(const struct plan *plan, int n_ctx, int n_batch, bool f32);

#endif
