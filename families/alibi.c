/* Models without positions but in attention: scores fall with the distance (ALiBi, arXiv
 * 2108.12409).
 */
#include "families.h"
#include "parts.h"

/* BLOOM and BLOOMZ (arXiv 2211.05100, 2211.01786). A norm behind the embedding, which kept the
 * training stable. */
void bloom(struct plan *p) {
    centred(p);
    need_biases(p, NORMS_AND_PRODUCTS);
    struct heads hd = read_heads(p);
    hd.alibi = 8;
    value x = norm(embed(p, "token_embd", p->n_embd, 1), "token_embd_norm");
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, NO_TURNS, 0));
        x = add(x, ungated(norm(x, "ffn_norm"), gelu));
    }
    logits(head(x));
}

/* MPT 7B and 30B, Replit Code (2023, no arXiv number). No biases; queries, keys and values within
 * limits (StoryWriter). The same code was trained with norms of queries and keys over all heads
 * (SEA-LION), and with learned positions instead of ALiBi. */
void mpt(struct plan *p) {
    centred(p);
    struct heads hd = read_heads(p);
    hd.alibi = number(p, "attention.max_alibi_bias", 0, 0);
    float most = number(p, "attention.clamp_kqv", 0, 0);
    value x = embed(p, "token_embd", p->n_embd, 1);
    if (has(p, "position_embd")) x = add(x, learned_positions(p, "position_embd", p->n_embd));
    for (int il = 0; layer(p, il); il++) {
        struct qkv a = limited(qkv(norm(x, "attn_norm"), &hd), most);
        if (has(p, "attn_q_norm")) {
            a.q = heads(norm(a.q, "attn_q_norm"), hd.dim_k);
            a.k = heads(norm(a.k, "attn_k_norm"), hd.dim_k);
        }
        value o = attend(a.q, remember(a.k, a.v, 0), &hd);
        x = add(x, product(o, "attn_output", x.n));
        x = add(x, ungated(norm(x, "ffn_norm"), gelu));
    }
    logits(head(x));
}

/* Baichuan and Baichuan 2 (arXiv 2309.10305): 7B turns as llama does, 13B has ALiBi. Files do not
 * say which; the number of layers does. */
void baichuan(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct rope r = read_rope(p, hd.dim_k);
    if (p->n_layer != 32 && p->n_layer != 40) {
        PLAN_FAIL(p, KQ_UNSUPPORTED, "%s of %d layers: with 32 it has rope, with 40 ALiBi", p->arch,
                  p->n_layer);
    }
    hd.alibi = p->n_layer == 40 ? 8 : 0;
    struct turns t = p->n_layer == 32 ? turns(p, r, NEIGHBOURS) : NO_TURNS;
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, gated(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}

/* Jais (arXiv 2308.16149), Arabic and English. Its shape was found on small models and carried over
 * to large ones (muP, 2203.03466), for which scores are divided by the head's size, not its root;
 * a gated feed-forward with biases. */
void jais(struct plan *p) {
    centred(p);
    need_biases(p, NORMS_AND_PRODUCTS);
    struct heads hd = read_heads(p);
    hd.scale = 1.0f / (float)hd.dim_k;
    hd.alibi = number(p, "attention.max_alibi_bias", 0, NEEDED);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, NO_TURNS, 0));
        x = add(x, gated(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}

/* Refact 1.6 B (2023, no arXiv number), for completing code: all queries share one head of keys and
 * values, and the rest is a llama. */
void refact(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    hd.alibi = 8;
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, NO_TURNS, 0));
        x = add(x, gated(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}
