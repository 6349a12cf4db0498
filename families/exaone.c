/* EXAONE, of LG; 3 is a llama that turns halves (qwen2 in qwen.c). */
#include "families.h"
#include "parts.h"

/* EXAONE 4 (arXiv 2507.11407): norms behind the branches and none in front, as OLMo 2 has them, and
 * of each head's queries and keys. The model of 64 layers (32B) has windows in three of four
 * layers, and there the others go without rope. */
void exaone4(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    bool windowed = p->n_layer == 64;
    struct windows w = {0};
    if (windowed) w = read_windows(p, 4, 4096);
    struct rope r = read_rope(p, hd.dim_k);
    struct turns t = turns(p, windowed ? near_rope(p, r) : r, HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        int window = window_at(&w, il);
        struct turns mine = windowed && !window ? NO_TURNS : t;
        struct qkv a = qkv(x, &hd);
        a.q = rope(head_norm(a.q, "attn_q_norm"), mine);
        a.k = rope(head_norm(a.k, "attn_k_norm"), mine);
        value o = attend(a.q, remember(a.k, a.v, window), &hd);
        x = add(x, norm(product(o, "attn_output", x.n), "post_attention_norm"));
        x = add(x, norm(gated(x, SILU), "post_ffw_norm"));
    }
    logits(head(x));
}

/* EXAONE MoE (K-EXAONE, arXiv 2601.01739): DeepSeek-V3's experts; layers with a window turn, the
 * others do not. */
void exaone_moe(struct plan *p) {
    rms(p);
    skip_prediction(p);
    struct heads hd = read_heads(p);
    struct gating g = read_gating(p, SIGMOID, false);
    int n_dense = count(p, "leading_dense_block_count", 0, 0);
    struct windows w = read_windows(p, 4, NEEDED);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        int window = window_at(&w, il);
        struct turns mine = window ? t : NO_TURNS;
        x = add(x, normed_attention(norm(x, "attn_norm"), &hd, mine, window));
        value h = norm(x, "ffn_norm");
        x = add(x, il < n_dense ? gated(h, SILU) : deepseek_moe(h, g));
    }
    logits(head(x));
}
