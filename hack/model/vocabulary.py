"""The tiny model's tokenizer: byte-level BPE of at most 512 tokens with Phi-3's special tokens and chat template."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 512
CONTEXT = 2048
BEGIN, END_OF_TEXT, UNKNOWN = "<s>", "<|endoftext|>", "<unk>"
SYSTEM, USER, ASSISTANT, END = "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
SPECIAL = [UNKNOWN, BEGIN, END_OF_TEXT, ASSISTANT, SYSTEM, END, USER]

# Phi-3's turns; tools as one line of a system turn, calls as the models of the Hermes family write them.
CHAT_TEMPLATE = (
    "{% if tools %}{{ '<|system|>\\nTools:' }}"
    "{% for tool in tools %}{{ ' ' + tool.function.name + '(' }}"
    "{{ tool.function.parameters.properties | join(', ') + ')' }}{% endfor %}"
    "{{ '<|end|>\\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + (message['content'] or '') }}"
    "{% for call in message.tool_calls or [] %}"
    "{{ '<tool_call>\\n{\"name\": ' + (call.function.name | tojson) + ', \"arguments\": ' }}"
    "{{ call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}"
    "{{ '}\\n</tool_call>' }}"
    "{% endfor %}"
    "{{ '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


def call_text(name: str, arguments: str) -> str:
    """One call as CHAT_TEMPLATE renders it; `arguments` is JSON."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def train(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Learns the merges from `texts`; every one of the 256 bytes is a token, so any text can be read."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        unk_token=UNKNOWN,
        additional_special_tokens=[ASSISTANT, SYSTEM, END, USER],
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
