"""What counts as a number, whoever wrote it."""

from __future__ import annotations

import pytest

from inference_server.agent import adapter_config
from inference_server.agent.refusal import AdapterRefusedError, Reason
from inference_server.finite import is_finite
from inference_server.refusal import InputError
from inference_server.serve import sampling
from inference_server.serve_transformers import requests

HUGE = 10**400


@pytest.mark.parametrize("value", [0, -1, 0.5, 2**1000])
def test_a_number_is_one(value):
    assert is_finite(value)


@pytest.mark.parametrize("value", [HUGE, -HUGE, float("inf"), float("nan"), True, "1", None, [1]])
def test_what_is_no_number_is_none(value):
    assert not is_finite(value)


def test_a_temperature_of_four_hundred_digits_was_an_error_of_the_server():
    with pytest.raises(InputError, match="temperature"):
        sampling.read({"prompt": "x", "generate_kwargs": {"temperature": HUGE}})
    with pytest.raises(InputError, match="repetition_penalty"):
        requests.completion({"prompt": "x", "repetition_penalty": HUGE})


def test_an_alpha_of_four_hundred_digits_was_fetched_again_and_again():
    with pytest.raises(AdapterRefusedError, match="lora_alpha") as caught:
        adapter_config.parse(b'{"peft_type": "LORA", "r": 8, "lora_alpha": 1%s}' % (b"0" * 400))
    assert (caught.value.reason, caught.value.retryable) == (Reason.FILES_INVALID, False)
