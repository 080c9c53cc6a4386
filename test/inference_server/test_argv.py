from __future__ import annotations

import json
from pathlib import Path

import pytest

from inference_server import contract, plain_yaml
from inference_server.refusal import InputError
from inference_server.serve import argv, config_file
from inference_server.serve.adapters_folder import FILES
from inference_server.serve.argv import GUARD_MIDDLEWARE, MIDDLEWARE, Option
from inference_server.serve.config_file import ConfigFile
from inference_server.serve.own_arguments import OwnArguments

VALUE = Option(takes_value=True)
FLAG = Option(takes_value=False, negatable=True)
OPTIONS = {
    "model": VALUE,
    "port": VALUE,
    "host": VALUE,
    "load-format": VALUE,
    "max-model-len": VALUE,
    "tensor-parallel-size": VALUE,
    "enforce-eager": FLAG,
    "headless": Option(takes_value=False),
    "served-model-name": Option(takes_value=True, several=True),
    "compilation-config": VALUE,
    "middleware": VALUE,
    "nnodes": VALUE,
    "node-rank": VALUE,
    "data-parallel-size": VALUE,
    "api-server-count": VALUE,
    "shutdown-timeout": VALUE,
    "enable-lora": FLAG,
    "lora-modules": Option(takes_value=True, several=True),
}
ENDING = [word for layer in MIDDLEWARE for word in ("--middleware", layer)]


def resolved(words: list[str], **vllm: object) -> list[str]:
    """The arguments without our defaults, which have a test of their own."""
    return argv.resolve([*words, "--port", "1", "--load-format", "auto"], ConfigFile(vllm=vllm), OPTIONS)


def refusal(text: str) -> InputError:
    with pytest.raises(InputError) as caught:
        argv.resolve([], config_file.parse(text), OPTIONS)
    return caught.value


def test_defaults_are_the_contracts_port_and_safetensors():
    """Without arguments the server listens where the Service looks, and reads no pickled weights."""
    assert [
        "--port",
        str(contract.PORT),
        "--load-format",
        "safetensors",
        "--model",
        "/m",
        *ENDING,
    ] == argv.resolve(["--model", "/m"], ConfigFile(vllm={}), OPTIONS)


def test_given_values_replace_the_defaults():
    """A port and a load format of the caller's stand alone."""
    words = ["--port=7", "--load-format", "auto"]
    assert [*words, *ENDING] == argv.resolve(words, ConfigFile(vllm={}), OPTIONS)


def test_a_load_format_of_the_file_replaces_the_default():
    """The file's spelling with an underscore counts as the same option."""
    words = argv.resolve([], ConfigFile(vllm={"load_format": "auto"}), OPTIONS)
    assert ["--port", str(contract.PORT), "--load-format", "auto", *ENDING] == words


def test_a_value_is_known_before_vllm_is_imported():
    """The file's value counts, in either spelling, else the last of the arguments."""
    words = ["--model", "a", "--model=b"]
    assert argv.wanted(words, ConfigFile(vllm={}), "--model") == "b"
    assert argv.wanted(words, ConfigFile(vllm={"model": "c"}), "--model") == "c"
    assert argv.wanted(words, ConfigFile(vllm={"load_format": "auto"}), "--load-format") == "auto"
    assert argv.wanted([], ConfigFile(vllm={}), "--model") is None


@pytest.mark.parametrize(("rank", "headless"), [("0", False), ("1", True), ("12", True)])
def test_only_rank_zero_serves_the_api(rank: str, headless: bool):
    """One pod template starts every rank: those above 0 become headless by their number."""
    assert headless == ("--headless" in resolved(["--nnodes", "13", "--node-rank", rank]))


def test_the_file_wins_by_coming_last():
    """The operator's value and the user's are both there, the user's after it: argparse keeps the last."""
    words = resolved(["--max-model-len", "2048"], **{"max-model-len": 512})
    assert argv.last(words, "--max-model-len") == "512"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"max-model-len": 512}, ["--max-model-len", "512"]),
        ({"max_model_len": "16k"}, ["--max-model-len", "16k"]),
        ({"enforce-eager": True}, ["--enforce-eager"]),
        ({"enforce-eager": "true"}, ["--enforce-eager"]),
        ({"enforce-eager": False}, ["--no-enforce-eager"]),
        ({"headless": False}, []),
        ({"max-model-len": -1}, ["--max-model-len=-1"]),
        ({"served-model-name": ["a", "b"]}, ["--served-model-name", "a", "b"]),
        ({"compilation-config": {"mode": 0}}, ["--compilation-config", '{"mode": 0}']),
        ({"compilation-config.mode": 0}, ["--compilation-config.mode", "0"]),
        ({"model": True}, ["--model", "true"]),
    ],
)
def test_an_entry_becomes_words(entry: dict[str, object], words: list[str]):
    """Each kind of YAML value takes the form that vLLM's parser reads."""
    assert words == [word for key, value in entry.items() for word in argv.words_for(key, value, OPTIONS)]


def test_an_unknown_name_in_the_file_offers_the_nearest():
    """A spelling mistake is told with its field and the name that was meant, and ends with the config exit code."""
    found = refusal("vllm: {max-modle-len: 5}")
    assert ("vllm.max-modle-len", "did you mean max-model-len?") == (found.field, found.remedy)
    assert found.exit_code == contract.EXIT_CONFIG


def test_an_unknown_argument_offers_the_nearest():
    """The same on the command line, with the usage exit code."""
    with pytest.raises(InputError, match="--enforce-eager") as caught:
        resolved(["--enforce-eagre"])
    assert caught.value.exit_code == contract.EXIT_USAGE


def test_negated_and_dotted_arguments_are_known():
    """`--no-enforce-eager` and `--compilation-config.mode=0` pass; `--no-model` does not exist."""
    words = ["--no-enforce-eager", "--compilation-config.mode=0"]
    assert words == resolved(words)[:2]
    with pytest.raises(InputError):
        resolved(["--no-model"])


@pytest.mark.parametrize("name", ["port", "host"])
def test_the_file_cannot_move_the_server(name: str):
    """Where probes and Service look is not the file's to say."""
    assert f"vllm.{name}" == refusal(f"vllm: {{{name}: 80}}").field


@pytest.mark.parametrize("value", ["", "maybe", "3", "[true]"])
def test_a_flag_takes_true_or_false_only(value: str):
    """Anything else is refused, not guessed; an empty value is no value."""
    assert refusal(f"vllm: {{enforce-eager: {value}}}").field == "vllm.enforce-eager"


def test_the_queue_guard_can_be_left_out():
    """With KAITO's flag the other layers stay, in their order: the guard is below /chat, the drain around all."""
    words = argv.resolve([], ConfigFile(vllm={}), OPTIONS, own=OwnArguments(disable_rate_limit=True))
    assert [layer.rpartition(".")[2] for layer in words if layer in MIDDLEWARE] == [
        "BodyLimit",
        "ChatRoute",
        "Administration",
        "Drain",
    ]
    assert MIDDLEWARE[1] == GUARD_MIDDLEWARE


@pytest.mark.parametrize("words", [["--data-parallel-size", "2"], ["--api-server-count=2"]])
def test_several_servers_are_given_time_to_drain(words: list[str]):
    """The parent process of several API servers would end the engines under them; a value of the user's stands."""
    given = argv.resolve(words, ConfigFile(vllm={}), OPTIONS)
    assert int(argv.last(given, "--shutdown-timeout") or 0) > contract.DRAIN_SECONDS
    assert argv.last(argv.resolve([], ConfigFile(vllm={}), OPTIONS), "--shutdown-timeout") is None
    given = argv.resolve(words, ConfigFile(vllm={"shutdown_timeout": 7}), OPTIONS)
    assert given.count("--shutdown-timeout") == 1


def test_adapters_of_a_folder_are_named_by_their_folders(tmp_path: Path):
    """KAITO's way: only folders that hold an adapter count; an own list of modules wins."""
    for name in ("b", "a", "empty"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        for file in FILES:
            (tmp_path / name / file).touch()
    (tmp_path / "file").touch()
    own = OwnArguments(adapters_folder=str(tmp_path))
    words = argv.resolve([], ConfigFile(vllm={}), OPTIONS, own=own)
    at = words.index("--lora-modules")
    assert words[at - 1 : at + 3] == ["--enable-lora", "--lora-modules", f"a={tmp_path}/a", f"b={tmp_path}/b"]
    mine = ["--lora-modules", "x=y"]
    assert argv.resolve(mine, ConfigFile(vllm={}), OPTIONS, own=own).count("--lora-modules") == 1
    none = OwnArguments(adapters_folder=str(tmp_path / "none"))
    assert "--enable-lora" not in argv.resolve([], ConfigFile(vllm={}), OPTIONS, own=none)


def test_upstreams_own_keys_are_read_and_named():
    """Keys of KAITO's file that do nothing here are accepted, and can be told to the user."""
    config = config_file.parse("kv_cache_cpu_memory_utilization: 0.5\nmax_probe_steps: 6\nvllm:\n  max-model-len: 9\n")
    assert config == ConfigFile(
        vllm={"max-model-len": 9}, without_effect=("kv_cache_cpu_memory_utilization", "max_probe_steps")
    )


def test_options_that_vllm_has_given_up_do_not_end_the_pod():
    """KAITO's stock file sets swap-space; users' copies of it go on working, and are told."""
    config = config_file.parse("max_probe_steps: 6\nvllm:\n  swap-space: 4\n  num_scheduler_steps: 1\n  model: m\n")
    assert (
        ConfigFile(
            vllm={"model": "m"}, without_effect=("max_probe_steps", "vllm.swap-space", "vllm.num_scheduler_steps")
        )
        == config
    )
    assert "--swap-space" not in argv.resolve([], config, OPTIONS)


@pytest.mark.parametrize("text", ["", "# nothing\n", "vllm:\n", "{}"])
def test_an_empty_file_is_an_empty_configuration(text: str):
    """A template with every line commented out changes nothing."""
    assert config_file.parse(text) == ConfigFile(vllm={})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1]", "a map"),
        ("vllm: 5", "a map"),
        ("vlm: {}", "did you mean vllm"),
        ("max-model-len: 5", "under `vllm:`"),
        ("vllm: {1: 2}", "a name"),
        ("vllm: {a: 1, a: 2}", "each key once"),
        ("a: &x [1]\nb: *x", "references"),
        ("vllm: !!python/object/apply:os.system [ls]", "YAML"),
        ("vllm: {", "YAML"),
        ("[" * 200 + "]" * 200, "levels deep"),
    ],
)
def test_a_bad_file_is_refused(text: str, told: str):
    """Wrong shapes, repeated keys, references, tags and depth end as one clear line."""
    assert told in str(refusal(text))


def test_a_large_or_missing_file_is_refused(tmp_path: Path):
    """The file is read up to its bound, and a missing one is named."""
    large = tmp_path / "large.yaml"
    large.write_text("#" * (plain_yaml.MAX_BYTES + 1))
    with pytest.raises(InputError, match="bytes"):
        config_file.read(large)
    with pytest.raises(InputError, match="No such file"):
        config_file.read(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"vllm: \xe9")
    with pytest.raises(InputError, match="UTF-8"):
        config_file.read(tmp_path / "latin.yaml")


def test_a_refusal_is_one_line():
    """Kubernetes shows the termination message as it stands, so no value may break the line."""
    assert "\n" not in str(refusal(json.dumps({"vllm": {"a\nb": 1}})))
