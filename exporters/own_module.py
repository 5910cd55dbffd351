"""A user's own network: any nn.Module whose code the user names, as a family of one model.

A wrapper gives the module the signature of a core: spectrum, or wave, to the enhanced one. The
requirements are in `docs/own_module.md`.
"""

import copy
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from frcrn_export.exporters.family import (
    Family,
    Form,
    ModelSpec,
    Processing,
    Settings,
    State,
)
from frcrn_export.exporters.loading import LoadedModel, notes_on, taken_of, taken_state_dict
from frcrn_export.exporters.module_passes import compute_in_fp16
from frcrn_export.exporters.own_core import Core, Output, bake_weight_norms, check_promises
from frcrn_export.exporters.recognition import load_checkpoint, load_into
from frcrn_export.exporters.registry import models
from frcrn_export.exporters.resolved_settings import check_transform
from frcrn_export.exporters.stft_ops import periodic_window
from frcrn_export.exporters.streaming_core import StreamingCore
from frcrn_export.exporters.users_code import UsersCode, parse_location, run_users_code
from frcrn_export.runtime.audio.framing import whole_hops
from frcrn_export.runtime.bundle.manifest import (
    Assumption,
    Level,
    Padding,
    Segments,
    StftSpec,
    Weights,
    Window,
)
from frcrn_export.runtime.errors import CheckpointError, UserError

Input = Literal["spectrum", "wave"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_STFT = 2**16  # samples, as in the manifest
_MAX_MULTIPLE = 2**16
_DEFAULT_MULTIPLE = 256
# Utterances up to 2 minutes go through the core whole, longer ones in windows of 30 s that overlap
# by a second on either side.
_WHOLE_SECONDS, _WINDOW_SECONDS, _EDGE_SECONDS = 120, 30, 1
# The least of the overlap-added windows relative to the greatest: less is lost in float32.
_LEAST_COVER = 1e-3


@dataclass(frozen=True)
class OwnModule:
    """A user's own module and its properties. None: the default, which is an assumption.

    Attributes:
        module: `FILE.py:CALLABLE` or `PACKAGE.MODULE:CALLABLE`: a callable without arguments that
            gives an nn.Module, or the nn.Module. Its code is executed.
        sample_rate: Hz.
        stft: Window, hop and FFT length in samples, for modules that take spectra.
        input: The module's input: a spectrum [B, 2, F, T], or a wave [B, 1, N].
        output: Its output: the same, or a mask for the spectrum, complex [B, 2, F, T], or real [B,
            1, F, T] or [B, F, T].
        window: Of the STFT.
        center: Whether the STFT is centred, as in torch.stft.
        level: The level rule of the input.
        multiple: Of a module that takes waves: the number of samples is a multiple of this.
    """

    module: str
    sample_rate: int
    stft: tuple[int, int, int] | None = None
    input: Input | None = None
    output: Output | None = None
    window: Window | None = None
    center: bool | None = None
    level: Level | None = None
    multiple: int | None = None


def load_own_module(
    own: OwnModule,
    checkpoint: Path | str | None = None,
    *,
    name: str | None = None,
    seed: int | None = None,
    state_dict: str | None = None,
) -> LoadedModel:
    """Load a user's own module by executing its code, ready for every exporter.

    Args:
        own: Its code, input, output and processing.
        checkpoint: Its weights, in a torch or safetensors file; they are loaded strictly, and code
            in the file is never run. None: the weights that the callable gives.
        name: Of the model in the manifest. None: that of the Python file or module.
        seed: Of PyTorch's random numbers while the callable runs, for dry runs. 0 if None.
        state_dict: Which state dict of the checkpoint, where it holds several.

    Returns:
        The model, in eval mode on the CPU, in float32.

    Raises:
        UserError: The code does not import, or its network does not match `own`; names the line of
            the code.
        CheckpointError: The file is no checkpoint of this network.
    """
    location = parse_location(own.module)
    if checkpoint is not None and seed is not None:
        raise UserError("--checkpoint and --random-weights exclude each other; give one of them")
    if state_dict is not None and checkpoint is None:
        raise UserError("--state-dict goes with --checkpoint; add it")
    spec = _spec(own, name or location.stem, str(location))
    code = run_users_code(location, seed or 0)
    network = code.network
    if lazy := [n for n, tensor in network.state_dict().items() if is_lazy(tensor)]:
        raise UserError(
            f"--module {location}: {lazy[0]} has no shape yet; return the network "
            "after one call, which gives its lazy layers their shapes"
        )
    notes: tuple[str, ...] = ()
    assumptions = _assumptions(own)
    if checkpoint is not None:
        held = load_checkpoint(Path(checkpoint), state_dict, network.state_dict())
        try:
            check_transform(
                spec, held.configuration, "change the options to what it was trained at"
            )
        except ValueError as error:
            raise CheckpointError(f"{held.path}: {error}") from error
        load_into(network, held, f"{location}", "give its own --checkpoint, or --state-dict KEY")
        weights = Weights(
            source="checkpoint",
            name=held.path.name,
            sha256=held.sha256,
            state_dict=(state_dict or "")[:255] or (taken_of(held) if held.others else ""),
        )
        notes = notes_on(held)
        if held.others and state_dict is None:
            assumptions = (*assumptions, taken_state_dict(held))
    network.cpu().float().eval()
    bake_weight_norms(network)
    if checkpoint is None:
        sha256 = _sha256_of(network)
        if seed is None:
            weights = Weights(source="built", name="as built", sha256=sha256)
        else:
            weights = Weights(source="random", name=f"seed {seed}", seed=seed, sha256=sha256)
    family = OwnFamily(own, spec, code)
    core = Core(network, own.output or _default_output(own), spec.stft, str(location))
    core.eval()
    with code.explained():
        check_promises(core, family.processing(spec, core, {}))
    loaded = LoadedModel(
        spec=spec,
        family=family,
        network=core,
        lowered=family.lower(core),
        settings={},
        processing=family.processing(spec, core, {}),
        variant={
            "module": str(location),
            "input": "wave" if spec.stft is None else "spectrum",
            "output": core.gives,
            "streaming": _streams(network),
        },
        weights=weights,
        assumptions=assumptions,
        notes=notes,
    )
    loaded.log_remarks()
    return loaded


class OwnFamily(Family):
    """The family of one user's own module; never registered."""

    name = "own module"
    landmarks = ()

    def __init__(self, own: OwnModule, spec: ModelSpec, code: UsersCode) -> None:
        self.models = (spec,)
        self.code = code
        self._own = own

    def recognise(self, state: State) -> str | None:
        """None: its names are matched instead."""
        return None

    def build(self, spec: ModelSpec, settings: Settings) -> nn.Module:
        """The network as it was built; its code is not run again."""
        return self.code.network

    def lower(self, network: nn.Module) -> nn.Module:
        """A copy: the module is exported unchanged."""
        return _copy(network)

    def processing(self, spec: ModelSpec, network: nn.Module, settings: Settings) -> Processing:
        """The user's processing; windows of 30 s for utterances of more than 2 minutes."""
        if spec.stft is None:
            size = self._own.multiple or _DEFAULT_MULTIPLE
            padding, first, hop = Padding(rule="multiple", size=size), size, size
        else:
            padding = whole_hops(spec.stft)
            first, hop = padding.size, padding.stride
        rate = spec.sample_rate
        longest = min(_WINDOW_SECONDS * rate, 2**20)
        length = first + max(0, longest - first) // hop * hop
        edge = min(_EDGE_SECONDS * rate, (length - 1) // 4) // hop * hop
        return Processing(
            level=self._own.level or "none",
            padding=padding,
            segments=Segments(
                length=length, left=edge, right=edge, above=max(length, _WHOLE_SECONDS * rate)
            ),
        )

    def streaming_options(self, settings: Settings) -> Settings | None:
        """No options are needed where the module has a method `streaming`."""
        return {} if _streams(self.code.network) else None

    def gpu_form(self, network: nn.Module) -> nn.Module:
        """The module in float16, the product with the mask in float32."""
        core = _copy(network)
        compute_in_fp16([_module(core)])
        return core

    def streaming(
        self, network: nn.Module, chunk: int, lookahead: int | None, form: Form = "fp32"
    ) -> StreamingCore:
        """The result of the module's own method `streaming(chunk, lookahead)`."""
        module = _module(_copy(network))
        if not _streams(module):
            raise UserError(
                f"{self.code.location}: {type(module).__name__} has no method "
                "streaming(chunk, lookahead) that returns a StreamingCore; write it (see "
                "docs/own_module.md), or leave out --streaming: frcrn-export stream runs the "
                "network in overlapping windows (--windowed)"
            )
        with self.code.explained():
            core = module.streaming(chunk, lookahead)  # type: ignore[operator]
        spec = self.models[0]
        length = 1 if spec.stft else self.processing(spec, network, {}).padding.size
        if not isinstance(core, StreamingCore):
            raise UserError(
                f"{self.code.location}: streaming() gives {type(core).__name__}; return a "
                "StreamingCore of frcrn_export.exporters.streaming_core"
            )
        unit = "frames" if length == 1 else "samples"
        if core.chunk != chunk * length:
            raise UserError(
                f"{self.code.location}: streaming({chunk}, ...) gives a chunk of {core.chunk}; "
                f"return one of {chunk * length} {unit}"
            )
        behind = core.lookahead // length * length if lookahead is None else lookahead * length
        if core.lookahead != behind:
            raise UserError(
                f"{self.code.location}: streaming(..., {lookahead}) gives a look-ahead of "
                f"{core.lookahead}; return one of {behind} {unit}"
            )
        core.module.eval()
        if form == "fp16":
            compute_in_fp16([core.module], first_only=True)
        return core


def _spec(own: OwnModule, name: str, location: str) -> ModelSpec:
    """The model's spec. Raises UserError for conflicting options."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{ascii(name)[1:-1][:80]!r} is no name for a model: up to 64 of A-Z a-z 0-9 . _ -; "
            "name it with --model NAME"
        )
    if name in models():
        raise UserError(
            f"--module {location}: {name} is a registered model; name yours with --model NAME"
        )
    if not 1_000 <= own.sample_rate <= 768_000:
        raise UserError(f"--sample-rate {own.sample_rate}: takes 1000 to 768000 Hz")
    for flag, value, choices in (
        ("window", own.window, get_args(Window)),
        ("level", own.level, get_args(Level)),
    ):
        if value is not None and value not in choices:
            raise UserError(f"--{flag} {ascii(value)[1:-1][:80]}: takes {', '.join(choices)}")
    takes = own.input or ("wave" if own.stft is None else "spectrum")
    gives = own.output or _default_output(own)
    if (takes == "wave") != (gives == "wave"):
        raise UserError(
            f"--module-input {takes} --module-output {gives}: a core takes and gives either waves "
            "or spectra; put the transform into the module, or take it out of it"
        )
    if takes == "wave":
        transform = {"stft": own.stft, "window": own.window, "center": own.center}
        for flag, given in transform.items():
            if given is not None:
                raise UserError(f"--{flag}: a network of waves has no STFT; leave it out")
        if not 1 <= (own.multiple or _DEFAULT_MULTIPLE) <= _MAX_MULTIPLE:
            raise UserError(f"--multiple {own.multiple}: takes 1 to {_MAX_MULTIPLE} samples")
        stft = None
    else:
        if own.stft is None:
            raise UserError(f"--module-input {takes}: give the STFT, as in --stft 512/256/512")
        if own.multiple is not None:
            raise UserError(
                "--multiple is for networks of waves; the STFT pads by hops, leave out --multiple"
            )
        stft = _stft(own)
    return ModelSpec(
        name=name,
        summary=f"a module of the user's own, {location}",
        described=f"weights of {location}",
        sample_rate=own.sample_rate,
        stft=stft,
    )


def _stft(own: OwnModule) -> StftSpec:
    assert own.stft is not None
    window, hop, fft = own.stft
    said = f"--stft {window}/{hop}/{fft}"
    if not 1 <= hop <= window <= fft <= _MAX_STFT:
        raise UserError(
            f"{said}: WINDOW/HOP/FFT in samples, hop <= window <= FFT, at most {_MAX_STFT}"
        )
    if window % 2 or fft % 2:
        raise UserError(f"{said}: the window and the FFT have an even number of samples")
    spec = StftSpec(
        window_length=window,
        hop_length=hop,
        fft_length=fft,
        window=own.window or "hann",
        center=own.center is not False,
    )
    cover = np.zeros(-(-window // hop) * hop)
    cover[:window] = periodic_window(spec.window, window) ** 2
    steady = cover.reshape(-1, hop).sum(axis=0)  # of overlap-added windows, one hop of it
    if steady.min() < _LEAST_COVER * steady.max():
        raise UserError(
            f"{said}: {spec.window} windows {hop} samples apart do not cover every sample; "
            f"choose a hop of at most {window // 2}"
        )
    return spec


def _default_output(own: OwnModule) -> Output:
    return "wave" if (own.input or ("spectrum" if own.stft else "wave")) == "wave" else "spectrum"


def _assumptions(own: OwnModule) -> tuple[Assumption, ...]:
    """The settings that the weights do not show and the user did not give."""
    unsaid = []
    if own.stft is not None:
        if own.window is None:
            unsaid.append(("window", "hann", "--window"))
        if own.center is None:
            unsaid.append(("center", "true", "--center or --no-center"))
    if own.output is None and own.stft is not None:
        unsaid.append(("module_output", _default_output(own), "--module-output"))
    if own.level is None:
        unsaid.append(("level", "none", "--level"))
    return tuple(
        Assumption(setting=name, value=value, reason=f"not given; set it with {flag}")
        for name, value, flag in unsaid
    )


def _streams(module: nn.Module) -> bool:
    return callable(getattr(module, "streaming", None))


def _module(core: nn.Module) -> nn.Module:
    return cast(Core, core).module


def _copy(network: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(network)
    except Exception as error:  # the user's module may raise anything
        raise UserError(
            f"{cast(Core, network).named}: cannot be copied ({error}); keep no computed tensors, "
            "open files or threads in the module"
        ) from error


def _sha256_of(network: nn.Module) -> str:
    """The hash of all tensors with their names, which identifies the network."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
