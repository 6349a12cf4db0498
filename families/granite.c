/* Models with scales of their own for the embedding, the residual branches, attention and logits
 * (after muP, arXiv 2203.03466). */
#include <math.h>
#include <string.h>

#include "families.h"
#include "parts.h"

/* A llama, or mixture of experts, with the scales. */
static void scaled_llama(struct plan *p, float embedding, float residual, float divisor) {
    rms(p);
    struct heads hd = read_heads(p);
    float scale = number(p, "attention.scale", 0, 0);
    if (scale > 0) hd.scale = scale;
    int n_shared = p->n_expert > 0 ? shared_width(p) : 0;
    /* llama.cpp asks this key of dense Granite alone. */
    bool turned = strcmp(p->arch, "granite") != 0 || flag(p, "rope.scaling.finetuned", true);
    struct rope r = read_rope(p, hd.dim_k);
    struct turns t = turned ? turns(p, r, NEIGHBOURS) : NO_TURNS;
    value x = embed(p, "token_embd", p->n_embd, embedding);
    for (int il = 0; layer(p, il); il++) {
        x = add_scaled(x, attention(norm(x, "attn_norm"), &hd, t, 0), residual);
        value h = norm(x, "ffn_norm");
        value y = feed_forward(h, SILU);
        if (n_shared > 0) y = add(y, shared_expert(h, n_shared, SILU));
        x = add_scaled(x, y, residual);
    }
    logits(scaled(head(x), divisor > 0 ? 1 / divisor : 1));
}

/* MiniCPM (arXiv 2404.06395). Files of early 2024 do not say the scales; these are llama.cpp's. */
void minicpm(struct plan *p) {
    float embedding = number(p, "embedding_scale", 0, 12);
    float residual = number(p, "residual_scale", 0, 1.4f / sqrtf((float)p->n_layer));
    scaled_llama(p, embedding, residual, number(p, "logit_scale", 0, 256.0f / (float)p->n_embd));
}

/* Granite 3 (arXiv 2405.04324), with experts as granitemoe. */
void granite(struct plan *p) {
    float embedding = number(p, "embedding_scale", 0, 1),
          residual = number(p, "residual_scale", 0, 1);
    scaled_llama(p, embedding, residual, number(p, "logit_scale", 0, NEEDED));
}

/* MiniCPM 3 (2024, no arXiv number). Latent attention (deepseek.c), and multipliers that are not in
 * the file. */
void minicpm3(struct plan *p) {
    rms(p);
    struct latent l = read_latent(p);
    float residual = 1.4f / sqrtf((float)p->n_layer);
    struct turns t = turns(p, read_rope(p, l.n_rope), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 12);
    for (int il = 0; layer(p, il); il++) {
        x = add_scaled(x, latent_attention(norm(x, "attn_norm"), &l, t, NO_VALUE), residual);
        x = add_scaled(x, gated(norm(x, "ffn_norm"), SILU), residual);
    }
    logits(scaled(head(x), 256.0f / (float)p->n_embd));
}
