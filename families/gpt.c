/* OpenAI's, and what was built like them. */
#include "families.h"
#include "parts.h"

/* GPT-2 (2019, no arXiv number), Cerebras-GPT (arXiv 2304.03208); with one head of keys and values
 * for all queries (1911.02150) SantaCoder (2301.03988) and StarCoder (2305.06161). LayerNorm moved
 * to the front of each branch, which all who came later kept; a learned vector for each position,
 * which only few did. */
void gpt2(struct plan *p) {
    centred(p);
    need_biases(p, NORMS_AND_PRODUCTS);
    struct heads hd = read_heads(p);
    value x = embed(p, "token_embd", p->n_embd, 1);
    x = add(x, learned_positions(p, "position_embd", p->n_embd));
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, NO_TURNS, 0));
        x = add(x, ungated(norm(x, "ffn_norm"), gelu));
    }
    logits(head(x));
}

/* StarCoder 2 (arXiv 2402.19173), CodeShell (2403.15747): GPT-2 with rope in the place of learned
 * positions, and heads that share keys and values. Some files of CodeShell have the output matrix
 * alone and mean it for both ends. */
void starcoder2(struct plan *p) {
    centred(p);
    need_biases(p, NORMS_AND_PRODUCTS);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, has(p, "token_embd") ? "token_embd" : "output", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, ungated(norm(x, "ffn_norm"), gelu));
    }
    logits(head(x));
}

/* gpt-oss 20B and 120B (arXiv 2508.10925): windows in every other layer, attention sinks
 * (2309.17453), experts and a router with biases, a SwiGLU with limits. */
void gpt_oss(struct plan *p) {
    static const char *const biases[] = {"attn_output.bias", "ffn_gate_inp.bias",
                                         "ffn_gate_exps.bias", "ffn_up_exps.bias",
                                         "ffn_down_exps.bias"};
    rms(p);
    struct heads hd = read_heads(p);
    struct windows w = read_windows(p, 2, NEEDED);
    struct rope r = read_rope(p, hd.dim_k);
    struct turns far = turns(p, r, HALVES);
    struct turns near = w.n ? turns(p, near_rope(p, r), HALVES) : far;
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        int window = window_at(&w, il);
        hd.sinks = vector(p, "attn_sinks", hd.n);
        x = add(x, attention(norm(x, "attn_norm"), &hd, window ? near : far, window));
        for (int i = 0; i < 5; i++) need(p, biases[i]);
        x = add(x, experts(norm(x, "post_attention_norm"), MIXTRAL, SWIGLU_OAI));
    }
    logits(head(x));
}
