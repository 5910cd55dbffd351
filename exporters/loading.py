"""Loading: from a model name and weights to the networks for the exporters."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from frcrn_export.exporters.assets import read_speech
from frcrn_export.exporters.checkpoint_configuration import Configuration
from frcrn_export.exporters.family import (
    Family,
    ModelSpec,
    Option,
    Processing,
    Setting,
    Settings,
    Variant,
    setting_text,
    settings_of,
    variant_of,
)
from frcrn_export.exporters.recognition import (
    Checkpoint,
    load_checkpoint,
    load_into,
    require_fit,
    require_model,
)
from frcrn_export.exporters.reference import ReferencePipeline
from frcrn_export.exporters.registry import family_of, find_model, registry
from frcrn_export.exporters.resolved_settings import (
    is_known,
    require_options,
    resolve,
    settings_of_checkpoint,
)
from frcrn_export.exporters.stft_ops import StftAnalysis
from frcrn_export.exporters.weights import cached
from frcrn_export.runtime.bundle.manifest import Assumption, Manifest, Weights
from frcrn_export.runtime.errors import CheckpointError, UserError, reading

logger = logging.getLogger(__name__)

_NO_SUCH_NETWORK = "no network has such tensors"
_OTHER_WEIGHTS = "give another --checkpoint or --model"


@dataclass(frozen=True)
class LoadedModel:
    """A reference network with its weights, its lowered form and its processing.

    Attributes:
        spec: The model.
        family: The family of the network.
        network: The reference network, in eval mode, with the published tensor names.
        lowered: Its deployable form in float32.
        settings: A value for each setting of the network.
        processing: Before and after the core.
        variant: The settings that distinguish exports of the model, for the manifest.
        weights: The origin of the weights.
        assumptions: The settings that neither the checkpoint nor the user said.
        notes: Unused content of the checkpoint, a line each.
    """

    spec: ModelSpec
    family: Family
    network: nn.Module
    lowered: nn.Module
    settings: Settings
    processing: Processing
    variant: Variant
    weights: Weights
    assumptions: tuple[Assumption, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.spec.sample_rate

    @property
    def frame_length(self) -> int:
        """What a frame counts in a streaming core: 1, or the samples of a network of waves."""
        return 1 if self.spec.stft else self.processing.padding.size

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was seen in the checkpoint and not used, and what was assumed, a line each."""
        return (
            *(f"note: {note}" for note in self.notes),
            *(f"assumed: {one.setting} {one.value} ({one.reason})" for one in self.assumptions),
        )

    def log_remarks(self) -> None:
        """Log the remarks, a record each."""
        for remark in self.remarks:
            logger.info("%s", remark)

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
    model: str | None = None,
    checkpoint: Path | str | None = None,
    *,
    seed: int | None = None,
    options: Mapping[str, Setting] | None = None,
    state_dict: str | None = None,
) -> LoadedModel:
    """Build a model with weights from a checkpoint, the package, the download cache or a seed.

    Settings that the weights do not show come from the checkpoint's configuration (in the file or
    beside it) or from `options`; the others are listed in `assumptions` of the result.

    Args:
        model: A name from `frcrn-export models`. None: the model recognised in the checkpoint, or
            the default.
        checkpoint: A file of weights in any published form. None: the packaged or fetched weights.
        seed: Random weights instead, for dry runs.
        options: Settings that the weights do not show, by name (with underscores).
        state_dict: Which state dict of the checkpoint, where it holds several.

    Returns:
        The model, in eval mode on the CPU, in float32.

    Raises:
        UserError: The model is unknown, its weights are missing, or it has no such option.
        CheckpointError: The file is not a checkpoint of this model, or contradicts itself.

    Example:
        >>> from frcrn_export import load_model
        >>> load_model().sample_rate
        16000
    """
    given = dict(options or {})
    if checkpoint is not None and seed is not None:
        raise UserError("--checkpoint and --random-weights exclude each other; give one of them")
    if state_dict is not None and checkpoint is None:
        raise UserError("--state-dict goes with --checkpoint; add it")
    if seed is not None:
        spec = find_model(model) if model else registry().default
        return _with_random_weights(spec, seed, given)
    if checkpoint is not None:
        loaded = load_checkpoint(Path(checkpoint), state_dict)
        if model is None and loaded.model is None:
            raise UserError(
                f"{checkpoint}: the weights are of no network known here; "
                "name the model with --model (see: frcrn-export models)"
            )
        return _with_checkpoint(find_model(model or str(loaded.model)), loaded, given, state_dict)
    spec = find_model(model) if model else registry().default
    path = weights_at_hand(spec.name)
    if path is None:
        raise UserError(
            f"{spec.name} has no packaged weights: use {spec.weights} "
            "(or --random-weights SEED for a dry run)"
        )
    return _with_checkpoint(spec, load_checkpoint(path), given, None, at_hand=True)


def load_other_weights(manifest: Manifest, checkpoint: Path, state_dict: str | None) -> LoadedModel:
    """The model of a bundle with the weights of another checkpoint. Raises as `load_model`."""
    return load_model(
        manifest.model, checkpoint, options=_options_of(manifest), state_dict=state_dict
    )


def _options_of(manifest: Manifest) -> dict[str, Setting]:
    """The settings of a bundle's network that its family has options for."""
    names = {option.name for option in family_of(find_model(manifest.model)).options}
    return {k: v for k, v in settings_of(manifest.variant).items() if k in names}


def load_bundled(manifest: Manifest, checkpoint: Path | None) -> LoadedModel:
    """The model of a bundle. Raises as `load_model`."""
    options = _options_of(manifest)
    chosen = manifest.weights.state_dict if checkpoint is not None else ""
    return load_model(
        manifest.model,
        checkpoint,
        seed=manifest.weights.seed,
        options=options,
        state_dict=chosen or None,
    )


def weights_at_hand(name: str) -> Path | None:
    """The default weights of a model: packaged, or in the download cache."""
    spec = find_model(name)
    return spec.packaged or cached(spec)


def _with_checkpoint(
    spec: ModelSpec,
    checkpoint: Checkpoint,
    given: Settings,
    state_dict: str | None,
    *,
    at_hand: bool = False,
) -> LoadedModel:
    """`at_hand`: the weights are what the model has without being given any."""
    family = family_of(spec)
    require_model(checkpoint, spec.name)
    require_options(spec, family.options, given)
    settings, assumptions = settings_of_checkpoint(family, spec, checkpoint, given)
    require_loadable(family, spec, checkpoint, settings, assumptions)
    with reading(checkpoint.path, _NO_SUCH_NETWORK, _OTHER_WEIGHTS, CheckpointError):
        network = family.build(spec, settings)
    load_into(network, checkpoint, spec.name)
    known = is_known(spec, checkpoint)
    weights = Weights(
        source="default" if at_hand or checkpoint.path == spec.packaged else "checkpoint",
        name=checkpoint.path.name,
        sha256=checkpoint.sha256,
        state_dict=(state_dict or "")[:255] or (taken_of(checkpoint) if checkpoint.others else ""),
        licence=spec.licence if known else "",
        attribution=spec.attribution if known else "",
    )
    if checkpoint.others and state_dict is None:
        assumptions = (*assumptions, taken_state_dict(checkpoint))
    return _loaded(family, spec, network, settings, weights, assumptions, notes_on(checkpoint))


def require_loadable(
    family: Family,
    spec: ModelSpec,
    checkpoint: Checkpoint,
    settings: Settings,
    assumptions: tuple[Assumption, ...],
) -> None:
    """Raise CheckpointError for weights that do not fit the network of these settings.

    Its sizes come from the file: nothing here takes memory for them.
    """
    faults, tried = [], dict(settings)
    for option in _assumed(family, assumptions):
        possible = option.possible(settings)
        if possible and settings[option.name] not in possible:
            tried[option.name] = possible[0]
            *most, last = map(setting_text, possible)
            faults.append(
                f"{option.name} are not said in or beside the file, and the usual "
                f"{setting_text(settings[option.name])} do not fit its tensors; give {option.flag} "
                f"as trained: {' '.join(most)}{' or ' * bool(most)}{last}"
            )
    with reading(checkpoint.path, _NO_SUCH_NETWORK, _OTHER_WEIGHTS, CheckpointError):
        try:
            with torch.device("meta"):
                require_fit(family.build(spec, tried), checkpoint, spec.name, _OTHER_WEIGHTS)
        except ValueError as error:
            raise CheckpointError(
                f"{checkpoint.path}: {error}{_how_to_say(family, assumptions)}"
            ) from error
    if faults:
        raise CheckpointError(f"{checkpoint.path}: {'; '.join(faults)}")


def _with_random_weights(spec: ModelSpec, seed: int, given: Settings) -> LoadedModel:
    family = family_of(spec)
    require_options(spec, family.options, given)
    settings, _ = resolve(family, spec, {}, given, Configuration(), known=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            network = family.build(spec, settings)
        except ValueError as error:
            raise UserError(str(error)) from error
    _settle_batch_norms(network, spec)
    weights = Weights(source="random", name=f"seed {seed}", seed=seed)
    return _loaded(family, spec, network, settings, weights)


def _assumed(family: Family, assumptions: tuple[Assumption, ...]) -> list[Option]:
    """The options of assumptions."""
    names = {one.setting for one in assumptions}
    return [option for option in family.options if option.name in names]


def _how_to_say(family: Family, assumptions: tuple[Assumption, ...]) -> str:
    """The options to give instead of assumptions; "" without assumptions."""
    if not assumptions:
        return ""
    assumed = ", ".join(f"{one.setting} {one.value}" for one in assumptions)
    ways = " ".join(f"{option.flag} ..." for option in _assumed(family, assumptions))
    return f" ({assumed} assumed: nothing in or beside the file says); give {ways} as trained"


def taken_of(checkpoint: Checkpoint) -> str:
    """The state dict that was taken of several, as `--state-dict` names it."""
    return (checkpoint.key or checkpoint.prefix.rstrip("."))[:255]


def taken_state_dict(checkpoint: Checkpoint) -> Assumption:
    """The assumption that the taken state dict is the wanted one."""
    return Assumption(
        setting="state_dict",
        value=_shortened([taken_of(checkpoint) or "the first"]),
        reason=f"the file also holds {_shortened(checkpoint.others)}; choose with --state-dict KEY",
    )


def _shortened(names: Sequence[str]) -> str:
    """Names out of a file, at most five of them and on one line."""
    shown = ", ".join(ascii(name)[1:-1][:60] for name in names[:5])
    return shown + (", ..." if len(names) > 5 else "")


def notes_on(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Lines on ignored content of a checkpoint."""
    notes = []
    if checkpoint.ignored:
        shown = _shortened(checkpoint.ignored)
        notes.append(f"ignored {len(checkpoint.ignored)} tensors beside the network: {shown}")
    if checkpoint.unnamed:
        notes.append(
            f"ignored lists of tensors without names: {_shortened(checkpoint.unnamed)}; to export "
            "an average of the weights, save its state dict"
        )
    return tuple(notes)


@torch.no_grad()
def _settle_batch_norms(network: nn.Module, spec: ModelSpec) -> None:
    """Set the running statistics from real speech: with the initial ones the signal vanishes."""
    wave = torch.from_numpy(read_speech(spec.sample_rate))[None]
    example = wave[:, None, :16384] if spec.stft is None else StftAnalysis(spec.stft)(wave)
    for norm in network.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.momentum = None  # one cumulative average instead of a decaying one
    network.train()(example)


def _loaded(
    family: Family,
    spec: ModelSpec,
    network: nn.Module,
    settings: Settings,
    weights: Weights,
    assumptions: tuple[Assumption, ...] = (),
    notes: tuple[str, ...] = (),
) -> LoadedModel:
    network.eval()
    loaded = LoadedModel(
        spec=spec,
        family=family,
        network=network,
        lowered=family.lower(network).eval(),
        settings=settings,
        processing=family.processing(spec, network, settings),
        variant=variant_of(family.variant(network, settings)),
        weights=weights,
        assumptions=assumptions,
        notes=notes,
    )
    loaded.log_remarks()
    return loaded
