"""`kubectl kaito models` and `kubectl kaito skus`."""

from __future__ import annotations

import json

import pytest
from ruamel.yaml import YAML

from kaito_controller.cli.known import known
from kaito_controller.cli.kubectl_plugin import main


def test_models_and_presets_are_one_command(capsys):
    """The old name stays."""
    assert 0 == main(["presets"])
    old = capsys.readouterr().out
    assert 0 == main(["models"])
    assert capsys.readouterr().out == old
    assert len(old.splitlines()) == 1 + len(known().presets)


def test_words_narrow_a_list(capsys):
    """All of them, in any case."""
    assert 0 == main(["skus", "AZURE", "a100"])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert lines
    assert all("azure" in line and "A100" in line for line in lines)


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_lists_for_machines(capsys, form: str):
    """The same entries in both forms."""
    read = json.loads if form == "json" else YAML(typ="safe").load
    catalog = known()
    main(["models", "-o", form])
    assert {one["name"] for one in read(capsys.readouterr().out)} == {one.name for one in catalog.presets}
    main(["skus", "-o", form])
    assert {one["name"] for one in read(capsys.readouterr().out)} == {one.name for one in catalog.skus}


def test_wide_lists_say_more(capsys):
    """What a GPU gives, and a model's other names."""
    main(["skus", "Standard_NC24ads_A100_v4", "-o", "wide"])
    assert "8.0" in capsys.readouterr().out
    main(["models", "gpt-oss-20b", "-o", "wide"])
    assert "mxfp4" in capsys.readouterr().out


def test_a_word_that_is_nowhere_is_told(capsys):
    """Instead of an empty list."""
    assert 1 == main(["models", "nosuchmodel"])
    assert "no model of the catalogue has 'nosuchmodel'" in capsys.readouterr().err
