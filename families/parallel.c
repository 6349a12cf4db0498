/* Models whose attention and feed-forward stand side by side, as GPT-J's do: both read the layer's
 * input, and their sum is added to it. */
#include "families.h"
#include "parts.h"

/* GPT-NeoX 20B (arXiv 2204.06745), Pythia (2304.01373), Dolly 2: a norm for each branch, rope for a
 * quarter of each head. RedPajama-INCITE has the branches one after the other. */
void gptneox(struct plan *p) {
    centred(p);
    need_biases(p, NORMS_AND_PRODUCTS);
    struct heads hd = read_heads(p);
    need_key(p, "use_parallel_residual");
    bool parallel = flag(p, "use_parallel_residual", true);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        value y = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(y, ungated(norm(parallel ? x : y, "ffn_norm"), gelu));
    }
    logits(head(x));
}

/* Falcon 7B, 40B and 180B (arXiv 2311.16867), trained on the web alone (2306.01116): few heads of
 * keys and values, no biases. 7B has one norm for both branches, the others one for each. */
void falcon(struct plan *p) {
    centred(p);
    need_biases(p, NORMS);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        value h = norm(x, "attn_norm");
        value g = has(p, "attn_norm_2") ? norm(x, "attn_norm_2") : h;
        x = add(add(x, attention(g, &hd, t, 0)), ungated(h, gelu));
    }
    logits(head(x));
}

/* Phi 1, 1.5 and 2 (arXiv 2306.11644, 2309.05463), small models of textbooks: one norm for both
 * branches, biases everywhere, in the output matrix too. */
void phi2(struct plan *p) {
    centred(p);
    need_biases(p, NORMS_AND_PRODUCTS);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        value h = norm(x, "attn_norm");
        x = add(add(x, attention(h, &hd, t, 0)), ungated(h, gelu));
    }
    need(p, "output.bias");
    logits(head(x));
}

/* PLaMo 13B (2023, no arXiv number), English and Japanese. A llama whose branches share one norm.
 */
void plamo(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        value h = norm(x, "attn_norm");
        x = add(add(x, attention(h, &hd, t, 0)), gated(h, SILU));
    }
    logits(head(x));
}

/* StableLM 3B and 2 (arXiv 2402.17834), Stable Code. A llama with LayerNorm and rope for a quarter
 * of each head; 12B has a norm for each head of queries and keys, with weights of its own, and one
 * norm in front of both branches. */
void stablelm(struct plan *p) {
    centred(p);
    need_biases(p, NORMS);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        value h = norm(x, "attn_norm");
        struct qkv a = qkv(h, &hd);
        bool normed = has(p, "attn_q_norm");
        a.q = rope(normed ? group_norm(a.q, "attn_q_norm") : a.q, t);
        a.k = rope(normed ? group_norm(a.k, "attn_k_norm") : a.k, t);
        value o = attend(a.q, remember(a.k, a.v, 0), &hd);
        x = add(x, product(o, "attn_output", x.n));
        x = add(x, gated(has(p, "ffn_norm") ? norm(x, "ffn_norm") : h, SILU));
    }
    logits(head(x));
}
