"""How layers are cut into the stages of a pipeline.

After vLLM, distributed/utils.py, get_pp_indices: what is left over goes to the stages before the last one, since the
last also holds the output embeddings.
"""

from __future__ import annotations


def stage_bounds(layers: int, stages: int) -> tuple[tuple[int, int], ...]:
    """First layer and layer after the last of every stage."""
    sizes = [layers // stages] * stages
    for place in range(2, layers % stages + 2):
        sizes[-place] += 1
    bounds = []
    first = 0
    for size in sizes:
        bounds.append((first, first + size))
        first += size
    return tuple(bounds)
