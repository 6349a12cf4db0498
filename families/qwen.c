/* Qwen, and what turns halves of a head as it does. */
#include "families.h"
#include "parts.h"

/* Qwen 2 and 2.5 (arXiv 2407.10671, 2412.15115): queries, keys and values have biases. As qwen2vl
 * the text of Qwen2-VL (2409.12191): its rotary sections all have the same position in a text. As
 * phi3 Phi-3 and Phi-4 (2404.14219), with longrope; as exaone EXAONE 3 (2408.03541). */
void qwen2(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, feed_forward(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}

/* Qwen 3 (arXiv 2505.09388), with experts as qwen3moe; the text of Qwen3-VL. No biases, but norms
 * of each head's queries and keys. */
void qwen3(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        struct qkv a = qkv(norm(x, "attn_norm"), &hd);
        a.q = rope(head_norm(a.q, "attn_q_norm"), t);
        a.k = rope(head_norm(a.k, "attn_k_norm"), t);
        value o = attend(a.q, remember(a.k, a.v, 0), &hd);
        x = add(x, product(o, "attn_output", x.n));
        x = add(x, feed_forward(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}
