"""The engine's options as users write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito_controller.sizing.flags import EngineFlags, FlagProblem, read_flags

NAMES = [
    "tensor-parallel-size", "max-model-len", "gpu-memory-utilization", "kv-cache-dtype", "dtype", "enforce-eager",
    "max-num-seqs", "enable-lora", "enable-prefix-caching", "max_lora_rank",
]  # fmt: skip
anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text("0123456789autorefls.-+einf ", max_size=12)
    | st.lists(st.integers())
)


def test_dashes_underscores_and_text_are_the_same():
    """An option may be written as the engine's command line has it, or as its configuration file has it."""
    written = {"--tensor-parallel-size": "2", "max_num_seqs": 64, "enforce-eager": None, "enable_lora": "True"}

    assert read_flags(written) == EngineFlags(
        tensor_parallel_size=2, max_num_seqs=64, enforce_eager=True, enable_lora=True
    )


@pytest.mark.parametrize("value", ["auto", -1, "-1"])
def test_a_length_left_to_the_engine_is_none_asked_for(value: object):
    """It is said, so it wins over the catalogue's, and it asks for nothing."""
    flags = read_flags({"max-model-len": value})

    assert (flags.max_model_len, flags.length) == (0, None)
    assert flags.over(EngineFlags(max_model_len=4096)).length is None


def test_what_a_user_says_wins():
    """The catalogue's flags hold where the user says nothing."""
    user = EngineFlags(max_num_seqs=8, kv_cache_dtype="fp8")

    assert user.over(EngineFlags(max_num_seqs=256, enable_lora=True)) == EngineFlags(
        max_num_seqs=8, kv_cache_dtype="fp8", enable_lora=True
    )


def test_prefix_caching_may_be_turned_off_in_two_ways():
    """The engine has a flag for each."""
    assert read_flags({"no-enable-prefix-caching": True}).enable_prefix_caching is False
    assert read_flags({"enable-prefix-caching": "false"}).enable_prefix_caching is False
    assert read_flags({}).enable_prefix_caching is None


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"tensor-parallel-size": 0}, "tensor-parallel-size must be a whole number from 1 to 1000000000, found '0'"),
        ({"max-model-len": "4k"}, "max-model-len must be a whole number from 1 to 1000000000, found '4k'"),
        ({"max-model-len": True}, "max-model-len must be a whole number from 1 to 1000000000, found 'True'"),
        ({"gpu_memory_utilization": 1.1}, "gpu-memory-utilization must be a number above 0 and at most 1, found '1.1'"),
        ({"gpu_memory_utilization": "nan"}, "gpu-memory-utilization must be a number above 0 and at most 1"),
        ({"enable-lora": "perhaps"}, "enable-lora must be true or false, found 'perhaps'"),
        ({"dtype": ["float16"]}, "dtype must be a word"),
    ],
)
def test_a_value_that_cannot_be_is_an_error(written: dict[str, object], said: str):
    """The message names the option, the rule and what was found."""
    with pytest.raises(FlagProblem, match="must be") as caught:
        read_flags(written)
    assert said in str(caught.value)


@given(st.dictionaries(st.sampled_from(NAMES), anything))
def test_anything_is_read_or_refused(section: dict[str, object]):
    """No value is more than a refusal."""
    try:
        flags = read_flags(section)
    except FlagProblem:
        return
    assert isinstance(flags, EngineFlags)
