/* Llama, and the models that are built like it. */
#include <float.h>
#include <math.h>

#include "../elementary.h"
#include "families.h"
#include "parts.h"

/* Llama 1 to 3 (arXiv 2302.13971, 2307.09288, 2407.21783), Mistral (2310.06825), Mixtral with its
 * experts (2401.04088), TinyLlama (2401.02385), Yi (2403.04652), SmolLM2 (2502.02737); under names
 * of their own InternLM 2 (2403.17297), XVERSE, ERNIE 4.5. RMS norms in front of the branches,
 * rotary positions, a gated feed-forward, heads that share keys and values. Converters have
 * permuted the rows of W_q and W_k so that neighbours turn together. */
void llama(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, feed_forward(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}

/* Orion 14B (arXiv 2401.12246). A llama with LayerNorm, which has biases. */
void orion(struct plan *p) {
    centred(p);
    need_biases(p, NORMS);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, gated(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}

/* OpenELM (arXiv 2404.14619): deeper layers have more heads and are wider; norms of queries and
 * keys. */
void openelm(struct plan *p) {
    rms(p);
    int dim = p->n_embd / count_at(p, "attention.head_count", 0, 1, NEEDED);
    dim = count(p, "attention.key_length", 1, dim);
    struct turns t = turns(p, read_rope(p, dim), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        struct heads hd = read_heads_at(p, il);
        x = add(x, normed_attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, gated(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}

/* What a layer without a width may have in the file all the same. */
static void deci_layer_of_nothing(struct plan *p) {
    static const char *const names[] = {"attn_norm.weight",   "attn_q.weight",
                                        "attn_k.weight",      "attn_v.weight",
                                        "attn_output.weight", "ffn_norm.weight"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) unused(p, names[i]);
}

/* DeciLM 7B, Llama-Nemotron 51B, 49B and 253B (arXiv 2411.19146, 2505.00949): llamas of which a
 * search has taken layers apart. Some have no attention, some a mere matrix in its place, some do
 * nothing at all; heads and widths are each layer's own. */
void deci(struct plan *p) {
    rms(p);
    int dim = count_at(p, "attention.head_count", 0, 0, NEEDED);
    dim = count(p, "attention.key_length", 1, dim > 0 ? p->n_embd / dim : NEEDED);
    struct turns t = turns(p, read_rope(p, dim), NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        int n = count_at(p, "attention.head_count", il, 0, NEEDED);
        int n_kv = count_at(p, "attention.head_count_kv", il, 0, n);
        if (count_at(p, "feed_forward_length", il, 0, NEEDED) == 0) {
            deci_layer_of_nothing(p);
            continue;
        }
        if (n > 0 && n_kv == 0) {
            x = add(x, product(norm(x, "attn_norm"), "attn_output", x.n));
        } else if (n > 0) {
            struct heads hd = read_heads_at(p, il);
            x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        }
        x = add(x, gated(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}

static value weighed_on_input(value h) {
    struct plan *p = h.p;
    struct gating g = {.gate = SIGMOID_OF_CHOSEN, .scale = 1};
    int n_ff = expert_width(p);
    struct choice c = choose(product(h, "ffn_gate_inp", p->n_expert), p->n_expert_used, g);
    c.on_input = true;
    value y = chosen_experts(h, &c, SILU);
    return add(y, shared_expert(h, n_ff, SILU));
}

/* Llama 4 Scout and Maverick (2025, no arXiv number): of four layers three turn and see a chunk of
 * 8192 positions, the fourth does neither (iRoPE), but its queries have a temperature that grows
 * with the position. Queries and keys are normed after rope, but not in the model of 128 experts. A
 * token has one expert, whose weight is for what it reads, and a shared one. A window of 0 in the
 * file: no chunks, all turn. */
void llama4(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    bool chunked = count(p, "attention.sliding_window", 0, 8192) > 0, normed = p->n_expert != 128;
    int chunk = 8192, each = count(p, "interleave_moe_layer_step", 1, NEEDED);
    struct turns t = turns(p, read_rope(p, hd.dim_k), NEIGHBOURS);
    value temper = chunked ? temperature(p, 0.1f, chunk, 1) : NO_VALUE;
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        bool far = (il + 1) % 4 == 0 && chunked;
        struct qkv a = qkv(norm(x, "attn_norm"), &hd);
        if (far) {
            a.q = mul(a.q, temper);
        } else {
            a.q = rope(a.q, t);
            a.k = rope(a.k, t);
            if (normed) a.q = head_norm(a.q, NULL);
            if (normed) a.k = head_norm(a.k, NULL);
        }
        cache kv = far || !chunked ? remember(a.k, a.v, 0) : remember_chunks(a.k, a.v, chunk);
        x = add(x, product(attend(a.q, kv, &hd), "attn_output", x.n));
        value h = norm(x, "ffn_norm");
        x = add(x, (il + 1) % each ? gated(h, SILU) : weighed_on_input(h));
    }
    logits(head(x));
}

/* SmolLM3 (2025, no arXiv number). Every fourth layer goes without rope (NoPE, arXiv 2501.18795).
 */
void smollm3(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        bool nope = (il + 1) % 4 == 0;
        x = add(x, attention(norm(x, "attn_norm"), &hd, nope ? NO_TURNS : t, 0));
        x = add(x, feed_forward(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}

/* Seed-OSS (2025, no arXiv number). A llama whose second norm has another name in the files. */
void seed_oss(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, gated(norm(x, "post_attention_norm"), SILU));
    }
    logits(head(x));
}

static float softplus(float x) {
    return x > 20 ? x : (float)elementary_log1p(elementary_exp((double)x));
}

/* What the file says of layer il's function: its alphas before they are made positive. */
static struct xielu read_xielu(struct plan *p, int il) {
    float least = -FLT_MAX, needed = -INFINITY;
    struct xielu f = {.beta = number_at(p, "/xielu.beta", il, least, needed),
                      .eps = number_at(p, "/xielu.eps", il, least, needed)};
    f.alpha_p = softplus(number_at(p, "/xielu.alpha_p", il, least, needed));
    f.alpha_n = f.beta + softplus(number_at(p, "/xielu.alpha_n", il, least, needed));
    return f;
}

/* Apertus (arXiv 2509.14233): feed-forwards without gates, of xIELU, whose bends each layer has
 * learned; norms of queries and keys. */
void apertus(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    int n_ff = count(p, "feed_forward_length", 1, NEEDED);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, normed_attention(norm(x, "attn_norm"), &hd, t, 0));
        value u = product(norm(x, "ffn_norm"), "ffn_up", n_ff);
        x = add(x, product(xielu(u, read_xielu(p, il)), "ffn_down", x.n));
    }
    logits(head(x));
}
