/* Gemma: the embedding is multiplied by sqrt(n_embd), the gate is a GELU, the output is tied. */
#include <math.h>

#include "families.h"
#include "parts.h"

/* Gemma 1 (arXiv 2403.08295). */
void gemma(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, sqrtf((float)p->n_embd));
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, gated(norm(x, "ffn_norm"), GELU));
    }
    logits(head(x));
}

/* Gemma 2 (arXiv 2408.00118): windows in every other layer, norms behind the branches too, scores
 * and logits with soft caps, whose defaults are for files older than their keys. The model of 46
 * layers (27B) scales attention by the embedding. */
void gemma2(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    int dim = p->n_layer == 46 ? p->n_embd / hd.n : hd.dim_k;
    hd.scale = 1.0f / sqrtf((float)dim);
    hd.softcap = number(p, "attn_logit_softcapping", 0, 50);
    float cap = number(p, "final_logit_softcapping", 0, 30);
    struct windows w = read_windows(p, 2, 4096);
    struct rope r = read_rope(p, hd.dim_k);
    struct turns far = turns(p, r, HALVES);
    struct turns near = w.n ? turns(p, near_rope(p, r), HALVES) : far;
    value x = embed(p, "token_embd", p->n_embd, sqrtf((float)p->n_embd));
    for (int il = 0; layer(p, il); il++) {
        int window = window_at(&w, il);
        value o = attention(norm(x, "attn_norm"), &hd, window ? near : far, window);
        x = add(x, norm(o, "post_attention_norm"));
        x = add(x, norm(gated(norm(x, "ffn_norm"), GELU), "post_ffw_norm"));
    }
    logits(softcapped(head(x), cap));
}

/* Gemma 3 (arXiv 2503.19786): five layers with a window to each without; those turn with a base of
 * their own and without scaling. Norms of queries and keys. The model of 62 layers (27B) scales
 * attention by the embedding. */
void gemma3(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    int dim = p->n_layer == 62 ? p->n_embd / hd.n : hd.dim_k;
    hd.scale = 1.0f / sqrtf((float)dim);
    float cap = number(p, "final_logit_softcapping", 0, 0);
    struct windows w = read_windows(p, 6, 0);
    struct rope r = read_rope(p, hd.dim_k), r_near = unscaled(r);
    r_near.attn_factor = r.attn_factor;
    r_near.base = number(p, "rope.freq_base_swa", 0, 10000);
    struct turns far = turns(p, r, HALVES);
    struct turns near = w.n ? turns(p, r_near, HALVES) : far;
    value x = embed(p, "token_embd", p->n_embd, sqrtf((float)p->n_embd));
    for (int il = 0; layer(p, il); il++) {
        int window = window_at(&w, il);
        struct turns t = window ? near : far;
        struct qkv a = qkv(norm(x, "attn_norm"), &hd);
        a.q = rope(head_norm(a.q, "attn_q_norm"), t);
        a.k = rope(head_norm(a.k, "attn_k_norm"), t);
        value o = attend(a.q, remember(a.k, a.v, window), &hd);
        x = add(x, norm(product(o, "attn_output", x.n), "post_attention_norm"));
        x = add(x, norm(gated(norm(x, "ffn_norm"), GELU), "post_ffw_norm"));
    }
    logits(softcapped(head(x), cap));
}

/* Per-layer embeddings (Gemma 3n): of each layer n values of the token, and as many made from the
 * embedding, all layers side by side. */
static value per_layer_inputs(struct plan *p, value x, int n) {
    int64_t n_all = (int64_t)n * p->n_layer;
    value a = embed(p, "per_layer_token_embd", n_all, sqrtf((float)n));
    value b = scaled(product(x, "per_layer_model_proj", n_all), 1 / sqrtf((float)p->n_embd));
    b = head_norm(heads(b, n), "per_layer_proj_norm");
    return scaled(add(b, a), 1 / sqrtf(2));
}

enum { STREAMS = 4 }; // Gemma 3n's, of which the first is the one that layers work on

/* How the streams mix: four numbers between -1 and 1. */
static value altup_router(struct plan *p, value x) {
    value r = scaled(norm(x, "altup_router_norm"), 1 / (float)p->n_embd);
    return act(product(r, "altup_router", STREAMS), F_TANH);
}

/* What each stream is expected to become: a mixture of all (AltUp, arXiv 2301.13310). */
static void altup_predict(struct plan *p, const value s[STREAMS], value prediction[STREAMS]) {
    value c = product(altup_router(p, s[0]), "altup_predict_coef", STREAMS * STREAMS);
    for (int o = 0; o < STREAMS; o++) {
        prediction[o] = s[o];
        for (int i = 0; i < STREAMS; i++) {
            value by = part(c, o * STREAMS + i, 1);
            prediction[o] = add(prediction[o], mul(s[i], by));
        }
    }
}

/* Each stream follows what the layer made, y, of the first one's prediction. */
static void altup_correct(struct plan *p, value y, const value prediction[STREAMS],
                          value s[STREAMS]) {
    value c = product(altup_router(p, y), "altup_correct_coef", STREAMS);
    value news = add_scaled(y, prediction[0], -1);
    for (int j = 0; j < STREAMS; j++) {
        value by = part(c, j, 1);
        s[j] = add(add(prediction[j], news), mul(news, by));
    }
}

/* Gemma 3n E2B and E4B (2025, no arXiv number): four streams beside each other (AltUp), a low-rank
 * branch beside attention (LAUREL, arXiv 2411.07501), inputs for each layer; the first ten layers'
 * gates are cut to the largest twentieth; layers from the 20th on attend to the keys of the 18th
 * and 19th. The format fixes these numbers. */
void gemma3n(struct plan *p) {
    const int n_in = 256, n_laurel = 64, n_own = 20, n_sparse = 10, d = p->n_embd;
    rms(p);
    struct heads hd = read_heads(p);
    hd.scale = 1;
    int n_ff = count(p, "feed_forward_length", 1, NEEDED);
    struct windows w = read_windows(p, 5, NEEDED);
    struct rope r = read_rope(p, hd.dim_k), r_near = r;
    r_near.base = number(p, "rope.freq_base_swa", 0, 10000);
    struct turns far = turns(p, r, HALVES), near = turns(p, r_near, HALVES);
    value s[STREAMS] = {embed(p, "token_embd", d, sqrtf((float)d))};
    value inputs = per_layer_inputs(p, s[0], n_in);
    for (int j = 1; j < STREAMS; j++) {
        s[j] = like(plane_product(s[0], "altup_proj", j - 1, STREAMS - 1, d), s[0]);
    }
    cache far_kv = NO_VALUE, near_kv = NO_VALUE; // of the last layers with keys of their own
    for (int il = 0; layer(p, il); il++) {
        value prediction[STREAMS];
        altup_predict(p, s, prediction);
        value a = prediction[0], h = norm(a, "attn_norm");
        value laurel = product(product(h, "laurel_l", n_laurel), "laurel_r", d);
        laurel = add(h, norm(laurel, "laurel_post_norm"));
        int window = window_at(&w, il);
        struct turns t = window ? near : far;
        value q = product_heads(h, "attn_q", hd.n, hd.dim_k);
        q = rope(head_norm(q, "attn_q_norm"), t);
        cache kv = window ? near_kv : far_kv;
        if (il < n_own) {
            value k = product_heads(h, "attn_k", hd.n_kv, hd.dim_k);
            value v = product_heads(h, "attn_v", hd.n_kv, hd.dim_v);
            kv = remember(rope(head_norm(k, "attn_k_norm"), t), head_norm(v, NULL), window);
        } else {
            unused(p, "attn_k.weight");
            unused(p, "attn_v.weight");
            unused(p, "attn_k_norm.weight");
        }
        if (il == n_own - 2) near_kv = kv;
        if (il == n_own - 1) far_kv = kv;
        value o = product(attend(q, kv, &hd), "attn_output", d);
        value y = add(add(norm(o, "post_attention_norm"), a), laurel);
        y = scaled(y, 1 / sqrtf(2));
        h = norm(y, "ffn_norm");
        value g = product(h, "ffn_gate", n_ff), u = product(h, "ffn_up", n_ff);
        if (il < n_sparse) g = sparse(g, 1.6448533535003662f); // the normal deviate of 0.95
        y = add(y, norm(product(glu(g, u, GELU), "ffn_down", d), "post_ffw_norm"));
        altup_correct(p, y, prediction, s);
        value f = gain(s[0], vector(p, "altup_correct_scale", d), "altup_correct_scale");
        f = glu(product(f, "inp_gate", n_in), part(inputs, il * n_in, n_in), GELU);
        f = norm(product(f, "proj", d), "post_norm");
        for (int j = 1; j < STREAMS; j++) s[j] = add(s[j], f);
    }
    value sum = s[0];
    for (int j = 1; j < STREAMS; j++) {
        sum = add(sum, like(plane_product(s[j], "altup_unembd_proj", j - 1, STREAMS - 1, d), s[0]));
    }
    logits(softcapped(head(scaled(sum, 1.0f / STREAMS)), 30));
}

/* Values have the size of keys: the key may only say so. */
static void same_lengths(struct plan *p, const char *key, int dim) {
    if (count(p, key, 1, dim) == dim) return;
    PLAN_FAIL(p, KQ_UNSUPPORTED, "%s.%s is not that of keys, %d", p->arch, key, dim);
}

/* Gemma 4's experts stand beside the dense network, each with a scale of its output; the router
 * reads the residual stream itself, scaled. */
static value gemma4_moe(value x, value dense) {
    struct plan *p = x.p;
    struct gating g = {.gate = SOFTMAX, .normed = true, .scale = 1};
    g.gains = vector_named(p, "ffn_down_exps.scale", p->n_expert);
    value r = scaled(norm(x, NULL), 1 / sqrtf((float)p->n_embd));
    r = gain(r, vector_named(p, "ffn_gate_inp.scale", x.n), "ffn_gate_inp");
    struct choice c = choose(product(r, "ffn_gate_inp", p->n_expert), p->n_expert_used, g);
    value y = chosen_experts(norm(x, "pre_ffw_norm_2"), &c, GELU);
    return add(norm(dense, "post_ffw_norm_1"), norm(y, "post_ffw_norm_2"));
}

/* Gemma 4 (2026, no arXiv number) E2B and E4B with per-layer inputs and layers that borrow keys and
 * values, 31B, and 26B with experts. Layers with a window have heads of another size; those without
 * make values from their keys where there is no W_v; a factor of 10^30 in rope_freqs keeps the
 * pairs still that do not turn. */
void gemma4(struct plan *p) {
    rms(p);
    need(p, "rope_freqs.weight");
    struct windows w = read_windows(p, 0, 0);
    int n_own = p->n_layer - count(p, "attention.shared_kv_layers", 0, 0);
    int n_in = count(p, "embedding_length_per_layer_input", 0, 0);
    int dim_near = count(p, "attention.key_length_swa", 1, NEEDED);
    int dim_far = count(p, "attention.key_length", 1, NEEDED);
    same_lengths(p, "attention.value_length", dim_far);
    same_lengths(p, "attention.value_length_swa", dim_near);
    struct rope r = read_rope(p, dim_far), r_near = unscaled(r);
    r_near.attn_factor = r.attn_factor;
    r_near.n_dims = count(p, "rope.dimension_count_swa", 1, dim_near);
    r_near.base = number(p, "rope.freq_base_swa", 0, 10000);
    r_near.factors = NULL;
    struct turns far = turns(p, r, HALVES), near = turns(p, r_near, HALVES);
    value x = embed(p, "token_embd", p->n_embd, sqrtf((float)p->n_embd)), inputs = NO_VALUE;
    if (n_in) inputs = per_layer_inputs(p, x, n_in);
    cache far_kv = NO_VALUE, near_kv = NO_VALUE; // of the last layers with keys of their own
    for (int il = 0; layer(p, il); il++) {
        int window = window_at(&w, il), dim = window ? dim_near : dim_far;
        struct heads hd = read_heads_at(p, il);
        hd.scale = 1;
        struct turns t = window ? near : far;
        value h = norm(x, "attn_norm");
        value q = rope(head_norm(product_heads(h, "attn_q", hd.n, dim), "attn_q_norm"), t);
        cache kv = window ? near_kv : far_kv;
        if (il < n_own) {
            value k = product_heads(h, "attn_k", hd.n_kv, dim), v = k;
            if (has(p, "attn_v")) v = product_heads(h, "attn_v", hd.n_kv, dim);
            kv = remember(rope(head_norm(k, "attn_k_norm"), t), head_norm(v, NULL), window);
        }
        if (il == n_own - 2) near_kv = kv;
        if (il == n_own - 1) far_kv = kv;
        value o = product(attend(q, kv, &hd), "attn_output", x.n);
        x = add(x, norm(o, "post_attention_norm"));
        value y = gated(norm(x, "ffn_norm"), GELU);
        if (p->n_expert > 0) y = gemma4_moe(x, y);
        x = add(x, norm(y, "post_ffw_norm"));
        if (n_in) {
            value g = product(x, "inp_gate", n_in);
            g = glu(g, part(inputs, (int64_t)il * n_in, n_in), GELU);
            x = add(x, norm(product(g, "proj", x.n), "post_norm"));
        }
        const float *by = vector_if(p, "layer_output_scale", 1);
        if (by) x = scaled(x, *by);
    }
    logits(softcapped(head(x), number(p, "final_logit_softcapping", 0, 30)));
}
