/* The models that run: a function for each general.architecture, which writes the model down. */
#ifndef FAMILIES_H
#define FAMILIES_H

#include "../build.h"

struct family {
    const char *arch, *models; // what its models are called
    void (*write)(struct plan *p);
};
extern const struct family families[]; // arch NULL at the end

/* What the plan of a small model of each architecture says (atlas.def; `make atlas` writes it): its
 * kinds of step, how far how many layers look back, and what a sequence remembers of 1,000 tokens,
 * in halves. */
struct sketch {
    const char *arch, *kinds, *sees, *remembers;
};
extern const struct sketch sketches[]; // arch NULL at the end

/* llama.c */
void llama(struct plan *p);
void orion(struct plan *p);
void deci(struct plan *p);
void openelm(struct plan *p);
void smollm3(struct plan *p);
void seed_oss(struct plan *p);
void apertus(struct plan *p);
void llama4(struct plan *p);
/* granite.c */
void granite(struct plan *p);
void minicpm(struct plan *p);
void minicpm3(struct plan *p);
/* qwen.c */
void qwen(struct plan *p);
void qwen2(struct plan *p);
void qwen2moe(struct plan *p);
void qwen3(struct plan *p);
void qwen3next(struct plan *p);
void qwen35(struct plan *p);
/* mamba.c */
void mamba(struct plan *p);
void jamba(struct plan *p);
void mamba2(struct plan *p);
void falcon_h1(struct plan *p);
void granite_hybrid(struct plan *p);
/* nemotron.c */
void nemotron(struct plan *p);
void jais2(struct plan *p);
void nemotron_h(struct plan *p);
/* plamo.c */
void plamo2(struct plan *p);
void plamo3(struct plan *p);
/* lfm.c */
void lfm2(struct plan *p);
/* gemma.c */
void gemma(struct plan *p);
void gemma2(struct plan *p);
void gemma3(struct plan *p);
void gemma3n(struct plan *p);
void gemma4(struct plan *p);
/* glm.c */
void chatglm(struct plan *p);
void glm4(struct plan *p);
void glm4moe(struct plan *p);
/* olmo.c */
void olmo(struct plan *p);
void olmo2(struct plan *p);
void olmoe(struct plan *p);
/* exaone.c */
void exaone4(struct plan *p);
void exaone_moe(struct plan *p);
/* gpt.c */
void gpt2(struct plan *p);
void starcoder2(struct plan *p);
void gpt_oss(struct plan *p);
/* parallel.c */
void gptneox(struct plan *p);
void falcon(struct plan *p);
void phi2(struct plan *p);
void plamo(struct plan *p);
void stablelm(struct plan *p);
/* alibi.c */
void bloom(struct plan *p);
void mpt(struct plan *p);
void refact(struct plan *p);
void baichuan(struct plan *p);
void jais(struct plan *p);
/* deepseek.c */
void deepseek(struct plan *p);
void deepseek2(struct plan *p);
void dots1(struct plan *p);
/* mistral.c */
void mistral4(struct plan *p);
void mistral3(struct plan *p);
/* hunyuan.c */
void hunyuan_moe(struct plan *p);
void hunyuan_dense(struct plan *p);
void hy_v3(struct plan *p);
/* bailing.c */
void bailingmoe(struct plan *p);
void bailingmoe2(struct plan *p);
/* cohere.c */
void command_r(struct plan *p);
void cohere2(struct plan *p);
void cohere2moe(struct plan *p);
/* kimi.c */
void kimi_linear(struct plan *p);
/* arcee.c */
void arcee(struct plan *p);
void afmoe(struct plan *p);
/* mixtures.c */
void phimoe(struct plan *p);
void ernie4_5_moe(struct plan *p);
void smallthinker(struct plan *p);
void grovemoe(struct plan *p);
void minimax_m2(struct plan *p);
void mimo2(struct plan *p);
void step35(struct plan *p);
void laguna(struct plan *p);
void mellum(struct plan *p);

#endif
