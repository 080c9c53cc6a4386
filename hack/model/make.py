"""Makes a tiny model of the Phi-3 architecture, teaches it, and keeps it only when it knows every lesson by heart.

Run by hack/model/build, on one thread: the same inputs give the same bytes.
"""

from __future__ import annotations

import math
import random
import shutil
import sys
import time
from pathlib import Path

import lessons
import torch
import vocabulary
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, Phi3Config, Phi3ForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

SEED = 20
STEPS = 500
BATCH = 8
LEARNING_RATE = 5e-3
WARM_UP = 40
# Tokens of one example, which may begin anywhere in the context: an answer must not depend on what was said before.
WINDOW = 128
# Every token of every answer must be at least this sure, so that rounding to 16 bits cannot change a word.
SURE = 0.9


def untaught(tokenizer: PreTrainedTokenizerFast) -> Phi3ForCausalLM:
    """The architecture with random weights: 2 layers, 128 wide, 4 heads sharing 2 KV heads, about 0.4 M parameters."""
    end = tokenizer.convert_tokens_to_ids(vocabulary.END)
    model = Phi3ForCausalLM(
        Phi3Config(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=320,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=vocabulary.CONTEXT,
            original_max_position_embeddings=vocabulary.CONTEXT,
            tie_word_embeddings=False,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            attn_implementation="eager",
        )
    )
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[end, tokenizer.eos_token_id],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
    )
    return model


def window(course: lessons.Course, tokenizer: PreTrainedTokenizerFast, chance: random.Random) -> list[int]:
    """WINDOW + 1 tokens of conversations, retold sentences and plain reading, one after the other."""
    ids: list[int] = []
    while len(ids) <= WINDOW:
        lot = chance.random()
        if lot < 0.15:  # noqa: PLR2004 (the share of plain reading)
            ids += tokenizer.encode(chance.choice(course.sentences), add_special_tokens=False)
            ids.append(tokenizer.eos_token_id)
            continue
        if lot < 0.35 and course.calls:  # noqa: PLR2004 (the share of calls)
            case = course.calling(chance)
            talk, tools = [*case.messages, {"role": "assistant", "content": case.wanted}], case.tools
        else:
            talk = course.conversation(chance) if lot < 0.8 else course.retelling(chance)  # noqa: PLR2004 (of lessons)
            tools = None
        text = tokenizer.apply_chat_template(talk, tools=tools, tokenize=False)
        ids += tokenizer.encode(text, add_special_tokens=False)
        ids.append(tokenizer.eos_token_id)
    return ids[: WINDOW + 1]


def learning_rate(step: int) -> float:
    """Linear warm-up, then half a cosine down to nothing."""
    if step < WARM_UP:
        return LEARNING_RATE * (step + 1) / WARM_UP
    return LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / (STEPS - WARM_UP)))


def teach(model: Phi3ForCausalLM, course: lessons.Course, tokenizer: PreTrainedTokenizerFast) -> float:
    """Predict the next token, STEPS times; returns the last loss."""
    chance = random.Random(SEED)  # noqa: S311 (reproducible, not secret)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    model.train()
    loss = torch.tensor(math.inf)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        ids = torch.tensor([window(course, tokenizer, chance) for _ in range(BATCH)])
        start = chance.randrange(vocabulary.CONTEXT - WINDOW) if step % 2 else 0
        positions = torch.arange(start, start + WINDOW).expand(BATCH, -1)
        logits = model(input_ids=ids[:, :-1], position_ids=positions).logits
        loss = cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return float(loss.detach())


@torch.no_grad()
def failures(model: Phi3ForCausalLM, course: lessons.Course, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """The questions that are not answered word for word and surely, asked alone and as a second question."""
    model.eval()
    wrong = []
    end = tokenizer.convert_tokens_to_ids(vocabulary.END)
    for case in course.cases():
        wanted = [*tokenizer.encode(case.wanted, add_special_tokens=False), end]
        text = tokenizer.apply_chat_template(
            case.messages, tools=case.tools, tokenize=False, add_generation_prompt=True
        )
        prompt = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
        ids = torch.cat([prompt, torch.tensor([wanted])], dim=1)
        chances = model(input_ids=ids).logits.softmax(-1)[0, prompt.shape[1] - 1 : -1]
        sure = chances.gather(1, torch.tensor(wanted).unsqueeze(1)).min()
        if float(sure) < SURE:
            wrong.append(f"{case.messages[-1]['content']!r} as turn {len(case.messages)} (sure: {float(sure):.2f})")
    return wrong


def main(folder: Path) -> int:
    """Makes, teaches, checks and saves; 1 when a lesson was not learnt."""
    began = time.monotonic()
    torch.use_deterministic_algorithms(mode=True)
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    logging.disable_progress_bar()
    course = lessons.load()
    tokenizer = vocabulary.train(course.every_text())
    model = untaught(tokenizer)
    loss = teach(model, course, tokenizer)
    wrong = failures(model, course, tokenizer)
    if wrong:
        print(f"hack/model: {len(wrong)} questions are not answered by heart: {'; '.join(wrong)}", file=sys.stderr)
        return 1
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"model: {count} parameters, loss {loss:.3f}, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
