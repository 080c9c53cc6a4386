"""Our server beside `vllm serve` at equal settings on the CPU, in turns; `/chat`, adapters and starts.

The taught model has 0.4 M parameters, so an answer is mostly the server's own work: what a layer of Python costs shows
here as it never would on a GPU.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from local_cluster.lessons import first_lesson
from local_cluster.quickstart import printed_path

from benchmarks.serving import adapters, start
from benchmarks.serving.load import Block, Question, ask_many
from benchmarks.serving.pairing import in_turns
from benchmarks.serving.servers import SERVED_NAME, ours, plain_vllm
from inference_server import contract

TOKENS: Final = 16


@frozen(kw_only=True)
class Size:
    """How much is asked: pairs of blocks, requests a block, clients at once."""

    pairs: int
    count: int
    clients: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how much is asked."""
    parser.add_argument("--pairs", type=int, default=20, metavar="N", help="pairs of blocks (default: %(default)s)")
    parser.add_argument("--count", type=int, default=200, metavar="N", help="requests a block (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=4, metavar="N", help="clients at once (default: %(default)s)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Start both servers and measure them in turns, then the two endpoints of ours."""
    size = Size(pairs=options.pairs, count=options.count, clients=options.clients)
    python, model = printed_path("hack/environment", "inference-cpu"), printed_path("hack/model/build")
    with tempfile.TemporaryDirectory() as folder:
        _say("starting vllm serve and ours")
        with plain_vllm(python, model, Path(folder)) as peer, ours(python, model, Path(folder)) as mine:
            asking = partial(_asking, size)
            completions = _completions()
            for warm in (asking(peer, completions), asking(mine, completions), asking(mine, _chat())):
                warm()
            _say("ours against vllm serve")
            plain = in_turns(asking(peer, completions), asking(mine, completions), size.pairs)
            _say("/chat against the OpenAI endpoint")
            chat = in_turns(asking(mine, completions), asking(mine, _chat()), size.pairs)
        _say(f"{adapters.KNOWN} adapters, {adapters.IN_MEMORY} of them in memory")
        swaps = adapters.measure(python, model, Path(folder))
        _say("the start of a pod whose weights are fetched")
        begun = start.measure(python, model, Path(folder))
    return {
        "count": size.count,
        "clients": size.clients,
        "ours_over_vllm_serve": plain.figures(),
        "chat_over_completions": chat.figures(),
        "adapters": swaps,
        "start": begun,
    }


def show(result: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print(f"{result['count']} requests a block, {result['clients']} clients, the middle half of the pairs in brackets")
    for name, what in (("ours_over_vllm_serve", "ours / vllm serve"), ("chat_over_completions", "/chat / OpenAI")):
        found = result[name]
        low, high = found["throughput_ratio_middle_half"]
        ratio = f"{found['throughput_ratio']:.4f} of the throughput [{low:.4f} {high:.4f}]"
        print(f"{what:<20} {ratio} over {found['pairs']} pairs, p99 {found['p99_more_ms']:+.2f} ms")
        for side in ("peer", "ours"):
            one = found[side]
            print(f"  {side:<18} {one['per_s']:>8.1f}/s  p50 {one['p50_ms']:.1f} ms  p99 {one['p99_ms']:.1f} ms")
    swaps = result["adapters"]
    print(f"{swaps['known']} adapters known to one engine, {swaps['in_memory']} in its memory")
    for name in ("load_ms", "warm_ms", "swap_ms"):
        told = "  ".join(f"{which} {value:.1f} ms" for which, value in swaps[name].items())
        print(f"  {name.removesuffix('_ms'):<18} {told}")
    begun = result["start"]
    print(f"start of a pod whose weights are fetched, from a hub that takes {begun['download_s']:.0f} s over them")
    print(
        f"  weights {begun['fetch_s']:.1f} s, engine {begun['start_s']:.1f} s, at once {begun['side_by_side_s']:.1f} s"
    )
    print(f"  {begun['hidden_share']:.0%} of the shorter is hidden behind the longer")


def _asking(size: Size, port: int, question: Question) -> Callable[[], Block]:
    return partial(ask_many, port, question, count=size.count, clients=size.clients)


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


def _say(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr, flush=True)
