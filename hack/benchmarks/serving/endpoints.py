"""Requests answered by `vllm serve` and by our server, and by the two endpoints of ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from local_cluster.lessons import first_lesson

from benchmarks.serving.load import Block, Question, ask_many
from benchmarks.serving.pairing import in_turns
from benchmarks.serving.servers import SERVED_NAME, ours, plain_vllm
from benchmarks.serving.setting import Setting, Size
from inference_server import contract
from kaito_controller.testing.serving import Server

TOKENS: Final = 16
PAIRINGS: Final = {"ours_over_vllm_serve": "ours / vllm serve", "chat_over_completions": "/chat / OpenAI"}


def measure(setting: Setting) -> dict[str, Any]:
    """Start both servers and measure them in turns, then the two endpoints of ours."""
    asking = partial(_asking, setting.size)
    of_openai, of_chat = _completions(), _chat()
    with (
        plain_vllm(setting.python, setting.model, setting.folder) as peer,
        ours(setting.python, setting.model, setting.folder) as mine,
    ):
        for warm in (asking(peer, of_openai), asking(mine, of_openai), asking(mine, of_chat)):
            warm()
        pairs = {
            "ours_over_vllm_serve": (asking(peer, of_openai), asking(mine, of_openai)),
            "chat_over_completions": (asking(mine, of_openai), asking(mine, of_chat)),
        }
        measured = {name: in_turns(*sides, setting.size.pairs).figures() for name, sides in pairs.items()}
    return {"count": setting.size.count, "clients": setting.size.clients, **measured}


def show(figures: dict[str, Any]) -> None:
    """Print what each side answered and how they compare."""
    print(
        f"{figures['count']} requests a block, {figures['clients']} clients, the middle half of the pairs in brackets"
    )
    for name, what in PAIRINGS.items():
        found = figures[name]
        low, high = found["throughput_ratio_middle_half"]
        ratio = f"{found['throughput_ratio']:.4f} of the throughput [{low:.4f} {high:.4f}]"
        more = f"p99 {found['p99_more_ms']:+.2f} ms, CPU {found['cpu_more_ms_each']:+.3f} ms each"
        print(f"{what:<20} {ratio} over {found['pairs']} pairs, {more}")
        for side in ("peer", "ours"):
            one = found[side]
            latencies = f"p50 {one['p50_ms']:.1f} ms  p99 {one['p99_ms']:.1f} ms"
            print(f"  {side:<18} {one['per_s']:>8.1f}/s  {latencies}  CPU {one['cpu_ms_each']:.2f} ms each")


def _asking(size: Size, server: Server, question: Question) -> Callable[[], Block]:
    return partial(ask_many, server, question, count=size.count, clients=size.clients)


def _completions() -> Question:
    message = {"role": "user", "content": first_lesson().question}
    body = {"model": SERVED_NAME, "messages": [message], "temperature": 0, "max_tokens": TOKENS}
    return Question(path=contract.CHAT_COMPLETIONS_PATH, body=body)


def _chat() -> Question:
    """The same as `_completions` in the classic form: as many tokens, chosen as greedily."""
    body = {"prompt": first_lesson().question, "return_full_text": False}
    return Question(
        path=contract.CHAT_PATH, body={**body, "generate_kwargs": {"max_new_tokens": TOKENS, "do_sample": False}}
    )
