/* OpenAI's. */
#include "families.h"
#include "parts.h"

/* gpt-oss 20B and 120B (arXiv 2508.10925): windows in every other layer, attention sinks
 * (2309.17453), experts and a router with biases, a SwiGLU with limits. */
void gpt_oss(struct plan *p) {
    static const char *const biases[] = {"ffn_gate_inp.bias", "ffn_gate_exps.bias",
                                         "ffn_up_exps.bias", "ffn_down_exps.bias"};
    rms(p);
    struct heads hd = read_heads(p);
    struct windows w = read_windows(p, 2, 0);
    struct rope r = read_rope(p, hd.dim_k);
    struct turns far = turns(p, r, HALVES);
    struct turns near = w.n ? turns(p, near_rope(p, r), HALVES) : far;
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        int window = window_at(&w, il);
        hd.sinks = vector(p, "attn_sinks", hd.n);
        x = add(x, attention(norm(x, "attn_norm"), &hd, window ? near : far, window));
        for (int i = 0; i < 4; i++) need(p, biases[i]);
        x = add(x, experts(norm(x, "post_attention_norm"), MIXTRAL, SWIGLU_OAI));
    }
    logits(head(x));
}
