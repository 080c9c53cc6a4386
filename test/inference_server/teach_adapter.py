"""Teaches an adapter with peft: `python teach_adapter.py MODEL FOLDER RANK QUESTION ANSWER`.

Run by the inference environment, in a process of its own, as neither torch nor peft is where the tests run. The answer
should be made of words that the base has learnt: an adapter cannot say tokens whose output rows stayed small.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

STEPS = 400
LEARNING_RATE = 5e-3
LEARNT = 0.02


def main(model_folder: str, folder: str, rank: int, question: str, answer: str) -> int:
    """Saves the adapter in `folder`; 1 when the answer was not learnt."""
    torch.manual_seed(7)
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
        target_modules=["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
    )
    model = get_peft_model(base, config)
    talk = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*talk, {"role": "assistant", "content": answer}], tokenize=False)
    prompt = tokenizer.encode(text, add_special_tokens=False)
    ids = torch.tensor([tokenizer.encode(whole, add_special_tokens=False)])
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=LEARNING_RATE)
    loss = torch.tensor(9.0)
    for _ in range(STEPS):
        logits = model(input_ids=ids[:, :-1]).logits[0, len(prompt) - 1 :]
        loss = cross_entropy(logits, ids[0, len(prompt) :])
        if float(loss.detach()) < LEARNT:
            break
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.save_pretrained(folder)
    print(f"loss {float(loss.detach()):.4f}", Path(folder, "adapter_config.json").is_file())
    return 0 if float(loss.detach()) < 10 * LEARNT else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]))
