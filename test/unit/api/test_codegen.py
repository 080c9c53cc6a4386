from __future__ import annotations

import pytest
from codegen import documents, main, permissions

from kaito_controller.controllers.nodeclaim import controller as nodeclaim
from kaito_controller.controllers.workspace import controller as workspace

FILES = {"config/a.yaml": "a: 1\n", "docs/b.md": "# B\n"}


def test_what_is_written_is_not_stale(tmp_path):
    """Writing twice changes nothing the second time."""
    assert sorted(FILES) == sorted(documents.write(tmp_path, FILES, ["config"]))
    assert documents.write(tmp_path, FILES, ["config"]) == []
    assert documents.stale(tmp_path, FILES, ["config"]) == []


def test_a_changed_missing_or_left_over_file_is_told(tmp_path):
    """With the first lines of the difference."""
    documents.write(tmp_path, FILES, ["config"])
    (tmp_path / "config/a.yaml").write_text("a: 2\n")
    (tmp_path / "docs/b.md").unlink()
    (tmp_path / "config/old.yaml").write_text("")
    changed, missing, left_over = documents.stale(tmp_path, FILES, ["config"])
    assert "-a: 2\n+a: 1" in changed
    assert "+# B" in missing
    assert left_over == "config/old.yaml: is made no longer"
    assert sorted(documents.write(tmp_path, FILES, ["config"])) == ["config/a.yaml", "config/old.yaml", "docs/b.md"]
    assert not (tmp_path / "config/old.yaml").exists()


def test_the_committed_files_are_fresh():
    """The same as `hack/codegen/generate --check`."""
    assert documents.stale(main.ROOT, main.generated(), main.OWNED) == []


@pytest.mark.parametrize(
    ("role", "rules"),
    [("kaito-workspace-controller", workspace.RULES), ("kaito-node-provisioner", nodeclaim.RULES)],
)
def test_a_role_grants_what_its_controller_declares(role, rules):
    """Nothing is written by hand in between."""
    assert tuple(rules) == permissions.declared_rules()[role]
