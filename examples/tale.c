// usage: tale MODEL.gguf [TEXT]: goes on with the text, up to 100 tokens.
#include <kq.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    const char *text = argc > 2 ? argv[2] : "Once upon a time";
    kq_error err = {KQ_OK, ""};
    kq_model *model = NULL;
    kq_engine *engine = NULL;
    kq_seq *seq = NULL;
    kq_sampler *sampler = NULL;
    kq_sampler_params params = {.size = sizeof params, .temp = 0.7f, .top_p = 0.9f, .seed = 1};
    int32_t ids[1024], id;
    size_t n = 900; // the prompt's part of ids
    const float *logits;
    char piece[64];
    if (kq_model_open(&model, argc > 1 ? argv[1] : NULL, &err) == KQ_OK &&
        kq_engine_open(&engine, model, NULL, &err) == KQ_OK &&
        kq_seq_open(&seq, engine, 1024, &err) == KQ_OK &&
        kq_sampler_open(&sampler, model, &params, &err) == KQ_OK &&
        kq_encode(model, text, strlen(text), KQ_ADD_BOS, ids, &n, &err) == KQ_OK) {
        kq_run run = {seq, ids, n, 1}; // first the prompt, then token by token
        for (int i = 0; i < 100 && kq_eval(engine, &run, 1, &err) == KQ_OK; i++) {
            if (!(logits = kq_logits(engine, 0, 0, &err))) break;
            id = kq_sampler_pick(sampler, logits, ids, n, &err);
            if (id < 0 || kq_is_eog(model, id)) break;
            size_t len = kq_piece(model, id, piece, sizeof piece);
            fwrite(piece, 1, len < sizeof piece ? len : sizeof piece, stdout);
            ids[n] = id;
            run = (kq_run){seq, &ids[n++], 1, 1};
        }
        putchar('\n');
    }
    if (err.status != KQ_OK) fprintf(stderr, "tale: %s\n", err.text);
    kq_sampler_close(sampler);
    kq_seq_close(seq);
    kq_engine_close(engine);
    kq_model_close(model);
    return err.status != KQ_OK;
}
