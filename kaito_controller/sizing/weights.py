"""The weights of a model on one GPU, from the tensors of its checkpoint or counted from its architecture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import accumulate
from math import ceil
from typing import Final

from attrs import frozen

from kaito_controller.catalog.architecture import Architecture, Mixer
from kaito_controller.catalog.model import DTYPE_BYTES, Preset
from kaito_controller.catalog.quantisation import Part, Quantisation
from kaito_controller.sizing import vocabulary
from kaito_controller.sizing.pieces import Cut, Piece, first_pieces, last_pieces, layer_pieces
from kaito_controller.sizing.tensors import TensorPieces, tensor_pieces

# Parts whose matrices a quantised checkpoint packs unless it says otherwise.
_PACKED: Final = {Part.ATTENTION, Part.STATE, Part.DENSE, Part.EXPERTS, Part.SHARED_EXPERTS}
# A checkpoint that holds tied embeddings twice is larger by one of them, give or take this share of it.
_TWICE: Final = Fraction(2, 100)

_Key = tuple[Cut, int]


@frozen(kw_only=True)
class Ranks:
    """Over how many GPUs each kind of matrix is spread; `experts` is 1 without expert parallelism."""

    tensor: int
    experts: int = 1


@frozen(kw_only=True)
class Weights:
    """Bytes of a model by how they are cut: sums over the first n layers, and what the first and the last stage hold.

    `tied` are output embeddings that only a stage without the input ones holds. With `everywhere`, every stage holds
    both embeddings, as models with experts or states do in vLLM, apart from those with latent attention. `source` says
    where the sizes are from.
    """

    layers: Mapping[_Key, Sequence[int]]
    first: Mapping[_Key, int]
    last: Mapping[_Key, int]
    tied: Mapping[_Key, int]
    everywhere: bool
    source: str

    def on_rank(self, bounds: tuple[int, int], *, layers: int, ranks: Ranks) -> int:
        """Bytes on one GPU of the stage that holds the layers from the first bound up to before the second."""
        begin, end = bounds
        total = sum(_share(key, sums[end] - sums[begin], ranks) for key, sums in self.layers.items())
        opens, closes = begin == 0, end == layers
        total += sum(_share(key, size, ranks) for key, size in self.first.items() if opens or self._here(key))
        total += sum(_share(key, size, ranks) for key, size in self.last.items() if closes or self._here(key))
        if closes and not opens and not self.everywhere:
            total += sum(_share(key, size, ranks) for key, size in self.tied.items())
        return total

    def _here(self, key: _Key) -> bool:
        return self.everywhere and key[0] is Cut.VOCABULARY

    @property
    def total(self) -> int:
        """Bytes of all of it, each counted once."""
        return sum(sums[-1] for sums in self.layers.values()) + sum(self.first.values()) + sum(self.last.values())


def model_weights(preset: Preset, dtype: str, *, packing: Quantisation | None = None) -> Weights:
    """The weights of a model that is computed in `dtype`.

    `packing` is the packing that the engine itself makes of a checkpoint of plain numbers; else the checkpoint's holds.

    Raises:
        MissingNumber: they must be counted, and the architecture lacks a number.
    """
    found = tensor_pieces(preset.tensors, preset.architecture) if preset.tensors else None
    if found is not None and packing is None:
        return _from_tensors(found, preset.architecture, dtype)
    return _counted(preset, dtype, packing or preset.quantisation)


def _counted(preset: Preset, dtype: str, quantisation: Quantisation | None) -> Weights:
    architecture = preset.architecture
    size = _Sizes(dtype=dtype, quantisation=quantisation)
    made: dict[object, dict[_Key, int]] = {}
    layers: list[dict[_Key, int]] = []
    for kind in zip(architecture.layer_mixers, architecture.layer_feed_forwards, strict=True):
        if kind not in made:
            made[kind] = size.sums(layer_pieces(architecture, *kind))
        layers.append(made[kind])
    first, last = size.sums(first_pieces(architecture)), size.sums(last_pieces(architecture))
    tied: dict[_Key, int] = {}
    if architecture.tied_embeddings:
        tied = {key: count for key, count in last.items() if key[0] is Cut.VOCABULARY}
        last = {key: count for key, count in last.items() if key not in tied}
    weights = Weights(
        layers=_running(layers),
        first=first,
        last=last,
        tied=tied,
        everywhere=_everywhere(architecture),
        source=_source(preset),
    )
    beyond = _beyond(preset, weights, quantisation, dtype)
    if beyond > 0:
        first[Cut.WHOLE, 1] = first.get((Cut.WHOLE, 1), 0) + beyond
    return weights


def _beyond(preset: Preset, weights: Weights, quantisation: Quantisation | None, dtype: str) -> int:
    """Bytes of the checkpoint that the count does not explain: parts beside the language model, on every rank."""
    if quantisation is not preset.quantisation:
        return 0
    stored = preset.weights_bytes
    if preset.quantisation is None:
        stored = stored * DTYPE_BYTES[dtype] // DTYPE_BYTES[preset.dtype]
    beyond = stored - weights.total - (preset.architecture.draft_parameters or 0) * DTYPE_BYTES[dtype]
    embedding = preset.architecture.embedding_parameters * DTYPE_BYTES[dtype]
    twice = preset.architecture.tied_embeddings and abs(beyond - embedding) <= embedding * _TWICE
    return 0 if twice else max(0, beyond)


def _from_tensors(found: TensorPieces, architecture: Architecture, dtype: str) -> Weights:
    size = _Sizes(dtype=dtype, quantisation=None)
    layers = [size.sums(pieces) for pieces in found.layers]
    last = size.sums(found.last)
    tied: dict[_Key, int] = {}
    if architecture.tied_embeddings:
        tied = size.sums(piece for piece in last_pieces(architecture) if piece.cut is Cut.VOCABULARY)
        last = {key: count for key, count in last.items() if key[0] is not Cut.VOCABULARY}
    return Weights(
        layers=_running(layers),
        first=size.sums(found.first),
        last=last,
        tied=tied,
        everywhere=_everywhere(architecture),
        source="tensors of the checkpoint",
    )


def _everywhere(architecture: Architecture) -> bool:
    latent = Mixer.LATENT in architecture.mixer_kinds
    return (architecture.experts is not None or bool(architecture.states)) and not latent


def _source(preset: Preset) -> str:
    return preset.sources[0] if preset.sources else "counted from the architecture"


@frozen(kw_only=True)
class _Sizes:
    dtype: str
    quantisation: Quantisation | None

    def sums(self, pieces: Iterable[Piece]) -> dict[_Key, int]:
        found: dict[_Key, int] = {}
        for piece in pieces:
            key = (piece.cut, piece.units)
            found[key] = found.get(key, 0) + self._bytes(piece)
        return found

    def _bytes(self, piece: Piece) -> int:
        if piece.bytes is not None:
            return piece.bytes
        packed = self.quantisation
        if packed is None or piece.part in packed.unpacked or piece.part not in _PACKED:
            return piece.numbers * DTYPE_BYTES[self.dtype]
        bits = packed.bits_of_part.get(piece.part, packed.bits_per_weight)
        return ceil(piece.numbers * Fraction(bits) / 8)


def _running(layers: Sequence[Mapping[_Key, int]]) -> dict[_Key, tuple[int, ...]]:
    keys = {key for layer in layers for key in layer}
    return {key: tuple(accumulate((layer.get(key, 0) for layer in layers), initial=0)) for key in keys}


def _share(key: _Key, size: int, ranks: Ranks) -> int:
    cut, units = key
    if cut is Cut.WHOLE or size == 0:
        return size
    if cut is Cut.KEYS:
        return -(-size * max(1, units // ranks.tensor) // units)
    if cut is Cut.EXPERTS and ranks.experts > 1:
        return -(-size * -(-units // ranks.experts) // units)
    if cut is Cut.VOCABULARY:
        return -(-size * vocabulary.padded(units) // (units * ranks.tensor))
    return -(-size // ranks.tensor)
