/* Mistral, where it is not llama (llama.c). */
#include "../elementary.h"
#include "families.h"
#include "parts.h"

/* Ministral 3 (arXiv 2601.08584): llama with a temperature of queries that grows with the position
 * (after Llama 4). */
void mistral3(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct rope r = read_rope(p, hd.dim_k);
    struct turns t = turns(p, r, NEIGHBOURS);
    float scale = number(p, "attention.temperature_scale", 0, 0);
    value temper = scale > 0 ? temperature(p, scale, r.ctx_orig, 0) : NO_VALUE;
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        struct qkv a = qkv(norm(x, "attn_norm"), &hd);
        a.q = rope(a.q, t);
        a.k = rope(a.k, t);
        if (temper.id) a.q = mul(a.q, temper);
        value o = attend(a.q, remember(a.k, a.v, 0), &hd);
        x = add(x, product(o, "attn_output", x.n));
        x = add(x, feed_forward(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}

/* Mistral Small 4 (2026, no arXiv number): DeepSeek's latent attention and experts with that
 * temperature. Scores get all of YaRN's magnitude, squared, whatever part of it cosines and sines
 * have already. */
void mistral4(struct plan *p) {
    rms(p);
    struct latent l = read_latent(p);
    struct rope r = read_rope(p, l.n_rope);
    if (r.scaling != ROPE_NONE && r.scaling != ROPE_YARN) {
        PLAN_FAIL(p, KQ_UNSUPPORTED, "%s.rope.scaling.type is not yarn", p->arch);
    }
    float magnitude = r.attn_factor;
    if (r.scaling == ROPE_YARN) {
        magnitude *= (float)(1 + 0.1 * elementary_log((double)r.factor));
        r.log_multiplier *= 10; // files have a tenth of it
    }
    l.scale *= magnitude * magnitude;
    struct gating g = read_gating(p, SOFTMAX, false);
    int n_dense = count(p, "leading_dense_block_count", 0, 0);
    value temper = position_temper(p, r.ctx_orig);
    struct turns t = turns(p, r, NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, latent_attention(norm(x, "attn_norm"), &l, t, temper));
        value h = norm(x, "ffn_norm");
        x = add(x, il < n_dense ? gated(h, SILU) : deepseek_moe(h, g));
    }
    logits(head(x));
}
