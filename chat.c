#include "chat.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "json.h"

/* How a format writes the messages of one role ("*": of any other role; without that, messages of
 * other roles are left out). In the text,
 *   $r  is the role, $U the role in capitals, $R the role with a capital first letter;
 *   $c  is the content, $t the content without the white space around it;
 *   $s  is what the system messages that no $s has written yet contain, one after the other, and
 *       an empty line if that is anything ($S: each without the white space around it);
 *   $.  ends an exchange: a message that follows begins with `open`;
 *   $f  lets only the first message of a conversation have the rest, $l only the last. */
struct turn {
    const char *role;
    const char *text;
};

/* One row of the table. A template text asks for the first format of which it contains all `tells`
 * or all `or_tells` (after a ^: begins with); a format without tells is found by its name
 * only. What is NULL is not written. */
struct chat_format {
    const char *name;
    const char *tells[4], *or_tells[4];
    const char *start;     // before everything; unless NULL, it opens the first exchange
    const char *no_system; // next, if no system message comes first
    const char *open;      // before the first message of an exchange
    struct turn turns[5];
    const char *answer; // at the end: what the assistant continues
};

/* The formats, in the order in which they are tried. Names, tells, order and what is written agree
 * with llama.cpp's llama_chat_apply_template, so that a file gives the same prompt here and there.
 * proof: test_chat.c */
static const struct chat_format formats[] = {
    {
        .name = "phi4",
        .tells = {"<|im_start|>", "<|im_sep|>"},
        .turns = {{"*", "<|im_start|>$r<|im_sep|>$c<|im_end|>"}},
        .answer = "<|im_start|>assistant<|im_sep|>",
    },
    {
        .name = "smolvlm",
        .tells = {"<|im_start|>", "<end_of_utterance>"},
        .start = "<|im_start|>",
        .turns = {{"system", "$c\n\n"},
                  {"user", "User: $c<end_of_utterance>\n"},
                  {"*", "Assistant: $c<end_of_utterance>\n"}},
        .answer = "Assistant:",
    },
    {
        // Qwen, SmolLM3, Hermes and most others; thinking is left to the model.
        .name = "chatml",
        .tells = {"<|im_start|>"},
        .turns = {{"*", "<|im_start|>$r\n$c<|im_end|>\n"}},
        .answer = "<|im_start|>assistant\n",
    },
    {
        .name = "mistral-v7",
        .tells = {"[INST]", "[SYSTEM_PROMPT]"},
        .or_tells = {"^mistral", "[SYSTEM_PROMPT]"},
        .turns = {{"system", "[SYSTEM_PROMPT] $c[/SYSTEM_PROMPT]"},
                  {"user", "[INST] $c[/INST]"},
                  {"*", " $c</s>"}},
    },
    {
        .name = "mistral-v7-tekken", // its templates show no difference from v7
        .turns = {{"system", "[SYSTEM_PROMPT]$c[/SYSTEM_PROMPT]"},
                  {"user", "[INST]$c[/INST]"},
                  {"*", "$c</s>"}},
    },
    {
        .name = "mistral-v1",
        .tells = {"' [INST] ' + system_message"},
        .or_tells = {" [INST]", "[AVAILABLE_TOOLS]"},
        .open = " [INST] ",
        .turns = {{"system", "$c\n\n"}, {"user", "$c [/INST]"}, {"*", " $c</s>$."}},
    },
    {
        .name = "mistral-v3-tekken",
        .tells = {"\"[INST]\"", "[AVAILABLE_TOOLS]"},
        .open = "[INST]",
        .turns = {{"system", "$c\n\n"}, {"user", "$c[/INST]"}, {"*", "$c</s>$."}},
    },
    {
        .name = "mistral-v3",
        .tells = {"[INST]", "[AVAILABLE_TOOLS]"},
        .or_tells = {"^mistral", "[AVAILABLE_TOOLS]"},
        .open = "[INST] ",
        .turns = {{"system", "$c\n\n"}, {"user", "$c[/INST]"}, {"*", " $t</s>$."}},
    },
    {
        .name = "llama2-sys-strip",
        .tells = {"[INST]", "content.strip()"},
        .or_tells = {"^mistral", "content.strip()"},
        .start = "[INST] ",
        .open = "[INST] ",
        .turns = {{"system", "<<SYS>>\n$t\n<</SYS>>\n\n"},
                  {"user", "$t [/INST]"},
                  {"*", "$t</s>$."}},
    },
    {
        .name = "llama2-sys-bos",
        .tells = {"bos_token + '[INST]"},
        .start = "[INST] ",
        .open = "<s>[INST] ",
        .turns = {{"system", "<<SYS>>\n$c\n<</SYS>>\n\n"},
                  {"user", "$c [/INST]"},
                  {"*", "$c</s>$."}},
    },
    {
        .name = "llama2-sys",
        .tells = {"[INST]", "<<SYS>>"},
        .or_tells = {"^mistral", "<<SYS>>"},
        .start = "[INST] ",
        .open = "[INST] ",
        .turns = {{"system", "<<SYS>>\n$c\n<</SYS>>\n\n"},
                  {"user", "$c [/INST]"},
                  {"*", "$c</s>$."}},
    },
    {
        .name = "llama2",
        .tells = {"[INST]"},
        .or_tells = {"^mistral"},
        .start = "[INST] ",
        .open = "[INST] ",
        .turns = {{"system", "$c\n"}, {"user", "$c [/INST]"}, {"*", "$c</s>$."}},
    },
    {
        .name = "phi3",
        .tells = {"<|assistant|>", "<|end|>"},
        .turns = {{"*", "<|$r|>\n$c<|end|>\n"}},
        .answer = "<|assistant|>\n",
    },
    {
        .name = "chatglm4",
        .tells = {"[gMASK]<sop>"},
        .start = "[gMASK]<sop>",
        .turns = {{"*", "<|$r|>\n$c"}},
        .answer = "<|assistant|>\n",
    },
    {
        .name = "exaone-moe",
        .tells = {"<|assistant|>", "<|user|>", "<|tool_declare|>"},
        .turns = {{"system", "<|system|>\n$t<|endofturn|>\n"},
                  {"user", "<|user|>\n$t<|endofturn|>\n"},
                  {"assistant", "<|assistant|>\n$t<|endofturn|>\n"},
                  {"tool", "<|tool|>\n$t<|endofturn|>\n"}},
        .answer = "<|assistant|>\n",
    },
    {
        .name = "falcon3",
        .tells = {"<|assistant|>", "<|user|>", "</s>"},
        .turns = {{"*", "<|$r|>\n$c\n"}},
        .answer = "<|assistant|>\n",
    },
    {
        .name = "glmedge",
        .tells = {"<|assistant|>", "<|user|>"},
        .or_tells = {"<|{{ item['role'] }}|>", "<|begin_of_image|>"},
        .turns = {{"*", "<|$r|>\n$c"}},
        .answer = "<|assistant|>",
    },
    {
        .name = "zephyr",
        .tells = {"<|user|>", "<|endoftext|>"},
        .turns = {{"*", "<|$r|>\n$c<|endoftext|>\n"}},
        .answer = "<|assistant|>\n",
    },
    {
        .name = "monarch",
        .tells = {"bos_token + message['role']"},
        .start = "",
        .open = "<s>",
        .turns = {{"*", "$r\n$c</s>\n$."}},
        .answer = "<s>assistant\n",
    },
    {
        .name = "gemma",
        .tells = {"<start_of_turn>"},
        .turns = {{"system", ""},
                  {"assistant", "<start_of_turn>model\n$t<end_of_turn>\n"},
                  {"*", "<start_of_turn>$r\n$S$t<end_of_turn>\n"}},
        .answer = "<start_of_turn>model\n",
    },
    {
        .name = "orion",
        .tells = {"'\\n\\nAssistant: ' + eos_token"},
        .turns = {{"system", ""}, {"user", "Human: $s$c\n\nAssistant: </s>"}, {"*", "$c</s>"}},
    },
    {
        .name = "openchat",
        .tells = {"GPT4 Correct "},
        .turns = {{"system", "$c<|end_of_turn|>"}, {"*", "GPT4 Correct $R: $c<|end_of_turn|>"}},
        .answer = "GPT4 Correct Assistant:",
    },
    {
        .name = "vicuna-orca",
        .tells = {"USER: ", "ASSISTANT: ", "SYSTEM: "},
        .turns = {{"system", "SYSTEM: $c\n"},
                  {"user", "USER: $c\n"},
                  {"assistant", "ASSISTANT: $c</s>\n"}},
        .answer = "ASSISTANT:",
    },
    {
        .name = "vicuna",
        .tells = {"USER: ", "ASSISTANT: "},
        .turns = {{"system", "$c\n\n"},
                  {"user", "USER: $c\n"},
                  {"assistant", "ASSISTANT: $c</s>\n"}},
        .answer = "ASSISTANT:",
    },
    {
        .name = "deepseek",
        .tells = {"### Instruction:", "<|EOT|>"},
        .turns = {{"system", "$c"},
                  {"user", "### Instruction:\n$c\n"},
                  {"assistant", "### Response:\n$c\n<|EOT|>\n"}},
        .answer = "### Response:\n",
    },
    {
        .name = "command-r",
        .tells = {"<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>"},
        .turns = {{"system", "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>$t<|END_OF_TURN_TOKEN|>"},
                  {"user", "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>$t<|END_OF_TURN_TOKEN|>"},
                  {"assistant", "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>$t<|END_OF_TURN_TOKEN|>"}},
        .answer = "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    },
    {
        .name = "llama3",
        .tells = {"<|start_header_id|>", "<|end_header_id|>"},
        .turns = {{"*", "<|start_header_id|>$r<|end_header_id|>\n\n$t<|eot_id|>"}},
        .answer = "<|start_header_id|>assistant<|end_header_id|>\n\n",
    },
    {
        .name = "chatglm3",
        .tells = {"[gMASK]sop"},
        .start = "[gMASK]sop",
        .turns = {{"*", "<|$r|>\n $c"}},
        .answer = "<|assistant|>",
    },
    {
        .name = "minicpm",
        .tells = {"<用户>"},
        .turns = {{"user", "<用户>$t<AI>"}, {"*", "$t"}},
    },
    {
        .name = "deepseek2",
        .tells = {"'Assistant: ' + message['content'] + eos_token"},
        .turns = {{"system", "$c\n\n"},
                  {"user", "User: $c\n\n"},
                  {"assistant", "Assistant: $c<｜end▁of▁sentence｜>"}},
        .answer = "Assistant:",
    },
    {
        .name = "deepseek3", // R1 and its distillations, too
        .tells = {"<｜Assistant｜>", "<｜User｜>", "<｜end▁of▁sentence｜>"},
        .turns = {{"system", "$c\n\n"},
                  {"user", "<｜User｜>$c"},
                  {"assistant", "<｜Assistant｜>$c<｜end▁of▁sentence｜>"}},
        .answer = "<｜Assistant｜>",
    },
    {
        .name = "deepseek-ocr",
        .turns = {{"*", "$c"}},
    },
    {
        .name = "exaone4",
        .tells = {"[|system|]", "[|assistant|]", "[|endofturn|]", "[|tool|]"},
        .turns = {{"system", "[|system|]$t[|endofturn|]\n"},
                  {"user", "[|user|]$t\n"},
                  {"assistant", "[|assistant|]$t[|endofturn|]\n"},
                  {"tool", "[|tool|]$t[|endofturn|]\n"}},
        .answer = "[|assistant|]",
    },
    {
        .name = "exaone3",
        .tells = {"[|system|]", "[|assistant|]", "[|endofturn|]"},
        .turns = {{"system", "[|system|]$t[|endofturn|]\n"},
                  {"user", "[|user|]$t\n"},
                  {"assistant", "[|assistant|]$t[|endofturn|]\n"}},
        .answer = "[|assistant|]",
    },
    {
        .name = "rwkv-world",
        .tells = {"rwkv-world"},
        .or_tells = {"{{- 'User: ' + message['content']|trim + '\\n\\n' -}}"},
        .turns = {{"system", "System: $t\n\n"},
                  {"user", "User: $t\n\n$lAssistant:"},
                  {"assistant", "Assistant: $t\n\n"}},
    },
    {
        .name = "granite-4.0",
        .tells = {"<|start_of_role|>", "<tool_call>", "g4_default_system_message"},
        .or_tells = {"<|start_of_role|>", "<tools>", "g4_default_system_message"},
        .turns = {{"assistant_tool_call",
                   "<|start_of_role|>assistant<|end_of_role|><|tool_call|>$c<|end_of_text|>\n"},
                  {"*", "<|start_of_role|>$r<|end_of_role|>$c<|end_of_text|>\n"}},
        .answer = "<|start_of_role|>assistant<|end_of_role|>",
    },
    {
        .name = "granite-4.1",
        .tells = {"<|start_of_role|>", "<tool_call>"},
        .or_tells = {"<|start_of_role|>", "<tools>"},
        .turns = {{"assistant_tool_call",
                   "<|start_of_role|>assistant<|end_of_role|><|tool_call|>$c<|end_of_text|>\n"},
                  {"*", "<|start_of_role|>$r<|end_of_role|>$c<|end_of_text|>\n"}},
        .answer = "<|start_of_role|>assistant<|end_of_role|>",
    },
    {
        .name = "granite",
        .tells = {"<|start_of_role|>"},
        .turns = {{"assistant_tool_call",
                   "<|start_of_role|>$r<|end_of_role|><|tool_call|>$c<|end_of_text|>\n"},
                  {"*", "<|start_of_role|>$r<|end_of_role|>$c<|end_of_text|>\n"}},
        .answer = "<|start_of_role|>assistant<|end_of_role|>",
    },
    {
        .name = "gigachat",
        .tells = {"message['role'] + additional_special_tokens[0] + message['content'] + "
                  "additional_special_tokens[1]"},
        .start = "<s>",
        .turns = {{"system", "$f$c<|message_sep|>"},
                  {"user", "user<|role_sep|>$c<|message_sep|>"
                           "available functions<|role_sep|>[]<|message_sep|>"},
                  {"assistant", "assistant<|role_sep|>$c<|message_sep|>"}},
        .answer = "assistant<|role_sep|>",
    },
    {
        .name = "megrez",
        .tells = {"<|role_start|>"},
        .turns = {{"*", "<|role_start|>$r<|role_end|>$c<|turn_end|>"}},
        .answer = "<|role_start|>assistant<|role_end|>",
    },
    {
        .name = "yandex",
        .tells = {" Ассистент:"},
        .turns = {{"user", " Пользователь: $c\n\n"}, {"assistant", " Ассистент: $c\n\n"}},
        .answer = " Ассистент:[SEP]",
    },
    {
        .name = "bailing",
        .tells = {"<role>ASSISTANT</role>", "'HUMAN'"},
        .turns = {{"user", "<role>HUMAN</role>$c"}, {"*", "<role>$U</role>$c"}},
        .answer = "<role>ASSISTANT</role>",
    },
    {
        .name = "bailing-think",
        .tells = {"<role>ASSISTANT</role>", "\"HUMAN\"", "<think>"},
        .turns = {{"user", "<role>HUMAN</role>$c"}, {"*", "<role>$U</role>$c"}},
        .answer = "<role>ASSISTANT</role><think>",
    },
    {
        .name = "bailing2",
        .tells = {"<role>ASSISTANT</role>", "<role>HUMAN</role>", "<|role_end|>"},
        .no_system = "<role>SYSTEM</role>detailed thinking off<|role_end|>",
        .turns = {{"user", "<role>HUMAN</role>$c<|role_end|>"},
                  {"*", "<role>$U</role>$c<|role_end|>"}},
        .answer = "<role>ASSISTANT</role>",
    },
    {
        .name = "llama4",
        .tells = {"<|header_start|>", "<|header_end|>"},
        .turns = {{"*", "<|header_start|>$r<|header_end|>\n\n$t<|eot|>"}},
        .answer = "<|header_start|>assistant<|header_end|>\n\n",
    },
    {
        .name = "dots1",
        .tells = {"<|endofuserprompt|>"},
        .turns = {{"system", "<|system|>$c<|endofsystem|>"},
                  {"user", "<|userprompt|>$c<|endofuserprompt|>"},
                  {"*", "<|response|>$c<|endofresponse|>"}},
        .answer = "<|response|>",
    },
    {
        .name = "hunyuan-moe",
        .tells = {"<|extra_0|>", "<|extra_4|>"},
        .turns = {{"system", "<|startoftext|>$c<|extra_4|>"},
                  {"assistant", "$c<|eos|>"},
                  {"*", "<|startoftext|>$c<|extra_0|>"}},
    },
    {
        .name = "gpt-oss",
        .tells = {"<|start|>", "<|channel|>"},
        .turns = {{"assistant", "<|start|>assistant<|message|>$c<|return|>"},
                  {"*", "<|start|>$r<|message|>$c<|end|>"}},
        .answer = "<|start|>assistant",
    },
    {
        .name = "hunyuan-vl",
        .tells = {"<｜hy_Assistant｜>", "<｜hy_begin▁of▁sentence｜>"},
        .start = "<｜hy_begin▁of▁sentence｜>",
        .turns = {{"system", "$f$c<｜hy_place▁holder▁no▁3｜>"},
                  {"user", "$c<｜hy_User｜>"},
                  {"assistant", "$c<｜hy_Assistant｜>"}},
    },
    {
        .name = "hunyuan-dense",
        .tells = {"<｜hy_Assistant｜>", "<｜hy_place▁holder▁no▁3｜>"},
        .turns = {{"system", "$f$c<｜hy_place▁holder▁no▁3｜>"},
                  {"user", "<｜hy_User｜>$c<｜hy_Assistant｜>"},
                  {"assistant", "<｜hy_Assistant｜>$c<｜hy_place▁holder▁no▁2｜>"}},
    },
    {
        .name = "kimi-k2",
        .tells = {"<|im_assistant|>assistant<|im_middle|>"},
        .turns = {{"system", "<|im_system|>system<|im_middle|>$c<|im_end|>"},
                  {"user", "<|im_user|>user<|im_middle|>$c<|im_end|>"},
                  {"assistant", "<|im_assistant|>assistant<|im_middle|>$c<|im_end|>"},
                  {"tool", "<|im_system|>tool<|im_middle|>$c<|im_end|>"},
                  {"*", "$c<|im_end|>"}},
        .answer = "<|im_assistant|>assistant<|im_middle|>",
    },
    {
        .name = "seed_oss",
        .tells = {"<seed:bos>"},
        .turns = {{"assistant", "<seed:bos>assistant\n$t<seed:eos>"},
                  {"*", "<seed:bos>$r\n$c<seed:eos>"}},
        .answer = "<seed:bos>assistant\n",
    },
    {
        .name = "grok-2",
        .tells = {"'Assistant: '  + message['content'] + '<|separator|>"},
        .turns = {{"system", "System: $t<|separator|>\n\n"},
                  {"user", "Human: $t<|separator|>\n\n"},
                  {"assistant", "Assistant: $c<|separator|>\n\n"}},
        .answer = "Assistant:",
    },
    {
        .name = "pangu-embedded",
        .tells = {"[unused9]系统：[unused10]"},
        .no_system = "[unused9]系统：[unused10]",
        .turns = {{"system", "[unused9]系统：$c[unused10]"},
                  {"user", "[unused9]用户：$c[unused10]"},
                  {"assistant", "[unused9]助手：$c[unused10]"},
                  {"tool", "[unused9]工具：$c[unused10]"},
                  {"function", "[unused9]方法：$c[unused10]"}},
        .answer = "[unused9]助手：",
    },
    {
        .name = "solar-open",
        .tells = {"<|begin|>", "<|end|>", "<|content|>"},
        .turns = {{"*", "<|begin|>$r<|content|>$c<|end|>"}},
        .answer = "<|begin|>assistant",
    },
};

#define N_FORMATS (sizeof formats / sizeof *formats)

/* ---- which format ---------------------------------------------------------------------------- */

static bool has(const char *text, size_t len, const char *tell) {
    bool at_start = *tell == '^';
    tell += at_start;
    size_t n = strlen(tell);
    if (n > len) return false;
    const char *stop = at_start ? text + 1 : text + (len - n) + 1; // the last place to look, plus 1
    for (const char *p = text; (p = memchr(p, *tell, (size_t)(stop - p))); p++) {
        if (memcmp(p, tell, n) == 0) return true;
    }
    return false;
}

static bool has_all(const char *text, size_t len, const char *const tells[4]) {
    for (int i = 0; i < 4 && tells[i]; i++) {
        if (!has(text, len, tells[i])) return false;
    }
    return tells[0] != NULL;
}

const struct chat_format *chat_detect(const char *template_text, size_t len) {
    for (size_t i = 0; i < N_FORMATS; i++) { // some files have a name in place of a template
        const char *name = formats[i].name;
        if (len == strlen(name) && memcmp(template_text, name, len) == 0) return &formats[i];
    }
    for (size_t i = 0; i < N_FORMATS; i++) {
        const struct chat_format *f = &formats[i];
        if (has_all(template_text, len, f->tells) || has_all(template_text, len, f->or_tells)) {
            return f;
        }
    }
    return NULL;
}

const struct chat_format *chat_find(const char *name) {
    for (size_t i = 0; i < N_FORMATS; i++) {
        if (strcmp(formats[i].name, name) == 0) return &formats[i];
    }
    return NULL;
}

const char *chat_name(const struct chat_format *f) {
    return f->name;
}

void chat_names(char *out, size_t size) {
    size_t len = 0;
    if (size) *out = '\0';
    for (size_t i = 0; i < N_FORMATS; i++) {
        const char *name = formats[i].name;
        size_t n = strlen(name) + (i ? 2 : 0);
        if (n >= size - len) return; // whole names only
        snprintf(out + len, size - len, "%s%s", i ? ", " : "", name);
        len += n;
    }
}

/* ---- writing a conversation ------------------------------------------------------------------ */

struct writer {
    struct builder out;
    struct arena *arena;
    const struct list *messages;
    size_t i;     // the message that is being written
    size_t held;  // the first message that no $s has looked at
    bool in_turn; // the exchange has been opened
};

static void put_string(struct writer *w, const char *text) {
    if (text) build_text(&w->out, text, false);
}

static const struct str *text_of(struct value v) {
    return v.type == V_STR ? v.u.s : &str_empty;
}

static const struct str *role_of(const struct writer *w, size_t i) {
    const struct value *role = dict_find_text(w->messages->items[i].u.dict, "role");
    return role ? text_of(*role) : &str_empty;
}

static void put_part(struct writer *w, const struct str *s, bool trim) {
    size_t from = 0, to = s->len;
    // The C locale's white space, whatever the locale is; none of it is a zero byte.
    const char *space = " \t\n\v\f\r";
    while (trim && from < to && s->data[from] && strchr(space, s->data[from])) from++;
    while (trim && from < to && s->data[to - 1] && strchr(space, s->data[to - 1])) to--;
    build_slice(&w->out, s, from, to);
}

/* The content is a text, or a list of parts of which those with a text count; what is neither is
 * written as JSON, but null. */
static void put_content(struct writer *w, size_t i, bool trim) {
    static const struct json_style plain = {0};
    const struct value *content = dict_find_text(w->messages->items[i].u.dict, "content");
    if (!content || content->type == V_NONE) return;
    if (content->type == V_STR) put_part(w, content->u.s, trim);
    if (content->type != V_STR && content->type != V_LIST) {
        json_write(&w->out, *content, &plain, NULL);
    }
    if (content->type != V_LIST) return;
    struct builder all;
    build_begin(&all, w->arena);
    for (size_t k = 0; k < content->u.list->n; k++) {
        struct value part = content->u.list->items[k];
        const struct value *text =
            part.type == V_DICT ? dict_find_text(part.u.dict, "text") : &part;
        if (text) build_str(&all, text_of(*text));
    }
    put_part(w, build_end(&all), trim);
}

/* Writes the first n bytes with ASCII letters as capitals, the rest as it is. */
static void put_capitals(struct writer *w, const struct str *s, size_t n) {
    for (size_t i = 0; i < s->len && i < n; i++) {
        char c = s->data[i];
        if (c >= 'a' && c <= 'z') c = (char)(c - 'a' + 'A');
        build_bytes(&w->out, &c, 1, str_is_input(s, i));
    }
    if (n < s->len) build_slice(&w->out, s, n, s->len);
}

static void put_held_system(struct writer *w, bool trim) {
    size_t before = w->out.len;
    for (; w->held < w->i; w->held++) {
        if (str_is(role_of(w, w->held), "system")) put_content(w, w->held, trim);
    }
    if (w->out.len > before) put_string(w, "\n\n");
}

static void put_turn(struct writer *w, const char *text) {
    for (;; text += 2) {
        size_t literal = strcspn(text, "$");
        build_bytes(&w->out, text, literal, false);
        text += literal;
        if (!*text) return; // NOLINT(clang-analyzer-*): strcspn goes no further than the end
        switch (text[1]) {
        case 'r':
            build_str(&w->out, role_of(w, w->i));
            break;
        case 'U':
            put_capitals(w, role_of(w, w->i), SIZE_MAX);
            break;
        case 'R':
            put_capitals(w, role_of(w, w->i), 1);
            break;
        case 'c':
            put_content(w, w->i, false);
            break;
        case 't':
            put_content(w, w->i, true);
            break;
        case 's':
            put_held_system(w, false);
            break;
        case 'S':
            put_held_system(w, true);
            break;
        case 'f':
            if (w->i > 0) return;
            break;
        case 'l':
            if (w->i + 1 < w->messages->n) return;
            break;
        default:
            assert(text[1] == '.');
            w->in_turn = false;
        }
    }
}

static const char *turn_text(const struct chat_format *f, const struct str *role) {
    for (size_t i = 0; i < sizeof f->turns / sizeof *f->turns && f->turns[i].role; i++) {
        const struct turn *t = &f->turns[i];
        if (strcmp(t->role, "*") == 0 || str_is(role, t->role)) return t->text;
    }
    return "";
}

int chat_render(const struct chat_format *f, struct arena *a, const struct list *messages,
                bool add_assistant, const struct str **out, struct error *err) {
    struct writer w = {.arena = a, .messages = messages, .in_turn = f->start != NULL};
    build_begin(&w.out, a);
    put_string(&w, f->start);
    if (messages->n == 0 || !str_is(role_of(&w, 0), "system")) put_string(&w, f->no_system);
    for (; w.i < messages->n; w.i++) {
        if (!w.in_turn) put_string(&w, f->open);
        w.in_turn = true;
        put_turn(&w, turn_text(f, role_of(&w, w.i)));
    }
    if (add_assistant) put_string(&w, f->answer);
    *out = build_end(&w.out);
    if (*out && !a->full && !a->no_memory) return 0;
    *out = NULL;
    return error_set(err, KQ_NO_MEMORY, "chat: out of memory for a conversation of %zu bytes",
                     w.out.len);
}
