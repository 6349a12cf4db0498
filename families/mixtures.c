/* Mixtures of experts of houses that have one family here, oldest first. */
#include <math.h>

#include "families.h"
#include "parts.h"

/* Phi-3.5-MoE (arXiv 2404.14219). Norms with biases, longrope. */
void phimoe(struct plan *p) {
    rms(p);
    need_biases(p, NORMS);
    need(p, "output.bias");
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        need(p, "attn_output.bias");
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, experts(norm(x, "ffn_norm"), MIXTRAL, SILU));
    }
    logits(head(x));
}

/* ERNIE 4.5 with experts (2025, no arXiv number): a softmax with a bias of the choice; the first
 * layers are dense, and all but each n-th of the others. */
void ernie4_5_moe(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct gating g = {.gate = SOFTMAX, .normed = true, .scale = 1};
    int n_dense = count(p, "leading_dense_block_count", 0, 0);
    int each = count(p, "interleave_moe_layer_step", 1, 1);
    struct turns t = turns(p, read_rope(p, hd.dim_k), NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        value h = norm(x, "ffn_norm");
        bool dense = il < n_dense || (il + 1) % each != 0;
        x = add(x, dense ? gated(h, SILU) : deepseek_moe(h, g));
    }
    logits(head(x));
}

/* SmallThinker (arXiv 2507.20984): the router reads a layer's input before attention does, so that
 * experts can be fetched meanwhile; ReLU gates. The first of four layers does not turn and sees
 * all, the others have a window, of 4096 whatever the file says; if it says none, all turn and see
 * all. In a model of four layers, which nobody has trained, llama.cpp turns the first one, too. */
void smallthinker(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct gating g = {.gate = read_gate(p, SOFTMAX), .normed = true, .scale = 1};
    int window = count(p, "attention.sliding_window", 0, 0) > 0 ? 4096 : 0;
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        bool near = window == 0 || il % 4 != 0, turned = near || p->n_layer == 4;
        struct choice c = choose(product(x, "ffn_gate_inp", p->n_expert), p->n_expert_used, g);
        x = add(x, attention(norm(x, "attn_norm"), &hd, turned ? t : NO_TURNS, near ? window : 0));
        x = add(x, chosen_experts(norm(x, "ffn_norm"), &c, RELU));
    }
    logits(head(x));
}

/* GroveMoE (arXiv 2508.07785). Experts lie in groups that share a smaller one each, the adjugate,
 * which reads what the experts have made. */
void grovemoe(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct gating g = {.gate = SOFTMAX, .normed = true, .scale = 1};
    int each = count(p, "experts_per_group", 1, NEEDED);
    int n_ff = count(p, "expert_chunk_feed_forward_length", 1, NEEDED);
    float scale = number(p, "expert_group_scale", 0, NEEDED);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, normed_attention(norm(x, "attn_norm"), &hd, t, 0));
        value h = norm(x, "ffn_norm");
        expert_width(p);
        struct choice c = choose(product(h, "ffn_gate_inp", p->n_expert), p->n_expert_used, g);
        value y = chosen_experts(h, &c, SILU);
        struct choice shared = choose_groups(&c, each);
        value z = experts_begin(y, &shared);
        value gate = product(z, "ffn_gate_chexps", n_ff), up = product(z, "ffn_up_chexps", n_ff);
        z = experts_end(product(glu(gate, up, SILU), "ffn_down_chexps", h.n), &shared);
        x = add(x, add_scaled(y, z, scale));
    }
    logits(head(x));
}

/* MiniMax M2 (2025, no arXiv number): norms of queries and keys over all heads together, half of
 * each head turns. */
void minimax_m2(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct gating g = {
        .gate = read_gate(p, SIGMOID), .normed = true, .scale = 1, .needs_bias = true};
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        struct qkv a = qkv(norm(x, "attn_norm"), &hd);
        a.q = rope(norm(a.q, "attn_q_norm"), t);
        a.k = rope(norm(a.k, "attn_k_norm"), t);
        value o = attend(a.q, remember(a.k, a.v, 0), &hd);
        x = add(x, product(o, "attn_output", x.n));
        x = add(x, experts(norm(x, "ffn_norm"), g, SILU));
    }
    logits(head(x));
}

/* MiMo-V2-Flash (arXiv 2601.02780): keys wider than values; layers with a window have their own
 * number of key heads, sinks and base of rope. */
void mimo2(struct plan *p) {
    rms(p);
    skip_prediction(p);
    struct gating g = {.gate = SIGMOID, .normed = true, .scale = 1};
    need_key(p, "attention.sliding_window_pattern");
    struct windows w = read_windows(p, 4, NEEDED);
    float by = number(p, "attention.value_scale", 0, 1);
    struct rope r = read_rope(p, count(p, "attention.key_length", 1, NEEDED)), r_near = unscaled(r);
    r_near.attn_factor = r.attn_factor;
    r_near.base = number(p, "rope.freq_base_swa", 0, 10000);
    struct turns far = turns(p, r, HALVES), near = turns(p, r_near, HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        struct heads hd = read_heads_at(p, il);
        int window = window_at(&w, il);
        hd.sinks = vector_if(p, "attn_sinks", hd.n);
        value o = attention(norm(x, "attn_norm"), &hd, window ? near : far, window);
        x = add_scaled(x, o, by);
        value h = norm(x, "ffn_norm");
        x = add(x, has(p, "ffn_gate_inp") ? experts(h, g, SILU) : gated(h, SILU));
    }
    logits(head(x));
}

/* act(gate) and up within limits (from 0 on: none). */
static value limited_glu(value gate, value up, float limit) {
    if (limit == 0) return glu(gate, up, SILU);
    gate = clamped(act(gate, F_SILU), -INFINITY, limit);
    return mul(gate, clamped(up, -limit, limit));
}

static value limited_experts(value h, struct gating g, float limit, float limit_shared) {
    struct plan *p = h.p;
    int n_ff = expert_width(p), n_shared = shared_width(p);
    g.bias = vector_named_if(p, "exp_probs_b.bias", p->n_expert);
    struct choice c = choose(product(h, "ffn_gate_inp", p->n_expert), p->n_expert_used, g);
    value x = experts_begin(h, &c);
    value gate = product(x, "ffn_gate_exps", n_ff), up = product(x, "ffn_up_exps", n_ff);
    gate = limited_glu(gate, up, limit);
    value y = experts_end(product(gate, "ffn_down_exps", h.n), &c);
    gate = product(h, "ffn_gate_shexp", n_shared);
    up = product(h, "ffn_up_shexp", n_shared);
    return add(y, product(limited_glu(gate, up, limit_shared), "ffn_down_shexp", h.n));
}

/* Attention with a gate for each head's output: ATTN_GATE h through f. */
static value gated_heads(value h, const struct heads *hd, struct turns t, int window,
                         enum function f) {
    struct qkv a = qkv(h, hd);
    a.q = rope(head_norm(a.q, "attn_q_norm"), t);
    a.k = rope(head_norm(a.k, "attn_k_norm"), t);
    value o = attend(a.q, remember(a.k, a.v, window), hd);
    o = mul(o, act(product(h, "attn_gate", hd->n), f));
    return product(o, "attn_output", h.n);
}

/* Step 3.5 Flash (arXiv 2602.10604): layers with a window have more heads and turn all of each, the
 * others half; a gate for each head; limits of what the last layers' experts gate. */
void step35(struct plan *p) {
    rms(p);
    skip_prediction(p);
    struct gating g = read_gating(p, SIGMOID, false);
    need_key(p, "attention.sliding_window_pattern");
    struct windows w = read_windows(p, 4, NEEDED);
    struct rope r = read_rope(p, count(p, "attention.key_length", 1, NEEDED)), r_near = unscaled(r);
    r_near.attn_factor = r.attn_factor;
    r_near.n_dims = count(p, "rope.dimension_count_swa", 0, r.n_dims);
    r_near.base = number(p, "rope.freq_base_swa", 0, 10000);
    r_near.factors = NULL;
    r.n_dims /= 2;
    struct turns far = turns(p, r, HALVES), near = turns(p, r_near, HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        struct heads hd = read_heads_at(p, il);
        int window = window_at(&w, il);
        struct turns t = window ? near : far;
        float limit = number_at(p, "swiglu_clamp_exp", il, 0, 0);
        float limit_shared = number_at(p, "swiglu_clamp_shexp", il, 0, 0);
        x = add(x, gated_heads(norm(x, "attn_norm"), &hd, t, window, F_SIGMOID));
        value h = norm(x, "ffn_norm");
        bool dense = !has(p, "ffn_gate_inp");
        x = add(x, dense ? gated(h, SILU) : limited_experts(h, g, limit, limit_shared));
    }
    logits(head(x));
}

/* Laguna (2026, no arXiv number). Of four layers the first sees all and turns half of each head by
 * YaRN, the others have a window, more heads and turn all of each; a gate for each head, through
 * softplus. */
void laguna(struct plan *p) {
    rms(p);
    struct gating g = read_gating(p, SIGMOID, false);
    g.needs_bias = true;
    int n_dense = count(p, "leading_dense_block_count", 0, 0);
    int n_shared = count(p, "expert_shared_feed_forward_length", 1, expert_width(p));
    struct windows w = read_windows(p, 4, 0);
    w.full_first = true;
    struct rope r = read_rope(p, count(p, "attention.key_length", 1, NEEDED));
    struct rope r_near = unscaled(near_rope(p, r));
    r_near.n_dims = count(p, "rope.dimension_count_swa", 0, r.n_dims);
    struct turns far = turns(p, r, HALVES), near = turns(p, r_near, HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        struct heads hd = read_heads_at(p, il);
        int window = window_at(&w, il);
        struct turns t = window ? near : far;
        x = add(x, gated_heads(norm(x, "attn_norm"), &hd, t, window, F_SOFTPLUS));
        value h = norm(x, "ffn_norm");
        if (il < n_dense) {
            x = add(x, gated(h, SILU));
        } else {
            value y = experts(h, g, SILU);
            x = add(x, add(y, shared_expert(h, n_shared, SILU)));
        }
    }
    logits(head(x));
}

/* Mellum 2, of JetBrains (2026, no arXiv number): Qwen 3 with windows in all but each n-th layer.
 */
void mellum(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct windows w = read_windows(p, 4, 0);
    struct rope r = read_rope(p, hd.dim_k);
    struct turns far = turns(p, r, HALVES), near = w.n ? turns(p, unscaled(r), HALVES) : far;
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        int window = window_at(&w, il);
        struct turns t = window ? near : far;
        x = add(x, normed_attention(norm(x, "attn_norm"), &hd, t, window));
        x = add(x, experts(norm(x, "ffn_norm"), MIXTRAL, SILU));
    }
    logits(head(x));
}
