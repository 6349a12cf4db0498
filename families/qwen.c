/* Qwen, and what turns halves of a head as it does. */
#include "families.h"
#include "parts.h"

/* Qwen, the first (arXiv 2309.16609): queries, keys and values in one matrix with a bias; files
 * announce the widths of gate and up together. */
void qwen(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    int n_ff = count(p, "feed_forward_length", 2, NEEDED) / 2;
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        need(p, "attn_qkv.bias");
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        value h = norm(x, "ffn_norm");
        value gate = product(h, "ffn_gate", n_ff), up = product(h, "ffn_up", n_ff);
        x = add(x, product(glu(gate, up, SILU), "ffn_down", x.n));
    }
    logits(head(x));
}

/* Qwen 2 and 2.5 (arXiv 2407.10671, 2412.15115): queries, keys and values have biases. As qwen2vl
 * the text of Qwen2-VL (2409.12191): its rotary sections all have the same position in a text. As
 * phi3 Phi-3 and Phi-4 (2404.14219), with longrope; as exaone EXAONE 3 (2408.03541). */
void qwen2(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, feed_forward(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}

/* Experts, and one that every token uses behind a gate of its own. */
static value gated_shared_moe(value h, struct gating g) {
    struct plan *p = h.p;
    value y = experts(h, g, SILU);
    int n_shared = count(p, "expert_shared_feed_forward_length", 1, NEEDED);
    value by = act(product(h, "ffn_gate_inp_shexp", 1), F_SIGMOID);
    return add(y, mul(shared_expert(h, n_shared, SILU), by));
}

/* Qwen 1.5 and 2 with experts (arXiv 2407.10671), whose weights are not normed. */
void qwen2moe(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct gating g = {.gate = SOFTMAX, .scale = 1};
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, gated_shared_moe(norm(x, "ffn_norm"), g));
    }
    logits(head(x));
}

/* Qwen 3 (arXiv 2505.09388), with experts as qwen3moe; the text of Qwen3-VL. No biases, but norms
 * of each head's queries and keys. */
void qwen3(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        struct qkv a = qkv(norm(x, "attn_norm"), &hd);
        a.q = rope(head_norm(a.q, "attn_q_norm"), t);
        a.k = rope(head_norm(a.k, "attn_k_norm"), t);
        value o = attend(a.q, remember(a.k, a.v, 0), &hd);
        x = add(x, product(o, "attn_output", x.n));
        x = add(x, feed_forward(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}

/* ---- Qwen3-Next, Qwen 3.5 and 3.6 ------------------------------------------------------------ */

/* Attention whose output passes a gate (arXiv 2505.06708): W_q makes, for each head, a query and as
 * many gates. */
static value gated_attention(value h, const struct heads *hd, struct turns t) {
    value qg = product_heads(h, "attn_q", hd->n, 2 * hd->dim_k);
    value q = head_part(qg, 0, hd->dim_k), gate = head_part(qg, hd->dim_k, hd->dim_k);
    value k = product_heads(h, "attn_k", hd->n_kv, hd->dim_k);
    value v = product_heads(h, "attn_v", hd->n_kv, hd->dim_v);
    q = rope(head_norm(q, "attn_q_norm"), t);
    k = rope(head_norm(k, "attn_k_norm"), t);
    value o = attend(q, remember(k, v, 0), hd);
    return product(mul(o, act(gate, F_SIGMOID)), "attn_output", h.n);
}

/* Sizes of a gated delta net. */
struct delta_net {
    int size, n_k, n_v, n_taps; // of a head; heads of keys, of values
    enum sharing sharing;
};

static struct delta_net read_delta_net(struct plan *p, enum sharing sharing) {
    struct delta_net d = {.sharing = sharing};
    d.size = count(p, "ssm.state_size", 1, NEEDED);
    d.n_k = count(p, "ssm.group_count", 1, NEEDED);
    d.n_v = count(p, "ssm.time_step_rank", 1, NEEDED);
    d.n_taps = count(p, "ssm.conv_kernel", 1, NEEDED);
    if (count(p, "ssm.inner_size", 1, NEEDED) != (int64_t)d.size * d.n_v || d.n_v % d.n_k != 0) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%s.ssm.inner_size is not that of %d heads of %d, for %d of keys",
                  p->arch, d.n_v, d.size, d.n_k);
    }
    return d;
}

/* beta and alpha of each head of values: two matrices, or one with those of a group of heads side
 * by side. */
static void betas_and_alphas(value h, const struct delta_net *d, value *beta, value *alpha) {
    if (has(h.p, "ssm_ba")) {
        int each = d->n_v / d->n_k;
        value ba = product_heads(h, "ssm_ba", d->n_k, 2 * each);
        *beta = head_part(ba, 0, each);
        *alpha = head_part(ba, each, each);
    } else {
        *beta = product(h, "ssm_beta", d->n_v);
        *alpha = product(h, "ssm_alpha", d->n_v);
    }
}

/* q, k and v side by side, and the gate z. Files of Qwen3-Next's first weeks have one matrix, with
 * all four of a group of heads together. */
static void qkv_and_gate(value h, const struct delta_net *d, value *qkv, value *z) {
    int64_t n_qk = (int64_t)d->size * d->n_k, n_v = (int64_t)d->size * d->n_v;
    if (!has(h.p, "ssm_in")) {
        *qkv = product(h, "attn_qkv", 2 * n_qk + n_v);
        *z = product(h, "attn_gate", n_v);
        return;
    }
    int64_t each = n_v / d->n_k;
    value all = product_heads(h, "ssm_in", d->n_k, (int)(2 * d->size + 2 * each));
    value q = head_part(all, 0, d->size), k = head_part(all, d->size, d->size);
    value v = head_part(all, 2 * d->size, each);
    *z = head_part(all, 2 * d->size + each, each);
    *qkv = join(join(heads(q, q.n), heads(k, k.n)), heads(v, v.n));
}

/* Gated DeltaNet (arXiv 2412.06464) as Qwen has it: a short convolution, keys and queries of length
 * 1, and a gate behind the norm of each head. */
static value delta_net(value h, const struct delta_net *d) {
    struct plan *p = h.p;
    int64_t n_qk = (int64_t)d->size * d->n_k, n_v = (int64_t)d->size * d->n_v;
    value qkv, z, beta, alpha;
    qkv_and_gate(h, d, &qkv, &z);
    betas_and_alphas(h, d, &beta, &alpha);
    qkv = act(convolve(qkv, "ssm_conv1d", d->n_taps), F_SILU);
    value q = l2_norm(heads(part(qkv, 0, n_qk), d->size));
    value k = l2_norm(heads(part(qkv, n_qk, n_qk), d->size));
    value v = heads(part(qkv, 2 * n_qk, n_v), d->size);
    value g = act(biased(alpha, vector_named(p, "ssm_dt.bias", d->n_v), "ssm_dt"), F_SOFTPLUS);
    value decay = act(gain(g, vector_named(p, "ssm_a", d->n_v), "ssm_a"), F_EXP);
    value o = delta_rule(q, k, v, act(beta, F_SIGMOID), decay, d->sharing);
    return product(glu(z, head_norm(o, "ssm_norm"), SILU), "ssm_out", h.n);
}

/* Qwen3-Next (2025, no arXiv number): three gated delta nets to each layer that attends, whose
 * output has a gate; a quarter of each head turns. */
void qwen3next(struct plan *p) {
    rms(p);
    skip_prediction(p);
    struct heads hd = read_heads(p);
    struct delta_net d = read_delta_net(p, GROUPED);
    struct gating g = {.gate = SOFTMAX, .normed = true, .scale = 1};
    int interval = count(p, "full_attention_interval", 1, 4);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        bool full = (il + 1) % interval == 0;
        value h = norm(x, "attn_norm");
        x = add(x, full ? gated_attention(h, &hd, t) : delta_net(h, &d));
        x = add(x, gated_shared_moe(norm(x, "post_attention_norm"), g));
    }
    logits(head(x));
}

/* Qwen 3.5 and 3.6 (2026, no arXiv number), with experts as qwen35moe: Qwen3-Next's layers; heads
 * of values take those of keys in turn. */
void qwen35(struct plan *p) {
    rms(p);
    skip_prediction(p);
    struct heads hd = read_heads(p);
    struct delta_net d = read_delta_net(p, TILED);
    struct gating g = {.gate = SOFTMAX, .normed = true, .scale = 1};
    int interval = count(p, "full_attention_interval", 1, 4);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        bool full = (il + 1) % interval == 0;
        value h = norm(x, "attn_norm");
        x = add(x, full ? gated_attention(h, &hd, t) : delta_net(h, &d));
        h = norm(x, "post_attention_norm");
        x = add(x, p->n_expert > 0 ? gated_shared_moe(h, g) : gated(h, SILU));
    }
    logits(head(x));
}
