/* Nemotron, of NVIDIA: feed-forwards without gates, of squared ReLUs (arXiv 2109.08668). */
#include "families.h"
#include "parts.h"

static void squared_relu_llama(struct plan *p) {
    centred(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, ungated(norm(x, "ffn_norm"), relu_squared));
    }
    logits(head(x));
}

/* Nemotron-4 (arXiv 2402.16819) and Minitron, its pruned kin (2407.14679): LayerNorm; half of each
 * head turns. */
void nemotron(struct plan *p) {
    need_biases(p, NORMS);
    squared_relu_llama(p);
}

/* Jais 2 (2025, no arXiv number): the same with biases everywhere, and heads turn as a whole. */
void jais2(struct plan *p) {
    need_biases(p, NORMS_AND_PRODUCTS);
    squared_relu_llama(p);
}

/* Experts without gates; in Nemotron 3 Super in a smaller space than the router and the shared one.
 */
static value nemotron_moe(value h, struct gating g, int n_latent) {
    struct plan *p = h.p;
    int n_ff = expert_width(p);
    int n_shared = count(p, "expert_shared_feed_forward_length", 1, NEEDED);
    g.bias = vector_named(p, "exp_probs_b.bias", p->n_expert);
    struct choice c = choose(product(h, "ffn_gate_inp", p->n_expert), p->n_expert_used, g);
    value z = n_latent ? product(h, "ffn_latent_down", n_latent) : h;
    z = experts_begin(z, &c);
    value u = relu_squared(product(z, "ffn_up_exps", n_ff));
    value y = experts_end(product(u, "ffn_down_exps", z.n), &c);
    if (n_latent) y = product(y, "ffn_latent_up", h.n);
    u = relu_squared(product(h, "ffn_up_shexp", n_shared));
    return add(y, product(u, "ffn_down_shexp", h.n));
}

/* Nemotron-H (arXiv 2504.03624), Nemotron Nano 2 (2508.14444) and, with experts, Nemotron 3
 * (2512.20856): one mixer a layer, Mamba-2, attention without positions, or a feed-forward; which
 * one, the widths of heads and feed-forward say. */
void nemotron_h(struct plan *p) {
    rms(p);
    skip_prediction(p);
    struct gating g = {.gate = SIGMOID, .scale = expert_scale(p)};
    g.normed = flag(p, "expert_weights_norm", false);
    g.n_groups = count(p, "expert_group_count", 0, 0);
    g.n_groups_used = count(p, "expert_group_used_count", 0, 0);
    int n_latent = count(p, "moe_latent_size", 0, 0);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        value h = norm(x, "attn_norm"), y;
        int n_kv = count_at(p, "attention.head_count_kv", il, 0, NEEDED);
        int n_ff = count_at(p, "feed_forward_length", il, 0, NEEDED);
        if (n_ff == 0 && n_kv == 0) {
            need(p, "ssm_norm.weight");
            y = mamba2_mixer(h);
        } else if (n_ff == 0) {
            struct heads hd = read_heads_at(p, il);
            y = attention(h, &hd, NO_TURNS, 0);
        } else if (has(p, "ffn_gate_inp")) {
            y = nemotron_moe(h, g, n_latent);
        } else {
            y = ungated(h, relu_squared);
        }
        x = add(x, y);
    }
    logits(head(x));
}
