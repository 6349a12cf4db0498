/* DeepSeek, and what is built like its models. */
#include "../elementary.h"
#include "families.h"
#include "parts.h"

/* DeepSeekMoE 16B (arXiv 2401.06066): many small experts, some of which every token uses; the first
 * layer is dense. */
void deepseek(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct gating g = {.gate = SOFTMAX, .scale = expert_scale(p)};
    int n_dense = count(p, "leading_dense_block_count", 0, 0);
    struct turns t = turns(p, read_rope(p, hd.dim_k), NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        value h = norm(x, "ffn_norm");
        x = add(x, il < n_dense ? gated(h, SILU) : deepseek_moe(h, g));
    }
    logits(head(x));
}

/* How YaRN's magnitude is shared out: with a multiplier, cosines and sines keep their size, and
 * scores get it, squared; older files have none, and both get it. */
static float magnitude_of_scores(struct plan *p, struct rope *r) {
    if (r->scaling == ROPE_NONE) return r->attn_factor;
    if (r->scaling != ROPE_YARN) {
        PLAN_FAIL(p, KQ_UNSUPPORTED, "%s.rope.scaling.type is not yarn", p->arch);
    }
    double multiplier = (double)r->log_multiplier * 10; // files have a tenth of it
    r->log_multiplier = multiplier > 0 ? 1 : 0;
    if (!(multiplier > 0)) multiplier = 1;
    return r->attn_factor * (float)(1 + multiplier * 0.1 * elementary_log((double)r->factor));
}

/* DeepSeek V2, V3 and R1 (arXiv 2405.04434, 2412.19437, 2501.12948), Kimi K2 (2507.20534), GLM-4.7
 * Flash: latent attention; from V3 on sigmoid scores, a bias of the choice and groups of experts.
 */
void deepseek2(struct plan *p) {
    rms(p);
    skip_prediction(p);
    struct latent l = read_latent(p);
    struct rope r = read_rope(p, l.n_rope);
    float magnitude = magnitude_of_scores(p, &r);
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

/* dots.llm1 (arXiv 2506.05767). DeepSeek-V3's experts with attention in heads, whose queries and
 * keys have norms. */
void dots1(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct gating g = read_gating(p, SIGMOID, false);
    int n_dense = count(p, "leading_dense_block_count", 0, 0);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, normed_attention(norm(x, "attn_norm"), &hd, t, 0));
        value h = norm(x, "ffn_norm");
        x = add(x, il < n_dense ? gated(h, SILU) : deepseek_moe(h, g));
    }
    logits(head(x));
}
