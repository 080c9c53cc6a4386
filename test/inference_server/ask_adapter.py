"""Asks a model with an adapter, greedily, in the inference environment: `MODEL ADAPTER PAIRS.yaml`, prints JSON.

For each pair the answer, word for word, and the least sure of its tokens.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


@torch.no_grad()
def main(folder: str, adapter: str, pairs: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), adapter).eval()
    answers = []
    for pair in yaml.safe_load(Path(pairs).read_text(encoding="utf-8"))["pairs"]:
        talk = [{"role": "user", "content": pair["prompt"]}]
        ids = tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        said = model.generate(**ids, max_new_tokens=60, do_sample=False)
        start = ids["input_ids"].shape[1]
        chances = model(input_ids=said).logits.softmax(-1)[0, start - 1 : -1]
        sure = chances.gather(1, said[0, start:, None]).min()
        text = tokenizer.decode(said[0][start:], skip_special_tokens=True).strip()
        answers.append({"answer": text, "sure": float(sure)})
    print(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
