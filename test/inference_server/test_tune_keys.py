"""What config_keys.py says of the libraries' keys, against the libraries themselves."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json
from inference_server.tune import config, library_keys
known = library_keys.read()
for method in config.METHODS:
    config.parse(config.template(method), method, known)
print(json.dumps({section: sorted(keys) for section, keys in known.items()}))
"""
# Keys of transformers 4, which KAITO's users still write.
GIVEN_UP = {"logging_dir", "overwrite_output_dir", "save_safetensors"}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_every_key_that_is_spoken_of_is_one_and_the_templates_are_accepted(inference_python):
    from inference_server.tune import config_keys

    done = subprocess.run([inference_python, "-c", PROGRAM], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    known = json.loads(done.stdout)
    for section, keys in known.items():
        spoken = {*config_keys.REFUSED[section], *config_keys.WITHOUT_EFFECT[section]} - GIVEN_UP - {"quant_method"}
        assert spoken <= set(keys), section
        renamed = config_keys.RENAMED.get(section, {})
        assert set(renamed.values()) <= set(keys)
        assert not set(renamed) & set(keys)
