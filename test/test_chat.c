/* Every format's text for two small conversations, and which format a template text asks for. The
 * expected strings are what llama.cpp's llama_chat_apply_template writes. */
#include "chat.h"
#include "chat_template.h"
#include "jinja.h"
#include "test.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

struct chat_message {
    const char *role, *content;
};

/* Unknown roles, empty and untrimmed contents, a second system message. */
static const struct chat_message alone[] = {{"user", "Hi"}};
static const struct chat_message talk[] = {
    {"system", " Be brief.\n"}, {"user", " Hi "}, {"assistant", "\tHello\n"}, {"user", ""},
    {"assistant", ""},          {"tool", "3"},    {"system", "Now"},          {"critic", "so"},
    {"user", "Bye\nnow"},
};

/* name; a made-up template text (NULL: none asks for it); `alone`; `talk`; how much of the end is
 * there for the answer only. */
static const struct {
    const char *name, *template_text, *alone, *talk, *answer;
} expected[] = {
    // clang-format off
    {"phi4", "'<|im_start|>' + m['role'] + '<|im_sep|>'",
     "<|im_start|>user<|im_sep|>Hi<|im_end|><|im_start|>assistant<|im_sep|>",
     "<|im_start|>system<|im_sep|> Be brief.\n<|im_end|><|im_start|>user<|im_sep|> Hi "
     "<|im_end|><|im_start|>assistant<|im_sep|>\tHello\n<|im_end|><|im_start|>user"
     "<|im_sep|><|im_end|><|im_start|>assistant<|im_sep|><|im_end|><|im_start|>tool"
     "<|im_sep|>3<|im_end|><|im_start|>system<|im_sep|>Now<|im_end|><|im_start|>critic"
     "<|im_sep|>so<|im_end|><|im_start|>user<|im_sep|>Bye\nnow<|im_end|>"
     "<|im_start|>assistant<|im_sep|>",
     "<|im_start|>assistant<|im_sep|>"},
    {"smolvlm", "<|im_start|>{% for m in messages %}{{m['role'] | capitalize}}: <end_of_utterance>",
     "<|im_start|>User: Hi<end_of_utterance>\nAssistant:",
     "<|im_start|> Be brief.\n\n\nUser:  Hi <end_of_utterance>\nAssistant: \tHello\n"
     "<end_of_utterance>\nUser: <end_of_utterance>\nAssistant: <end_of_utterance>\n"
     "Assistant: 3<end_of_utterance>\nNow\n\nAssistant: so<end_of_utterance>\nUser: Bye\n"
     "now<end_of_utterance>\nAssistant:",
     "Assistant:"},
    {"chatml", "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>'}}",
     "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n"
     "<|im_start|>assistant\n\tHello\n<|im_end|>\n<|im_start|>user\n<|im_end|>\n"
     "<|im_start|>assistant\n<|im_end|>\n<|im_start|>tool\n3<|im_end|>\n"
     "<|im_start|>system\nNow<|im_end|>\n<|im_start|>critic\nso<|im_end|>\n"
     "<|im_start|>user\nBye\nnow<|im_end|>\n<|im_start|>assistant\n",
     "<|im_start|>assistant\n"},
    {"mistral-v7", "{{ '[SYSTEM_PROMPT] ' + m.content + '[/SYSTEM_PROMPT]' }}{{ '"
     "[INST] ' + m.content + '[/INST]' }}",
     "[INST] Hi[/INST]",
     "[SYSTEM_PROMPT]  Be brief.\n[/SYSTEM_PROMPT][INST]  Hi [/INST] \tHello\n</s>[INST] "
     "[/INST] </s> 3</s>[SYSTEM_PROMPT] Now[/SYSTEM_PROMPT] so</s>[INST] Bye\nnow[/INST]",
     ""},
    {"mistral-v7-tekken", NULL,
     "[INST]Hi[/INST]",
     "[SYSTEM_PROMPT] Be brief.\n[/SYSTEM_PROMPT][INST] Hi [/INST]\tHello\n</s>[INST]"
     "[/INST]</s>3</s>[SYSTEM_PROMPT]Now[/SYSTEM_PROMPT]so</s>[INST]Bye\nnow[/INST]",
     ""},
    {"mistral-v1", "{{ ' [INST] ' + system_message + m['content'] + ' [/INST]' }}",
     " [INST] Hi [/INST]",
     " [INST]  Be brief.\n\n\n Hi  [/INST] \tHello\n</s> [INST]  [/INST] </s> [INST]  3"
     "</s> [INST] Now\n\n so</s> [INST] Bye\nnow [/INST]",
     ""},
    {"mistral-v3-tekken", "{{- \"[AVAILABLE_TOOLS][\" }}{{- \"[INST]\" + m[\"content\"] + \"[/INST]\" }}",
     "[INST]Hi[/INST]",
     "[INST] Be brief.\n\n\n Hi [/INST]\tHello\n</s>[INST][/INST]</s>[INST]3</s>"
     "[INST]Now\n\nso</s>[INST]Bye\nnow[/INST]",
     ""},
    {"mistral-v3", "{{- \"[AVAILABLE_TOOLS] [\" }}{{- \"[INST] \" + m[\"content\"] + \"[/INST]\" }}",
     "[INST] Hi[/INST]",
     "[INST]  Be brief.\n\n\n Hi [/INST] Hello</s>[INST] [/INST] </s>[INST]  3</s>"
     "[INST] Now\n\n so</s>[INST] Bye\nnow[/INST]",
     ""},
    {"llama2-sys-strip", "'<<SYS>>\\n' + system + '[INST] ' + content.strip() + ' [/INST]'",
     "[INST] Hi [/INST]",
     "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]Hello</s>[INST]  [/INST]</s>"
     "[INST] 3</s>[INST] <<SYS>>\nNow\n<</SYS>>\n\nso</s>[INST] Bye\nnow [/INST]",
     ""},
    {"llama2-sys-bos", "'<<SYS>>\\n' + bos_token + '[INST] ' + content + ' [/INST]'",
     "[INST] Hi [/INST]",
     "[INST] <<SYS>>\n Be brief.\n\n<</SYS>>\n\n Hi  [/INST]\tHello\n</s><s>[INST]  "
     "[/INST]</s><s>[INST] 3</s><s>[INST] <<SYS>>\nNow\n<</SYS>>\n\nso</s><s>[INST] Bye\n"
     "now [/INST]",
     ""},
    {"llama2-sys", "'[INST] <<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n'",
     "[INST] Hi [/INST]",
     "[INST] <<SYS>>\n Be brief.\n\n<</SYS>>\n\n Hi  [/INST]\tHello\n</s>[INST]  [/INST]"
     "</s>[INST] 3</s>[INST] <<SYS>>\nNow\n<</SYS>>\n\nso</s>[INST] Bye\nnow [/INST]",
     ""},
    {"llama2", "{{ '[INST] ' + m['content'] + ' [/INST]' }}",
     "[INST] Hi [/INST]",
     "[INST]  Be brief.\n\n Hi  [/INST]\tHello\n</s>[INST]  [/INST]</s>[INST] 3</s>"
     "[INST] Now\nso</s>[INST] Bye\nnow [/INST]",
     ""},
    {"phi3", "{{'<|user|>' + '\\n' + m['content'] + '<|end|>' + '\\n<|assistant|>\\n'}}",
     "<|user|>\nHi<|end|>\n<|assistant|>\n",
     "<|system|>\n Be brief.\n<|end|>\n<|user|>\n Hi <|end|>\n<|assistant|>\n\tHello\n"
     "<|end|>\n<|user|>\n<|end|>\n<|assistant|>\n<|end|>\n<|tool|>\n3<|end|>\n<|system|>\n"
     "Now<|end|>\n<|critic|>\nso<|end|>\n<|user|>\nBye\nnow<|end|>\n<|assistant|>\n",
     "<|assistant|>\n"},
    {"chatglm4", "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\\n<|assistant|>",
     "[gMASK]<sop><|user|>\nHi<|assistant|>\n",
     "[gMASK]<sop><|system|>\n Be brief.\n<|user|>\n Hi <|assistant|>\n\tHello\n<|user|>\n"
     "<|assistant|>\n<|tool|>\n3<|system|>\nNow<|critic|>\nso<|user|>\nBye\nnow"
     "<|assistant|>\n",
     "<|assistant|>\n"},
    {"exaone-moe", "<|user|><|assistant|><|tool_declare|></s>",
     "<|user|>\nHi<|endofturn|>\n<|assistant|>\n",
     "<|system|>\nBe brief.<|endofturn|>\n<|user|>\nHi<|endofturn|>\n<|assistant|>\nHello"
     "<|endofturn|>\n<|user|>\n<|endofturn|>\n<|assistant|>\n<|endofturn|>\n<|tool|>\n3"
     "<|endofturn|>\n<|system|>\nNow<|endofturn|>\n<|user|>\nBye\nnow<|endofturn|>\n"
     "<|assistant|>\n",
     "<|assistant|>\n"},
    {"falcon3", "{{ '<|user|>\\n' + m }}{{ '<|assistant|>\\n' + m + '</s>' }}",
     "<|user|>\nHi\n<|assistant|>\n",
     "<|system|>\n Be brief.\n\n<|user|>\n Hi \n<|assistant|>\n\tHello\n\n<|user|>\n\n"
     "<|assistant|>\n\n<|tool|>\n3\n<|system|>\nNow\n<|critic|>\nso\n<|user|>\nBye\nnow\n"
     "<|assistant|>\n",
     "<|assistant|>\n"},
    {"glmedge", "{% for item in messages %}<|{{ item['role'] }}|>{{ '<|begin_of_image|>' }}",
     "<|user|>\nHi<|assistant|>",
     "<|system|>\n Be brief.\n<|user|>\n Hi <|assistant|>\n\tHello\n<|user|>\n"
     "<|assistant|>\n<|tool|>\n3<|system|>\nNow<|critic|>\nso<|user|>\nBye\nnow"
     "<|assistant|>",
     "<|assistant|>"},
    {"zephyr", "{{ '<|user|>\\n' + m['content'] + '<|endoftext|>' }}",
     "<|user|>\nHi<|endoftext|>\n<|assistant|>\n",
     "<|system|>\n Be brief.\n<|endoftext|>\n<|user|>\n Hi <|endoftext|>\n<|assistant|>\n"
     "\tHello\n<|endoftext|>\n<|user|>\n<|endoftext|>\n<|assistant|>\n<|endoftext|>\n"
     "<|tool|>\n3<|endoftext|>\n<|system|>\nNow<|endoftext|>\n<|critic|>\nso"
     "<|endoftext|>\n<|user|>\nBye\nnow<|endoftext|>\n<|assistant|>\n",
     "<|assistant|>\n"},
    {"monarch", "{{ bos_token + message['role'] + '\\n' + message['content'] + eos_token }}",
     "user\nHi</s>\n<s>assistant\n",
     "system\n Be brief.\n</s>\n<s>user\n Hi </s>\n<s>assistant\n\tHello\n</s>\n<s>user\n"
     "</s>\n<s>assistant\n</s>\n<s>tool\n3</s>\n<s>system\nNow</s>\n<s>critic\nso</s>\n"
     "<s>user\nBye\nnow</s>\n<s>assistant\n",
     "<s>assistant\n"},
    {"gemma", "{{ '<start_of_turn>' + role + '\\n' + m['content'] | trim + '<end_of_turn>\\n' }}",
     "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n",
     "<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello"
     "<end_of_turn>\n<start_of_turn>user\n<end_of_turn>\n<start_of_turn>model\n"
     "<end_of_turn>\n<start_of_turn>tool\n3<end_of_turn>\n<start_of_turn>critic\nNow\n\nso"
     "<end_of_turn>\n<start_of_turn>user\nBye\nnow<end_of_turn>\n<start_of_turn>model\n",
     "<start_of_turn>model\n"},
    {"orion", "{{ 'Human: ' + m['content'] + '\\n\\nAssistant: ' + eos_token }}",
     "Human: Hi\n\nAssistant: </s>",
     "Human:  Be brief.\n\n\n Hi \n\nAssistant: </s>\tHello\n</s>Human: \n\nAssistant: "
     "</s></s>3</s>so</s>Human: Now\n\nBye\nnow\n\nAssistant: </s>",
     ""},
    {"openchat", "{{ 'GPT4 Correct ' + m['role'].title() + ': ' + m['content'] + '<|end_of_turn|>'}}",
     "GPT4 Correct User: Hi<|end_of_turn|>GPT4 Correct Assistant:",
     " Be brief.\n<|end_of_turn|>GPT4 Correct User:  Hi "
     "<|end_of_turn|>GPT4 Correct Assistant: \tHello\n<|end_of_turn|>GPT4 Correct User: "
     "<|end_of_turn|>GPT4 Correct Assistant: <|end_of_turn|>GPT4 Correct Tool: 3"
     "<|end_of_turn|>Now<|end_of_turn|>GPT4 Correct Critic: so"
     "<|end_of_turn|>GPT4 Correct User: Bye\nnow<|end_of_turn|>GPT4 Correct Assistant:",
     "GPT4 Correct Assistant:"},
    {"vicuna-orca", "'SYSTEM: ' + s + 'USER: ' + u + 'ASSISTANT: ' + a + eos_token",
     "USER: Hi\nASSISTANT:",
     "SYSTEM:  Be brief.\n\nUSER:  Hi \nASSISTANT: \tHello\n</s>\nUSER: \nASSISTANT: "
     "</s>\nSYSTEM: Now\nUSER: Bye\nnow\nASSISTANT:",
     "ASSISTANT:"},
    {"vicuna", "'USER: ' + u + 'ASSISTANT: ' + a + eos_token",
     "USER: Hi\nASSISTANT:",
     " Be brief.\n\n\nUSER:  Hi \nASSISTANT: \tHello\n</s>\nUSER: \nASSISTANT: </s>\nNow\n"
     "\nUSER: Bye\nnow\nASSISTANT:",
     "ASSISTANT:"},
    {"deepseek", "{{'### Instruction:\\n' + m + '\\n'}}{{'### Response:\\n' + m + '\\n<|EOT|>\\n'}}",
     "### Instruction:\nHi\n### Response:\n",
     " Be brief.\n### Instruction:\n Hi \n### Response:\n\tHello\n\n<|EOT|>\n"
     "### Instruction:\n\n### Response:\n\n<|EOT|>\nNow### Instruction:\nBye\nnow\n"
     "### Response:\n",
     "### Response:\n"},
    {"command-r", "{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + m['content'].strip() }}",
     "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|>"
     "<|CHATBOT_TOKEN|>",
     "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief.<|END_OF_TURN_TOKEN|>"
     "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|>"
     "<|CHATBOT_TOKEN|>Hello<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>"
     "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|><|END_OF_TURN_TOKEN|>"
     "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Now<|END_OF_TURN_TOKEN|>"
     "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Bye\nnow<|END_OF_TURN_TOKEN|>"
     "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
     "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"},
    {"llama3", "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m | trim + '"
     "<|eot_id|>' }}",
     "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant"
     "<|end_header_id|>\n\n",
     "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant"
     "<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
     "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n<|eot_id|>"
     "<|start_header_id|>tool<|end_header_id|>\n\n3<|eot_id|><|start_header_id|>system"
     "<|end_header_id|>\n\nNow<|eot_id|><|start_header_id|>critic<|end_header_id|>\n\nso"
     "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBye\nnow<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n",
     "<|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"chatglm3", "[gMASK]sop<|{{ m['role'] }}|>\\n {{ m['content'] }}",
     "[gMASK]sop<|user|>\n Hi<|assistant|>",
     "[gMASK]sop<|system|>\n  Be brief.\n<|user|>\n  Hi <|assistant|>\n \tHello\n"
     "<|user|>\n <|assistant|>\n <|tool|>\n 3<|system|>\n Now<|critic|>\n so<|user|>\n"
     " Bye\nnow<|assistant|>",
     "<|assistant|>"},
    {"minicpm", "{{'<用户>' + m['content'].strip() + '<AI>'}}",
     "<用户>Hi<AI>",
     "Be brief.<用户>Hi<AI>Hello<用户><AI>3Nowso<用户>Bye\nnow<AI>",
     ""},
    {"deepseek2", "{{ 'Assistant: ' + message['content'] + eos_token }}",
     "User: Hi\n\nAssistant:",
     " Be brief.\n\n\nUser:  Hi \n\nAssistant: \tHello\n<｜end▁of▁sentence｜>User: \n\n"
     "Assistant: <｜end▁of▁sentence｜>Now\n\nUser: Bye\nnow\n\nAssistant:",
     "Assistant:"},
    {"deepseek3", "'<｜User｜>' + u + '<｜Assistant｜>' + a + '<｜end▁of▁sentence｜>'",
     "<｜User｜>Hi<｜Assistant｜>",
     " Be brief.\n\n\n<｜User｜> Hi <｜Assistant｜>\tHello\n<｜end▁of▁sentence｜>"
     "<｜User｜><｜Assistant｜><｜end▁of▁sentence｜>Now\n\n<｜User｜>Bye\nnow"
     "<｜Assistant｜>",
     "<｜Assistant｜>"},
    {"deepseek-ocr", NULL,
     "Hi",
     " Be brief.\n Hi \tHello\n3NowsoBye\nnow",
     ""},
    {"exaone4", "[|system|][|user|][|assistant|][|tool|][|endofturn|]",
     "[|user|]Hi\n[|assistant|]",
     "[|system|]Be brief.[|endofturn|]\n[|user|]Hi\n[|assistant|]Hello[|endofturn|]\n"
     "[|user|]\n[|assistant|][|endofturn|]\n[|tool|]3[|endofturn|]\n[|system|]Now"
     "[|endofturn|]\n[|user|]Bye\nnow\n[|assistant|]",
     "[|assistant|]"},
    {"exaone3", "[|system|][|user|][|assistant|][|endofturn|]",
     "[|user|]Hi\n[|assistant|]",
     "[|system|]Be brief.[|endofturn|]\n[|user|]Hi\n[|assistant|]Hello[|endofturn|]\n"
     "[|user|]\n[|assistant|][|endofturn|]\n[|system|]Now[|endofturn|]\n[|user|]Bye\nnow\n"
     "[|assistant|]",
     "[|assistant|]"},
    {"rwkv-world", "{{- 'User: ' + message['content']|trim + '\\n\\n' -}}",
     "User: Hi\n\nAssistant:",
     "System: Be brief.\n\nUser: Hi\n\nAssistant: Hello\n\nUser: \n\nAssistant: \n\n"
     "System: Now\n\nUser: Bye\nnow\n\nAssistant:",
     ""},
    {"granite-4.0", "{%- set g4_default_system_message = '' %}<tools><|start_of_role|>system",
     "<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>\n<|start_of_role|>assistant"
     "<|end_of_role|>",
     "<|start_of_role|>system<|end_of_role|> Be brief.\n<|end_of_text|>\n"
     "<|start_of_role|>user<|end_of_role|> Hi <|end_of_text|>\n<|start_of_role|>assistant"
     "<|end_of_role|>\tHello\n<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>"
     "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|><|end_of_text|>\n"
     "<|start_of_role|>tool<|end_of_role|>3<|end_of_text|>\n<|start_of_role|>system"
     "<|end_of_role|>Now<|end_of_text|>\n<|start_of_role|>critic<|end_of_role|>so"
     "<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>Bye\nnow<|end_of_text|>\n"
     "<|start_of_role|>assistant<|end_of_role|>",
     "<|start_of_role|>assistant<|end_of_role|>"},
    {"granite-4.1", "<tool_call><|start_of_role|>system<|end_of_role|>",
     "<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>\n<|start_of_role|>assistant"
     "<|end_of_role|>",
     "<|start_of_role|>system<|end_of_role|> Be brief.\n<|end_of_text|>\n"
     "<|start_of_role|>user<|end_of_role|> Hi <|end_of_text|>\n<|start_of_role|>assistant"
     "<|end_of_role|>\tHello\n<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>"
     "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|><|end_of_text|>\n"
     "<|start_of_role|>tool<|end_of_role|>3<|end_of_text|>\n<|start_of_role|>system"
     "<|end_of_role|>Now<|end_of_text|>\n<|start_of_role|>critic<|end_of_role|>so"
     "<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>Bye\nnow<|end_of_text|>\n"
     "<|start_of_role|>assistant<|end_of_role|>",
     "<|start_of_role|>assistant<|end_of_role|>"},
    {"granite", "{{ '<|start_of_role|>' + m['role'] + '<|end_of_role|>' }}",
     "<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>\n<|start_of_role|>assistant"
     "<|end_of_role|>",
     "<|start_of_role|>system<|end_of_role|> Be brief.\n<|end_of_text|>\n"
     "<|start_of_role|>user<|end_of_role|> Hi <|end_of_text|>\n<|start_of_role|>assistant"
     "<|end_of_role|>\tHello\n<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>"
     "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|><|end_of_text|>\n"
     "<|start_of_role|>tool<|end_of_role|>3<|end_of_text|>\n<|start_of_role|>system"
     "<|end_of_role|>Now<|end_of_text|>\n<|start_of_role|>critic<|end_of_role|>so"
     "<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>Bye\nnow<|end_of_text|>\n"
     "<|start_of_role|>assistant<|end_of_role|>",
     "<|start_of_role|>assistant<|end_of_role|>"},
    {"gigachat", "{{ message['role'] + additional_special_tokens[0] + message['content'] + additional_special_tokens[1] }}",
     "<s>user<|role_sep|>Hi<|message_sep|>available functions<|role_sep|>[]"
     "<|message_sep|>assistant<|role_sep|>",
     "<s> Be brief.\n<|message_sep|>user<|role_sep|> Hi <|message_sep|>available functions"
     "<|role_sep|>[]<|message_sep|>assistant<|role_sep|>\tHello\n<|message_sep|>user"
     "<|role_sep|><|message_sep|>available functions<|role_sep|>[]<|message_sep|>assistant"
     "<|role_sep|><|message_sep|>user<|role_sep|>Bye\nnow"
     "<|message_sep|>available functions<|role_sep|>[]<|message_sep|>assistant<|role_sep|>",
     "assistant<|role_sep|>"},
    {"megrez", "{{ '<|role_start|>' + m['role'] + '<|role_end|>' + m['content'] + '<|turn_end|>' }}",
     "<|role_start|>user<|role_end|>Hi<|turn_end|><|role_start|>assistant<|role_end|>",
     "<|role_start|>system<|role_end|> Be brief.\n<|turn_end|><|role_start|>user"
     "<|role_end|> Hi <|turn_end|><|role_start|>assistant<|role_end|>\tHello\n<|turn_end|>"
     "<|role_start|>user<|role_end|><|turn_end|><|role_start|>assistant<|role_end|>"
     "<|turn_end|><|role_start|>tool<|role_end|>3<|turn_end|><|role_start|>system"
     "<|role_end|>Now<|turn_end|><|role_start|>critic<|role_end|>so<|turn_end|>"
     "<|role_start|>user<|role_end|>Bye\nnow<|turn_end|><|role_start|>assistant"
     "<|role_end|>",
     "<|role_start|>assistant<|role_end|>"},
    {"yandex", "{{ ' Пользователь: ' + m }}{{ ' Ассистент:' + m }}",
     " Пользователь: Hi\n\n Ассистент:[SEP]",
     " Пользователь:  Hi \n\n Ассистент: \tHello\n\n\n Пользователь: \n\n Ассистент: \n\n"
     " Пользователь: Bye\nnow\n\n Ассистент:[SEP]",
     " Ассистент:[SEP]"},
    {"bailing", "{% set role = 'HUMAN' %}{{ '<role>ASSISTANT</role>' }}",
     "<role>HUMAN</role>Hi<role>ASSISTANT</role>",
     "<role>SYSTEM</role> Be brief.\n<role>HUMAN</role> Hi <role>ASSISTANT</role>\tHello\n"
     "<role>HUMAN</role><role>ASSISTANT</role><role>TOOL</role>3<role>SYSTEM</role>Now"
     "<role>CRITIC</role>so<role>HUMAN</role>Bye\nnow<role>ASSISTANT</role>",
     "<role>ASSISTANT</role>"},
    {"bailing-think", "{% set role = \"HUMAN\" %}<role>ASSISTANT</role><think>",
     "<role>HUMAN</role>Hi<role>ASSISTANT</role><think>",
     "<role>SYSTEM</role> Be brief.\n<role>HUMAN</role> Hi <role>ASSISTANT</role>\tHello\n"
     "<role>HUMAN</role><role>ASSISTANT</role><role>TOOL</role>3<role>SYSTEM</role>Now"
     "<role>CRITIC</role>so<role>HUMAN</role>Bye\nnow<role>ASSISTANT</role><think>",
     "<role>ASSISTANT</role><think>"},
    {"bailing2", "<role>HUMAN</role>{{ m }}<|role_end|><role>ASSISTANT</role>",
     "<role>SYSTEM</role>detailed thinking off<|role_end|><role>HUMAN</role>Hi<|role_end|>"
     "<role>ASSISTANT</role>",
     "<role>SYSTEM</role> Be brief.\n<|role_end|><role>HUMAN</role> Hi <|role_end|>"
     "<role>ASSISTANT</role>\tHello\n<|role_end|><role>HUMAN</role><|role_end|>"
     "<role>ASSISTANT</role><|role_end|><role>TOOL</role>3<|role_end|><role>SYSTEM"
     "</role>Now<|role_end|><role>CRITIC</role>so<|role_end|><role>HUMAN</role>Bye\nnow"
     "<|role_end|><role>ASSISTANT</role>",
     "<role>ASSISTANT</role>"},
    {"llama4", "{{ '<|header_start|>' + m['role'] + '<|header_end|>\\n\\n' + m['content'] + '"
     "<|eot|>' }}",
     "<|header_start|>user<|header_end|>\n\nHi<|eot|><|header_start|>assistant"
     "<|header_end|>\n\n",
     "<|header_start|>system<|header_end|>\n\nBe brief.<|eot|><|header_start|>user"
     "<|header_end|>\n\nHi<|eot|><|header_start|>assistant<|header_end|>\n\nHello<|eot|>"
     "<|header_start|>user<|header_end|>\n\n<|eot|><|header_start|>assistant"
     "<|header_end|>\n\n<|eot|><|header_start|>tool<|header_end|>\n\n3<|eot|>"
     "<|header_start|>system<|header_end|>\n\nNow<|eot|><|header_start|>critic"
     "<|header_end|>\n\nso<|eot|><|header_start|>user<|header_end|>\n\nBye\nnow<|eot|>"
     "<|header_start|>assistant<|header_end|>\n\n",
     "<|header_start|>assistant<|header_end|>\n\n"},
    {"dots1", "'<|userprompt|>' + m['content'] + '<|endofuserprompt|>'",
     "<|userprompt|>Hi<|endofuserprompt|><|response|>",
     "<|system|> Be brief.\n<|endofsystem|><|userprompt|> Hi <|endofuserprompt|>"
     "<|response|>\tHello\n<|endofresponse|><|userprompt|><|endofuserprompt|><|response|>"
     "<|endofresponse|><|response|>3<|endofresponse|><|system|>Now<|endofsystem|>"
     "<|response|>so<|endofresponse|><|userprompt|>Bye\nnow<|endofuserprompt|><|response|>",
     "<|response|>"},
    {"hunyuan-moe", "'<|startoftext|>' + m + '<|extra_4|>' + m + '<|extra_0|>'",
     "<|startoftext|>Hi<|extra_0|>",
     "<|startoftext|> Be brief.\n<|extra_4|><|startoftext|> Hi <|extra_0|>\tHello\n<|eos|>"
     "<|startoftext|><|extra_0|><|eos|><|startoftext|>3<|extra_0|><|startoftext|>Now"
     "<|extra_4|><|startoftext|>so<|extra_0|><|startoftext|>Bye\nnow<|extra_0|>",
     ""},
    {"gpt-oss", "<|start|>assistant<|channel|>final<|message|>",
     "<|start|>user<|message|>Hi<|end|><|start|>assistant",
     "<|start|>system<|message|> Be brief.\n<|end|><|start|>user<|message|> Hi <|end|>"
     "<|start|>assistant<|message|>\tHello\n<|return|><|start|>user<|message|><|end|>"
     "<|start|>assistant<|message|><|return|><|start|>tool<|message|>3<|end|>"
     "<|start|>system<|message|>Now<|end|><|start|>critic<|message|>so<|end|><|start|>user"
     "<|message|>Bye\nnow<|end|><|start|>assistant",
     "<|start|>assistant"},
    {"hunyuan-vl", "<｜hy_begin▁of▁sentence｜>{{ m }}<｜hy_place▁holder▁no▁3｜><｜hy_Assistant｜>",
     "<｜hy_begin▁of▁sentence｜>Hi<｜hy_User｜>",
     "<｜hy_begin▁of▁sentence｜> Be brief.\n<｜hy_place▁holder▁no▁3｜> Hi "
     "<｜hy_User｜>\tHello\n<｜hy_Assistant｜><｜hy_User｜><｜hy_Assistant｜>Bye\nnow"
     "<｜hy_User｜>",
     ""},
    {"hunyuan-dense", "{{ m }}<｜hy_place▁holder▁no▁3｜><｜hy_Assistant｜>",
     "<｜hy_User｜>Hi<｜hy_Assistant｜>",
     " Be brief.\n<｜hy_place▁holder▁no▁3｜><｜hy_User｜> Hi <｜hy_Assistant｜>"
     "<｜hy_Assistant｜>\tHello\n<｜hy_place▁holder▁no▁2｜><｜hy_User｜><｜hy_Assistant｜>"
     "<｜hy_Assistant｜><｜hy_place▁holder▁no▁2｜><｜hy_User｜>Bye\nnow<｜hy_Assistant｜>",
     ""},
    {"kimi-k2", "{{ '<|im_assistant|>assistant<|im_middle|>' }}",
     "<|im_user|>user<|im_middle|>Hi<|im_end|><|im_assistant|>assistant<|im_middle|>",
     "<|im_system|>system<|im_middle|> Be brief.\n<|im_end|><|im_user|>user"
     "<|im_middle|> Hi <|im_end|><|im_assistant|>assistant<|im_middle|>\tHello\n<|im_end|>"
     "<|im_user|>user<|im_middle|><|im_end|><|im_assistant|>assistant<|im_middle|>"
     "<|im_end|><|im_system|>tool<|im_middle|>3<|im_end|><|im_system|>system"
     "<|im_middle|>Now<|im_end|>so<|im_end|><|im_user|>user<|im_middle|>Bye\nnow<|im_end|>"
     "<|im_assistant|>assistant<|im_middle|>",
     "<|im_assistant|>assistant<|im_middle|>"},
    {"seed_oss", "{{ '<seed:bos>' + m.role + '\\n' + m.content + '<seed:eos>' }}",
     "<seed:bos>user\nHi<seed:eos><seed:bos>assistant\n",
     "<seed:bos>system\n Be brief.\n<seed:eos><seed:bos>user\n Hi <seed:eos>"
     "<seed:bos>assistant\nHello<seed:eos><seed:bos>user\n<seed:eos><seed:bos>assistant\n"
     "<seed:eos><seed:bos>tool\n3<seed:eos><seed:bos>system\nNow<seed:eos>"
     "<seed:bos>critic\nso<seed:eos><seed:bos>user\nBye\nnow<seed:eos>"
     "<seed:bos>assistant\n",
     "<seed:bos>assistant\n"},
    {"grok-2", "{{ 'Assistant: '  + message['content'] + '<|separator|>\\n\\n' }}",
     "Human: Hi<|separator|>\n\nAssistant:",
     "System: Be brief.<|separator|>\n\nHuman: Hi<|separator|>\n\nAssistant: \tHello\n"
     "<|separator|>\n\nHuman: <|separator|>\n\nAssistant: <|separator|>\n\nSystem: Now"
     "<|separator|>\n\nHuman: Bye\nnow<|separator|>\n\nAssistant:",
     "Assistant:"},
    {"pangu-embedded", "{{ '[unused9]系统：[unused10]' }}",
     "[unused9]系统：[unused10][unused9]用户：Hi[unused10][unused9]助手：",
     "[unused9]系统： Be brief.\n[unused10][unused9]用户： Hi [unused10]"
     "[unused9]助手：\tHello\n[unused10][unused9]用户：[unused10][unused9]助手：[unused10]"
     "[unused9]工具：3[unused10][unused9]系统：Now[unused10][unused9]用户：Bye\nnow"
     "[unused10][unused9]助手：",
     "[unused9]助手："},
    {"solar-open", "<|begin|>{{ m.role }}<|content|>{{ m.content }}<|end|>",
     "<|begin|>user<|content|>Hi<|end|><|begin|>assistant",
     "<|begin|>system<|content|> Be brief.\n<|end|><|begin|>user<|content|> Hi <|end|>"
     "<|begin|>assistant<|content|>\tHello\n<|end|><|begin|>user<|content|><|end|>"
     "<|begin|>assistant<|content|><|end|><|begin|>tool<|content|>3<|end|><|begin|>system"
     "<|content|>Now<|end|><|begin|>critic<|content|>so<|end|><|begin|>user"
     "<|content|>Bye\nnow<|end|><|begin|>assistant",
     "<|begin|>assistant"},
    // clang-format on
};

/* Texts with the marks of several formats, or of none. */
static const struct {
    const char *template_text, *name;
} detections[] = {
    {"", NULL},
    {"{{ messages }}", NULL},
    {"chatml", "chatml"}, // a name alone, not part of a longer one
    {"chatml ", NULL},
    {"llama", NULL},
    {"mistral", "llama2"},
    {"\nmistral", NULL},
    {"mistral [SYSTEM_PROMPT]", "mistral-v7"},
    {"mistral [AVAILABLE_TOOLS]", "mistral-v3"},
    {"mistral content.strip()", "llama2-sys-strip"},
    {"mistral <<SYS>>", "llama2-sys"},
    {"<|im_start", NULL},
    {"im_start|>", NULL},
    {"<<|im_start|>", "chatml"},
    {"<|im_start|><|im_sep|><end_of_utterance>", "phi4"},
    {"<|im_start|>[INST]<|start_header_id|><|end_header_id|>", "chatml"},
    {"<|im_start|>assistant\n<think>\n\n</think>\n\n", "chatml"},
    {"[AVAILABLE_TOOLS] [INST] \"[INST]\"", "mistral-v1"},
    {"[INST] [AVAILABLE_TOOLS]\"[INST]\"", "mistral-v3-tekken"},
    {"[INST][AVAILABLE_TOOLS][SYSTEM_PROMPT]", "mistral-v7"},
    {"[INST]bos_token + '[INST] content.strip()", "llama2-sys-strip"},
    {"[INST]<|assistant|><|end|>", "llama2"},
    {"<|assistant|>", NULL},
    {"<|user|>", NULL},
    {"<|user|><|assistant|><|end|>", "phi3"},
    {"<|user|><|assistant|>", "glmedge"},
    {"<|user|><|assistant|><|endoftext|></s>", "falcon3"},
    {"<|user|><|assistant|>[gMASK]<sop>", "chatglm4"},
    {"[gMASK]sop <start_of_turn>", "gemma"},
    {"USER: ", NULL},
    {"### Instruction:\n### Response:\n", NULL},
    {"<|USER_TOKEN|>", NULL},
    {"<|start_header_id|>", NULL},
    {"'Assistant: ' + message['content'] + eos_token <｜Assistant｜><｜User｜>"
     "<｜end▁of▁sentence｜>",
     "deepseek2"},
    {"<｜Assistant｜><｜User｜>", NULL},
    {"this is rwkv-world", "rwkv-world"},
    {"<|start_of_role|><tools>", "granite-4.1"},
    {"<|start_of_role|><tool_call>g4_default_system_message", "granite-4.0"},
    {"<|start_of_role|>g4_default_system_message", "granite"},
    {"<role>ASSISTANT</role>\"HUMAN\"", NULL},
    {"<role>ASSISTANT</role>\"HUMAN\"<think>'HUMAN'", "bailing"},
    {"'Assistant: ' + message['content'] + '<|separator|>", NULL}, // Grok's has two spaces
    {"<|begin|><|content|>", NULL},
};

/* What the two conversations above do not reach. */
static const struct {
    const char *name;
    struct chat_message messages[4];
    const char *text;
} special[] = {
    // Contents and roles are copied, never read as patterns.
    {"chatml",
     {{"user", "$c$r$.$"}, {"$U", "%s%n"}},
     "<|im_start|>user\n$c$r$.$<|im_end|>\n<|im_start|>$U\n%s%n<|im_end|>\n"
     "<|im_start|>assistant\n"},
    // Only ASCII white space is trimmed, only ASCII letters are made capitals.
    {"llama3",
     {{"user", " \t\n\v\f\r\u00a0U\u3000 \r\f\v\n\t "}},
     "<|start_header_id|>user<|end_header_id|>\n\n\u00a0U\u3000<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"bailing", {{"ärzte", "x"}}, "<role>äRZTE</role>x<role>ASSISTANT</role>"},
    {"openchat",
     {{"", "x"}, {"é", "y"}},
     "GPT4 Correct : x<|end_of_turn|>GPT4 Correct é: y<|end_of_turn|>GPT4 Correct Assistant:"},
    // Gemma has no system turn: the texts are joined and go before the next one's.
    {"gemma",
     {{"system", " A "}, {"system", " "}, {"system", "B"}, {"tool", "T"}},
     "<start_of_turn>tool\nAB\n\nT<end_of_turn>\n<start_of_turn>model\n"},
    {"gemma",
     {{"system", "S"}, {"assistant", "A"}, {"user", "U"}, {"user", "V"}},
     "<start_of_turn>model\nA<end_of_turn>\n<start_of_turn>user\nS\n\nU<end_of_turn>\n"
     "<start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\n"},
    {"gemma",
     {{"system", " \n"}, {"user", "U"}},
     "<start_of_turn>user\nU<end_of_turn>\n<start_of_turn>model\n"},
    {"orion",
     {{"system", " A "}, {"tool", "T"}, {"system", "B "}, {"user", "U"}},
     "T</s>Human:  A B \n\nU\n\nAssistant: </s>"},
    // These want a system message in front or not at all.
    {"gigachat",
     {{"assistant", "A"}, {"system", "S"}},
     "<s>assistant<|role_sep|>A<|message_sep|>assistant<|role_sep|>"},
    {"hunyuan-dense", {{"user", "U"}, {"system", "S"}}, "<｜hy_User｜>U<｜hy_Assistant｜>"},
    // An answer is asked for after a user's message only.
    {"rwkv-world", {{"user", "U"}, {"system", "S"}}, "User: U\n\nSystem: S\n\n"},
    {"pangu-embedded",
     {{"function", "F"}},
     "[unused9]系统：[unused10][unused9]方法：F[unused10][unused9]助手："},
    {"granite",
     {{"assistant_tool_call", "C"}},
     "<|start_of_role|>assistant_tool_call<|end_of_role|><|tool_call|>C<|end_of_text|>\n"
     "<|start_of_role|>assistant<|end_of_role|>"},
    {"granite-4.0",
     {{"assistant_tool_call", "C"}},
     "<|start_of_role|>assistant<|end_of_role|><|tool_call|>C<|end_of_text|>\n"
     "<|start_of_role|>assistant<|end_of_role|>"},
    {"granite-4.1",
     {{"assistant_tool_call", "C"}},
     "<|start_of_role|>assistant<|end_of_role|><|tool_call|>C<|end_of_text|>\n"
     "<|start_of_role|>assistant<|end_of_role|>"},
};

static struct list *list_of(struct arena *a, const struct chat_message *messages, size_t n) {
    struct value list = value_list(a, V_LIST);
    for (size_t i = 0; i < n && list.type == V_LIST; i++) {
        struct value m = value_dict(a);
        const char *role = messages[i].role, *content = messages[i].content;
        dict_set_text(a, m.u.dict, "role", value_text(a, role));
        dict_set_text(a, m.u.dict, "content",
                      value_str(str_new(a, content, strlen(content), true)));
        list_add(a, list.u.list, m);
    }
    return list.u.list;
}

/* Also: what is marked as input are the contents alone, whole but for white space. */
static void check_text(const char *name, const struct chat_message *messages, size_t n,
                       bool add_assistant, const char *want, size_t want_len) {
    struct error err = {KQ_OK, ""};
    struct arena a;
    const struct str *text;
    const struct chat_format *f = chat_find(name);
    CHECK(f && strcmp(chat_name(f), name) == 0, "no format %s", name);
    if (!f) return;
    arena_init(&a, 1 << 20);
    int status = chat_render(f, &a, list_of(&a, messages, n), add_assistant, &text, &err);
    CHECK(status == 0, "%s: %s", name, err.text);
    if (status == 0) {
        CHECK(text->len == want_len && memcmp(text->data, want, want_len) == 0,
              "%s, %zu messages, answer %d\n  got      \"%.*s\"\n  expected \"%.*s\"", name, n,
              add_assistant, (int)text->len, text->data, (int)want_len, want);
    }
    arena_free(&a);
}

/* Every byte of a content is input, every other byte the format's. */
static void test_marks(void) {
    static const struct chat_message said[] = {
        {"system", " \a\a "}, {"user", "\a<s>\a"}, {"assistant", "\a"}, {"user", "\a\a"}};
    for (size_t i = 0; i < COUNT(expected); i++) {
        struct error err = {KQ_OK, ""};
        struct arena a;
        const struct str *text;
        size_t n_bells = 0;
        arena_init(&a, 1 << 20);
        struct list *messages = list_of(&a, said, COUNT(said));
        int status = chat_render(chat_find(expected[i].name), &a, messages, true, &text, &err);
        for (size_t k = 0; status == 0 && k < text->len; k++) {
            bool bell = text->data[k] == '\a';
            bool inside = bell || (k > 0 && k + 1 < text->len && str_is_input(text, k - 1) &&
                                   str_is_input(text, k + 1));
            n_bells += bell;
            CHECK(str_is_input(text, k) ? inside || text->data[k] == ' ' : !bell,
                  "%s, byte %zu of \"%.*s\"", expected[i].name, k, (int)text->len, text->data);
        }
        CHECK(n_bells >= 5, "%s: %zu bells", expected[i].name, n_bells);
        arena_free(&a);
    }
}

/* Contents that are lists of parts, or none. */
static void test_parts(void) {
    struct error err = {KQ_OK, ""};
    struct arena a;
    const struct str *text;
    arena_init(&a, 1 << 20);
    struct list *messages = list_of(&a, alone, 1);
    struct value parts = value_list(&a, V_LIST), part = value_dict(&a), image = value_dict(&a);
    dict_set_text(&a, part.u.dict, "text", value_text(&a, "one "));
    dict_set_text(&a, image.u.dict, "image", value_text(&a, "no"));
    list_add(&a, parts.u.list, part);
    list_add(&a, parts.u.list, image);
    list_add(&a, parts.u.list, value_text(&a, "two"));
    struct dict *message = messages->items[0].u.dict;
    dict_set_text(&a, message, "content", parts);
    CHECK(chat_render(chat_find("chatml"), &a, messages, false, &text, &err) == 0 &&
              str_is(text, "<|im_start|>user\none two<|im_end|>\n"),
          "\"%.*s\"", (int)text->len, text->data);
    dict_set_text(&a, message, "content", value_int(5));
    CHECK(chat_render(chat_find("llama3"), &a, messages, false, &text, &err) == 0 &&
              str_is(text, "<|start_header_id|>user<|end_header_id|>\n\n5<|eot_id|>"),
          "\"%.*s\"", (int)text->len, text->data);
    dict_set_text(&a, message, "content", value_none());
    CHECK(chat_render(chat_find("chatml"), &a, messages, false, &text, &err) == 0 &&
              str_is(text, "<|im_start|>user\n<|im_end|>\n"),
          "\"%.*s\"", (int)text->len, text->data);
    arena_free(&a);
}

static void test_render(void) {
    for (size_t i = 0; i < COUNT(expected); i++) {
        const char *name = expected[i].name, *all = expected[i].talk;
        check_text(name, alone, COUNT(alone), true, expected[i].alone, strlen(expected[i].alone));
        check_text(name, talk, COUNT(talk), true, all, strlen(all));
        check_text(name, talk, COUNT(talk), false, all, strlen(all) - strlen(expected[i].answer));
    }
    for (size_t i = 0; i < COUNT(special); i++) {
        size_t n = 0;
        while (n < COUNT(special[i].messages) && special[i].messages[n].role) n++;
        check_text(special[i].name, special[i].messages, n, true, special[i].text,
                   strlen(special[i].text));
    }
    check_text("chatml", NULL, 0, true, "<|im_start|>assistant\n", 22);
}

/* The text ends where an unreadable page begins and has no NUL, as in a mapped file. */
static void check_detect(const char *text, const char *want) {
    size_t len = strlen(text);
    struct guarded g = guarded_alloc(len, false);
    memcpy(g.data, text, len);
    const struct chat_format *f = chat_detect((const char *)g.data, len);
    const char *got = f ? chat_name(f) : "none";
    CHECK(strcmp(got, want ? want : "none") == 0, "\"%s\": %s, expected %s", text, got,
          want ? want : "none");
    guarded_free(&g);
}

static void test_detect(void) {
    for (size_t i = 0; i < COUNT(expected); i++) {
        check_detect(expected[i].name, expected[i].name);
        if (expected[i].template_text) check_detect(expected[i].template_text, expected[i].name);
    }
    for (size_t i = 0; i < COUNT(detections); i++) {
        check_detect(detections[i].template_text, detections[i].name);
    }
    CHECK(!chat_find("") && !chat_find("chatm") && !chat_find("chatml2"), "found a wrong name");
}

/* All names if there is room, otherwise whole ones only; never a byte too far. */
static void test_names(void) {
    char all[4096];
    chat_names(all, sizeof all);
    size_t len = 0;
    for (size_t i = 0; i < COUNT(expected); i++) {
        size_t n = strlen(expected[i].name);
        CHECK(strstr(all, expected[i].name), "no %s in \"%s\"", expected[i].name, all);
        len += n + (i ? 2 : 0);
    }
    CHECK(strlen(all) == len, "\"%s\": a format without a test?", all);
    for (size_t size = 0; size <= len + 2; size++) {
        struct guarded g = guarded_alloc(size, false);
        const char *cut = (const char *)g.data;
        memset(g.data, 'x', size);
        chat_names((char *)g.data, size);
        size_t n = size ? strlen(cut) : 0;
        CHECK(n <= len && strncmp(all, size ? cut : "", n) == 0, "size %zu: \"%s\"", size, cut);
        CHECK(n == 0 || all[n] == ',' || all[n] == '\0', "size %zu: \"%s\"", size, cut);
        CHECK(size <= len || n == len, "size %zu: \"%s\"", size, cut);
        guarded_free(&g);
    }
}

/* Formats as the templates that they stand for: text and marks are the same, byte for byte. */
static const struct {
    const char *name, *program;
} programs[] = {
    {"chatml",
     "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
     "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"},
    {"phi3", "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}"
             "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"},
    {"llama3",
     "{% for m in messages %}{% set t = '<|start_header_id|>' + m['role'] + "
     "'<|end_header_id|>\\n\\n' +"
     " m['content'] | trim + '<|eot_id|>' %}{{ t }}{% endfor %}{% if add_generation_prompt %}"
     "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"},
    {"gemma",
     "{% if messages[0].role == 'system' %}{% set first = messages[0].content.strip() ~ '\\n\\n' %}"
     "{% set rest = messages[1:] %}{% endif %}{% for m in rest %}<start_of_turn>"
     "{{ 'model' if m.role == 'assistant' else m.role }}\n{{ first if loop.first }}"
     "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
     "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"},
    {"deepseek3",
     "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{{ '\\n\\n' }}"
     "{% elif m.role == 'user' %}{{ '<｜User｜>' ~ m.content }}{% else %}"
     "{{- '<｜Assistant｜>' -}}{{ m.content ~ '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}"
     "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"},
    {"mistral-v3",
     "{% for m in messages %}{% if m.role == 'system' %}{{ '[INST] ' ~ m.content }}{{ '\\n\\n' }}"
     "{% elif m.role == 'user' %}{% if messages[loop.index0 - 1].role != 'system' %}[INST] "
     "{% endif %}{{ m.content }}[/INST]{% else %}{{ ' ' + m.content.strip() + eos_token }}"
     "{% endif %}{% endfor %}"},
};

static void test_programs(void) {
    static const struct chat_message said[] = {{"system", " Be brief.\n"},
                                               {"user", " H\xc3\xa9 "},
                                               {"assistant", "\tSo\n"},
                                               {"user", "b<s>"}};
    for (size_t i = 0; i < 2 * COUNT(programs); i++) {
        const char *name = programs[i / 2].name, *program = programs[i / 2].program;
        bool answer = i % 2 == 0, made = false;
        struct error err = {KQ_OK, ""};
        struct arena a;
        struct value request, variables;
        const struct str *ours = NULL, *theirs = NULL;
        arena_init(&a, 64 << 20);
        request = value_dict(&a);
        struct list *messages = list_of(&a, said, COUNT(said));
        dict_set_text(&a, request.u.dict, "messages",
                      (struct value){.type = V_LIST, .u.list = messages});
        dict_set_text(&a, request.u.dict, "add_generation_prompt", value_bool(answer));
        struct jinja *t = jinja_open(program, strlen(program), &err);
        made = t && chat_template_variables(&a, request, "<s>", "</s>", &variables, &err) == 0 &&
               jinja_render(t, &a, variables.u.dict, 100, NULL, &theirs, &err) == 0 &&
               chat_render(chat_find(name), &a, messages, answer, &ours, &err) == 0;
        CHECK(made, "%s: %s", name, err.text);
        if (!made) {
            jinja_close(t);
            arena_free(&a);
            continue;
        }
        CHECK(str_equal(ours, theirs), "%s\n  format   \"%.*s\"\n  template \"%.*s\"", name,
              (int)ours->len, ours->data, (int)theirs->len, theirs->data);
        for (size_t k = 0; k < ours->len && k < theirs->len; k++) {
            CHECK(str_is_input(ours, k) == str_is_input(theirs, k), "%s, byte %zu", name, k);
        }
        jinja_close(t);
        arena_free(&a);
    }
}

static void test_out_of_memory(void) {
    static const struct chat_message long_one[] = {
        {"user", "Once upon a time, and a time, and a time"}};
    struct error err = {KQ_OK, ""};
    struct arena messages, small;
    const struct str *text;
    arena_init(&messages, 1 << 20);
    arena_init(&small, 64);
    struct list *list = list_of(&messages, long_one, 1);
    int status = chat_render(chat_find("chatml"), &small, list, true, &text, &err);
    CHECK(status == -1 && !text && err.status == KQ_NO_MEMORY, "status %d", status);
    arena_free(&small);
    arena_free(&messages);
}

int main(void) {
    test_render();
    test_marks();
    test_parts();
    test_programs();
    test_detect();
    test_names();
    test_out_of_memory();
    return test_done("test_chat");
}
