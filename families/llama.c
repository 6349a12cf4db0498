/* Llama, and the models that are built like it. */
#include "families.h"
#include "parts.h"

/* Llama 1 to 3 (arXiv 2302.13971, 2307.09288, 2407.21783), Mistral (2310.06825), Mixtral with its
 * experts (2401.04088), TinyLlama, SmolLM2, Yi; under names of their own InternLM 2 (2403.17297),
 * XVERSE, ERNIE 4.5, Ministral 3. RMS norms in front of the branches, rotary positions, a gated
 * feed-forward, heads that share keys and values. Converters have permuted the rows of W_q and W_k
 * so that neighbours turn together. */
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

/* SmolLM3. Every fourth layer goes without rope (NoPE, arXiv 2501.18795). */
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

/* Orion 14B (arXiv 2401.12246). A llama with LayerNorm, which has biases. */
void orion(struct plan *p) {
    centred(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, gated(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}

/* Seed-OSS. A llama whose second norm has another name in the files. */
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

/* Hunyuan 1.8 B to 7 B. Queries and keys have norms, and those come after rope. */
void hunyuan_dense(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        struct qkv a = qkv(norm(x, "attn_norm"), &hd);
        a.q = head_norm(rope(a.q, t), "attn_q_norm");
        a.k = head_norm(rope(a.k, t), "attn_k_norm");
        value o = attend(a.q, remember(a.k, a.v, 0), &hd);
        x = add(x, product(o, "attn_output", x.n));
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

/* Llama 4 Scout and Maverick: of four layers three turn and see a chunk of 8192 positions, the
 * fourth does neither (iRoPE), but its queries have a temperature that grows with the position.
 * Queries and keys are normed after rope, but not in the model of 128 experts. A token has one
 * expert, whose weight is for what it reads, and a shared one. A window of 0 in the file: no
 * chunks, all turn. */
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
