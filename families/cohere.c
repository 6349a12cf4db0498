/* Cohere: one norm in front of attention and feed-forward, which stand side by side (as in GPT-J);
 * LayerNorm without bias; logits are scaled. */
#include "families.h"
#include "parts.h"

static value scaled_head(value x) {
    return scaled(head(x), number(x.p, "logit_scale", 0, 1));
}

/* Command R and R+ (2024, no arXiv number), Aya 23 and Aya Expanse (arXiv 2405.15032, 2412.04261):
 * the output matrix is the embedding, times a scale; R+ has LayerNorms of each head's queries and
 * keys, with weights of its own. */
void command_r(struct plan *p) {
    centred(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        value h = norm(x, "attn_norm");
        struct qkv a = qkv(h, &hd);
        if (has(p, "attn_q_norm")) {
            a.q = group_norm(a.q, "attn_q_norm");
            a.k = group_norm(a.k, "attn_k_norm");
        }
        a.q = rope(a.q, t);
        a.k = rope(a.k, t);
        value o = attend(a.q, remember(a.k, a.v, 0), &hd);
        x = add(add(x, product(o, "attn_output", x.n)), gated(h, SILU));
    }
    logits(scaled_head(x));
}

/* Command R7B, Command A (arXiv 2504.00698): of four layers three have a window and turn, the
 * fourth sees all and has no positions. */
void cohere2(struct plan *p) {
    centred(p);
    struct heads hd = read_heads(p);
    need_key(p, "logit_scale");
    struct windows w = read_windows(p, 4, NEEDED);
    struct turns t = turns(p, read_rope(p, hd.dim_k), NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        int window = window_at(&w, il);
        value h = norm(x, "attn_norm");
        value a = attention(h, &hd, window ? t : NO_TURNS, window);
        x = add(add(x, a), gated(h, SILU));
    }
    logits(scaled_head(x));
}

/* Command A with experts (2026, no arXiv number): windows in all but the first of four layers,
 * which turn, as the leading dense layers do; the mean of the experts' sum and a shared one. */
void cohere2moe(struct plan *p) {
    centred(p);
    struct heads hd = read_heads(p);
    struct gating g = read_gating(p, SIGMOID, false);
    int n_dense = count(p, "leading_dense_block_count", 0, 0);
    need_key(p, "logit_scale");
    struct windows w = read_windows(p, 4, NEEDED);
    w.full_first = true;
    struct turns t = turns(p, read_rope(p, hd.dim_k), NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        int window = window_at(&w, il);
        bool dense = il < n_dense;
        value h = norm(x, "attn_norm");
        value a = attention(h, &hd, window || dense ? t : NO_TURNS, window);
        value y = dense ? gated(h, SILU) : scaled(deepseek_moe(h, g), 0.5f);
        x = add(add(x, a), y);
    }
    logits(scaled_head(x));
}
