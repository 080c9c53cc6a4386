"""config/crd: one CustomResourceDefinition for each kind of ours."""

from __future__ import annotations

from codegen.documents import kustomization, yaml_text
from kaito_controller.api.kinds import KINDS
from kaito_controller.api.workspace import WORKSPACES

_LEFT_OUT = """\
# karpenter.sh_nodeclaims.yaml is left out on purpose: a Karpenter brings its own NodeClaim, which stays untouched.
# Without one: kubectl create -f config/crd/karpenter.sh_nodeclaims.yaml (AlreadyExists means that there is one).
"""


def files() -> dict[str, str]:
    """Every file of config/crd."""
    made = {f"{kind.resource.group}_{kind.resource.plural}.yaml": yaml_text(kind.definition()) for kind in KINDS}
    ours = [name for name in made if name.startswith(f"{WORKSPACES.group}_")]
    made["kustomization.yaml"] = kustomization(ours) + _LEFT_OUT
    return {f"config/crd/{name}": text for name, text in made.items()}
