/* An answer is taken apart into thoughts and text: with marks that are text, tokens of users or
 * control tokens, opened by the prompt or by the answer, and cut off anywhere. */
#include "gguf_build.h"

#include "cli/thoughts.h"
#include "test.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct {
    const char *text;
    int32_t type; // 1 normal, 3 control, 4 user-defined
} words[] = {
    {"<think>", 4},
    {"</think>", 4},
    {"[THINK]", 3},
    {"[/THINK]", 3},
    {"<|channel|>", 3},
    {"<|message|>", 3},
    {"<|start|>", 3},
    {"<|end|>", 3},
    {"<|call|>", 3},
    {"<|return|>", 3},
    {"<tool_call>", 3},
    {"<|START_RESPONSE|>", 3},
    {"<|START_THINKING|>", 3},
    {"<|END_THINKING|>", 3},
    {"<|channel>", 4},
    {"<channel|>", 4},
    {"\xe2\x96\x81", 1},
};

static struct gguf gguf;
static struct session session;

static uint8_t *file; // what gguf was parsed from

static void open_vocabulary(void) {
    static char bytes[256][8];
    const char *texts[3 + COUNT(words) + 256] = {"<unk>", "<s>", "</s>"};
    int32_t types[COUNT(texts)] = {2, 3, 3};
    float scores[COUNT(texts)] = {0};
    struct gguf_build b = {0};
    struct error err;
    size_t n = 3, size;
    for (size_t i = 0; i < COUNT(words); i++, n++) {
        texts[n] = words[i].text;
        types[n] = words[i].type;
    }
    for (size_t i = 0; i < 256; i++, n++) {
        snprintf(bytes[i], sizeof bytes[i], "<0x%02X>", (unsigned)i);
        texts[n] = bytes[i];
        types[n] = 6;
    }
    build_str(&b, "tokenizer.ggml.model", "llama");
    build_bool(&b, "tokenizer.ggml.add_space_prefix", false);
    build_strs(&b, "tokenizer.ggml.tokens", n, texts);
    build_i32s(&b, "tokenizer.ggml.token_type", n, types);
    build_f32s(&b, "tokenizer.ggml.scores", n, scores);
    file = build_file(&b, &size);
    if (gguf_parse(&gguf, file, size, &err) != 0 ||
        !(session.tokenizer = tokenizer_open(&gguf, &err)) ||
        !(session.piece = malloc(tokenizer_piece_max(session.tokenizer) + 1))) {
        printf("%s\n", err.text);
        exit(1);
    }
    build_free(&b);
}

static void check(const char *prompt, const char *said, const char *thoughts, const char *text,
                  bool control) {
    struct answer a;
    struct error err;
    session.tokens.n = 0;
    tokenizer_encode(session.tokenizer, "prompt", 6, false, true, &session.tokens, &err);
    session.n_prompt = session.tokens.n;
    tokenizer_encode(session.tokenizer, said, strlen(said), false, true, &session.tokens, &err);
    const struct thought_marks *opened = thoughts_opened(prompt, strlen(prompt));
    CHECK(read_answer(&session, opened, &a) == 0, "\"%s\" cannot be read", said);
    CHECK(a.text_len == strlen(text) && memcmp(a.text, text, a.text_len) == 0,
          "\"%s\": text \"%.*s\", expected \"%s\"", said, (int)a.text_len, a.text, text);
    CHECK(a.whole_len >= a.text_len + a.thoughts_len, "\"%s\": the whole is \"%.*s\"", said,
          (int)a.whole_len, a.whole);
    CHECK(!a.thoughts == !thoughts, "\"%s\": thoughts or none?", said);
    if (a.thoughts && thoughts) {
        CHECK(a.thoughts_len == strlen(thoughts) &&
                  memcmp(a.thoughts, thoughts, a.thoughts_len) == 0,
              "\"%s\": thoughts \"%.*s\", expected \"%s\"", said, (int)a.thoughts_len, a.thoughts,
              thoughts);
        CHECK(a.marks_are_control == control, "\"%s\": marks are control tokens: %d", said,
              a.marks_are_control);
    }
    free_answer(&a);
}

static void test_answers(void) {
    check("", "", NULL, "", false);
    check("", "Hello", NULL, "Hello", false);
    check("", " Hello\n", NULL, " Hello\n", false);
    check("", "a <think>b</think> c", NULL, "a <think>b</think> c", false);
    check("", "<think>\nWhy?\n</think>\n\nSo.\n", "Why?", "So.\n", false);
    check("", "\n<think>Why?</think>So.", "Why?", "So.", false);
    check("", "<think>\n\n</think>\n\nSo.", "", "So.", false);
    check("", "<think>\nWhy", "Why", "", false);
    check("", "<think>", "", "", false);
    check("user\n<think>\n", "Why?\n</think>\n\nSo.", "Why?", "So.", false);
    check("user\n<think>", "</think>So.", "", "So.", false);
    check("user\n<think>\n", "Why", "Why", "", false);
    check("user\n<think>\n\n</think>\n\n", "So.", NULL, "So.", false);
    check("a<think>b", "So.", NULL, "So.", false);
    check("", "[THINK]Why?[/THINK]So.", "Why?", "So.", true);
    check("", "[THINK]Why?", "Why?", "", true);
    check("[THINK]", "Why?[/THINK]So.", "Why?", "So.", true);
    check("<|START_THINKING|>", "Why?<|END_THINKING|><|START_RESPONSE|>So.", "Why?", "So.", true);
    check("<seed:think>", "Why?</seed:think>So.", "Why?", "So.", false);
    check("", "<|channel>thought\nWhy?\n<channel|>So.", "Why?", "So.", false);
    check("", "Call <tool_call>x", NULL, "Call x", false);
    check("", "<think>a<tool_call>b</think>c<tool_call>d", "ab", "cd", false);
}

static void test_harmony(void) {
    static const char prompt[] = "<|start|>assistant";
    check(
        prompt,
        "<|channel|>analysis<|message|>Why?<|end|><|start|>assistant<|channel|>final<|message|>So.",
        "Why?", "So.", false);
    check(prompt, "<|channel|>final<|message|>So.", NULL, "So.", false);
    check(prompt, "<|channel|>analysis<|message|>Why", "Why", "", false);
}

static void test_shown(void) {
    static const char *const shown[] = {"[THINK]", "[/THINK]", "<|END_THINKING|>"};
    static const char *const not_shown[] = {"</s>", "<tool_call>", "<|im_end|>", "", "<", "[]"};
    for (size_t i = 0; i < COUNT(shown); i++) {
        CHECK(is_thought_mark((struct gguf_str){shown[i], strlen(shown[i])}), "%s", shown[i]);
    }
    for (size_t i = 0; i < COUNT(not_shown); i++) {
        CHECK(!is_thought_mark((struct gguf_str){not_shown[i], strlen(not_shown[i])}), "%s",
              not_shown[i]);
    }
}

int main(void) {
    open_vocabulary();
    test_answers();
    test_harmony();
    test_shown();
    token_list_free(&session.tokens);
    free(session.piece);
    tokenizer_close(session.tokenizer);
    gguf_close(&gguf);
    free(file);
    return test_done("test_thoughts");
}
