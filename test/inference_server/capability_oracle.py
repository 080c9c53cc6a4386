"""What the pinned vLLM and transformers make of the catalogue's capabilities: run by the interpreter that has them.

Reads {"presets": {name: options}, "templates": {name: {"parser", "conversation"}}, "folder"} as JSON from stdin and
prints what each option came to, and for each template the prompts and the calls that the parser reads back from them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.reasoning import ReasoningParserManager
from vllm.renderers.registry import _VLLM_RENDERERS as RENDERERS
from vllm.tool_parsers import ToolParserManager

from inference_server.serve import argv
from inference_server.serve.config_file import ConfigFile
from inference_server.serve.engine import Engine

# The turns of DeepSeek's models that its parser looks up in the vocabulary.
TOKENS = ["<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"]  # noqa: RUF001 (as they are)


def tokenizer(template: str) -> PreTrainedTokenizerFast:
    """Bytes alone, with `template` for its conversations."""
    inner = Tokenizer(
        models.BPE(vocab={letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<bos>", chat_template=template)
    made.add_tokens(TOKENS)
    return made


def rendered(case: dict[str, Any], template: str) -> dict[str, Any]:
    """The prompts of a conversation as it grows, and what the parser reads in the assistant's first turn."""
    known = tokenizer(template)
    talk, tools = case["conversation"]["messages"], case["conversation"]["tools"]
    first = next(index for index, message in enumerate(talk) if message["role"] == "assistant")

    def text(messages: list[dict[str, Any]], **more: Any) -> str:
        return known.apply_chat_template(messages, tools=tools, tokenize=False, **more)

    prompt = text(talk[:first], add_generation_prompt=True)
    called = text(talk[: first + 1])
    found = {
        "prompt": prompt,
        "untooled": known.apply_chat_template(talk[:first], tokenize=False, add_generation_prompt=True),
        "whole": text(talk[:-1], add_generation_prompt=True),
        "goes_on": called.startswith(prompt),
    }
    if case["parser"]:
        request = ChatCompletionRequest(messages=talk[:first], tools=tools, model="m")
        parser = ToolParserManager.get_tool_parser(case["parser"])(known, request.tools)
        said = called.removeprefix(prompt)
        for end in ("<|end|>", "<｜end▁of▁sentence｜>", "<end_of_turn>\n"):  # noqa: RUF001 (as they are)
            said = said.removesuffix(end)
        read = parser.extract_tool_calls(said, request)
        found["said"] = said
        found["calls"] = [[call.function.name, json.loads(call.function.arguments)] for call in read.tool_calls]
    return found


def main() -> None:
    asked = json.load(sys.stdin)
    engine = Engine()
    answer: dict[str, Any] = {"presets": {}, "templates": {}}
    for name, options in asked["presets"].items():
        given = {f"--{key}": value for key, value in options.items()}
        words = [word for key, value in given.items() for word in (key, *([] if value == "true" else [value]))]
        args = engine.read(argv.resolve(words, ConfigFile(vllm={}), engine.options))
        problems = []
        if args.tool_call_parser and args.tool_call_parser not in ToolParserManager.list_registered():
            problems.append(f"tool parser {args.tool_call_parser}")
        elif args.tool_call_parser:
            ToolParserManager.get_tool_parser(args.tool_call_parser)
        reasoning = args.reasoning_parser
        if reasoning and reasoning not in ReasoningParserManager.list_registered():
            problems.append(f"reasoning parser {reasoning}")
        elif reasoning:
            ReasoningParserManager.get_reasoning_parser(reasoning)
        if args.tokenizer_mode != "auto" and args.tokenizer_mode not in RENDERERS:
            problems.append(f"tokenizer mode {args.tokenizer_mode}")
        if bool(args.tool_call_parser) != bool(args.enable_auto_tool_choice):
            problems.append("a parser of calls and the choice of tools go together")
        answer["presets"][name] = problems
    for name, case in asked["templates"].items():
        template = (Path(asked["folder"]) / f"{name}.jinja").read_text(encoding="utf-8")
        answer["templates"][name] = rendered(case, template)
    print(json.dumps(answer))


main()
