"""From a model name and weights to the networks that the exporters work on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from frcrn_export.exporters.checkpoint import Checkpoint, load_checkpoint, load_into, require_model
from frcrn_export.exporters.families.frcrn.pooling import GLOBAL
from frcrn_export.exporters.reference import ReferencePipeline
from frcrn_export.exporters.registry import (
    DEFAULT_MODEL,
    SAMPLE_RATE,
    ModelSpec,
    Processing,
    Variant,
    family_of,
    find_model,
)
from frcrn_export.exporters.stft_ops import StftAnalysis
from frcrn_export.exporters.weights import cached, packaged_weights, read_speech
from frcrn_export.runtime.bundle.manifest import Manifest, Weights
from frcrn_export.runtime.errors import UserError

Source = Literal["checkpoint", "default"]


@dataclass(frozen=True)
class LoadedModel:
    """A reference network with its weights, its lowered form, and what surrounds them."""

    spec: ModelSpec
    network: nn.Module
    lowered: nn.Module
    processing: Processing
    variant: Variant
    weights: Weights

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return SAMPLE_RATE

    def pipeline(self) -> ReferencePipeline:
        """The published pipeline around the reference network."""
        return ReferencePipeline(
            self.network,
            stft=self.spec.stft,
            level=self.processing.level,
            padding=self.processing.padding,
            segments=self.processing.segments,
        )


def load_model(
    name: str | None,
    checkpoint: Path | None = None,
    random_seed: int | None = None,
    squeeze_excite: str | None = None,
) -> LoadedModel:
    """Build a model with weights from a checkpoint, the package, the download cache or a seed.

    Without a name, the model is recognised from the checkpoint, or is the default.
    `squeeze_excite` says what FRCRN averages over (see pooling.py); None stands for what the
    weights were trained with, where their metadata says so, else for `global`. Raises UserError for
    an unknown model, one without weights, or another `squeeze_excite` than the model can have;
    CheckpointError for a foreign file.
    """
    if checkpoint is not None and random_seed is not None:
        raise UserError("--checkpoint and --random-weights exclude each other; give one of them")
    if random_seed is not None:
        spec = find_model(name or DEFAULT_MODEL)
        return _with_random_weights(spec, random_seed, squeeze_excite or GLOBAL)
    if checkpoint is not None:
        loaded = load_checkpoint(checkpoint)
        if name is None and loaded.model is None:
            raise UserError(
                f"{checkpoint}: the weights are of no network known here; "
                "name the model with --model (see: frcrn-export models)"
            )
        spec = find_model(name or str(loaded.model))
        return _with_checkpoint(spec, loaded, "checkpoint", squeeze_excite)
    spec = find_model(name or DEFAULT_MODEL)
    path = weights_at_hand(spec.name)
    if path is None:
        raise UserError(
            f"{spec.name} has no packaged weights: use {spec.weights} "
            "(or --random-weights SEED for a dry run)"
        )
    source: Source = "default" if spec.packaged_weights else "checkpoint"
    return _with_checkpoint(spec, load_checkpoint(path), source, squeeze_excite)


def load_bundled(manifest: Manifest, checkpoint: Path | None) -> LoadedModel:
    """The model that a bundle was made from. Raises as `load_model`."""
    pooling = str(manifest.variant.get("squeeze_excite", GLOBAL))
    return load_model(manifest.model, checkpoint, manifest.weights.seed, pooling)


def weights_at_hand(name: str) -> Path | None:
    """The weights that a model has without being given any: packaged, or fetched before."""
    spec = find_model(name)
    if spec.packaged_weights:
        return packaged_weights(spec.packaged_weights)
    return cached(spec.name)


def _with_checkpoint(
    spec: ModelSpec, checkpoint: Checkpoint, source: Source, squeeze_excite: str | None
) -> LoadedModel:
    require_model(checkpoint, spec.name)
    trained_with = checkpoint.metadata.get("squeeze_excite", GLOBAL)
    network = _build(spec, checkpoint, squeeze_excite or trained_with)
    load_into(network, checkpoint, spec.name)
    weights = Weights(
        source=source,
        name=checkpoint.path.name,
        sha256=checkpoint.sha256,
    )
    return _loaded(spec, network, checkpoint.metadata, weights)


def _with_random_weights(spec: ModelSpec, seed: int, squeeze_excite: str) -> LoadedModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = _build(spec, None, squeeze_excite)
    _settle_batch_norms(network, spec)
    weights = Weights(source="random", name=f"seed {seed}", seed=seed)
    return _loaded(spec, network, {}, weights)


def _build(spec: ModelSpec, checkpoint: Checkpoint | None, squeeze_excite: str) -> nn.Module:
    network = family_of(spec).build(spec, checkpoint)
    if squeeze_excite != GLOBAL:
        family_of(spec).set_squeeze_excite(spec, network, squeeze_excite)
    return network


@torch.no_grad()
def _settle_batch_norms(network: nn.Module, spec: ModelSpec) -> None:
    """Take the running statistics from real speech: with the initial ones the signal dies out."""
    wave = torch.from_numpy(read_speech())[None]
    example = wave[:, None, :16384] if spec.stft is None else StftAnalysis(spec.stft)(wave)
    for norm in network.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.momentum = None  # one cumulative average instead of a decaying one
    network.train()(example)


def _loaded(
    spec: ModelSpec, network: nn.Module, metadata: dict[str, str], weights: Weights
) -> LoadedModel:
    family = family_of(spec)
    network.eval()
    return LoadedModel(
        spec=spec,
        network=network,
        lowered=family.lower(network).eval(),
        processing=family.processing(network, metadata),
        variant=family.variant(network),
        weights=weights,
    )
