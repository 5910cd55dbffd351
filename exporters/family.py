"""The interface of a family of networks: everything specific to it.

A family is one folder under `families/`, or a package of its own behind the entry-point group
`frcrn_export.families`. Declaring one needs no torch: methods import what they need.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from frcrn_export.runtime.bundle.manifest import HighPass, Level, Padding, Role, Segments, StftSpec
from frcrn_export.runtime.errors import UserError

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn

    from frcrn_export.exporters.checkpoint_file import Checkpoint
    from frcrn_export.exporters.streaming_core import StreamingCore
    from frcrn_export.exporters.training_task import Task

Setting = str | int | bool | tuple[int, ...]
Settings = Mapping[str, Setting]
# Settings as the manifest has them: JSON has no tuples.
Variant = dict[str, str | int | bool | list[int]]
# "fp16" computes in float16 for GPUs; "int8_cpu" is the source of INT8 files for processors.
Form = Literal["fp32", "fp16", "int8_cpu"]
State = Mapping[str, "Tensor"]


@dataclass(frozen=True)
class Option:
    """A setting of a network that its weights do not show.

    Its value comes from a configuration in or beside the checkpoint, under `name` or one of
    `aliases`, or from the user's `flag`; else it is an assumption.

    Attributes:
        name: As in the manifest's variant, with underscores.
        kind: Text, an integer, a flag, or integers separated by commas.
        help: One line for `--help`.
        default: The assumed value, or a function of the settings that the tensors show.
        metavar: The placeholder of its value in `--help`.
        aliases: Other names that configurations use for it.
        choice: Whether it is a choice of how to run the network rather than a fact about the
            weights: then the user may override the checkpoint.
        negated: Of a flag, the command-line option for false; `--no-NAME` by default.
        applies: Whether it changes the network, for the settings that the tensors show and those of
            the options before it. Where it does not, it is no assumption.
        possible: All values that a network can have with the settings that the tensors show, where
            these allow few; () where they are not listed.
    """

    name: str
    kind: Literal["text", "integer", "flag", "integers"]
    help: str
    default: Setting | Callable[[Settings], Setting]
    metavar: str | None = None
    aliases: tuple[str, ...] = ()
    choice: bool = False
    negated: str | None = None
    applies: Callable[[Settings], bool] = lambda settings: True
    possible: Callable[[Settings], tuple[Setting, ...]] = lambda settings: ()

    @property
    def flag(self) -> str:
        """The command-line option: `--some-setting`."""
        return flag_of(self.name)

    @property
    def negation(self) -> str:
        """Of a flag, the command-line option for false."""
        return self.negated or f"--no-{self.flag.removeprefix('--')}"

    def assumed(self, facts: Settings) -> Setting:
        """The default, for the settings that the tensors show."""
        return self.default(facts) if callable(self.default) else self.default

    def parse(self, value: object) -> Setting:
        """Convert a value of a configuration or a user to this kind.

        Raises:
            ValueError: It is of another kind; names the accepted values.
        """
        return parse_setting(self.kind, value)


def flag_of(name: str) -> str:
    """The command-line option of a setting: `--some-setting` for `some_setting`."""
    return "--" + name.replace("_", "-")


def parse_setting(kind: str, value: object) -> Setting:
    """Convert a value to a kind of `Option`; raises ValueError that names the accepted values."""
    if kind == "flag":
        known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if (text := str(value).lower()) in known:
            return known[text]
        raise ValueError("takes true or false")
    if kind == "integer":
        try:
            return _whole(value)
        except ValueError as error:
            raise ValueError("takes a whole number") from error
    if kind == "integers":
        parts = value if isinstance(value, list | tuple) else str(value).strip("[]()").split(",")
        try:
            return tuple(_whole(part) for part in parts)
        except ValueError as error:
            raise ValueError("takes whole numbers, as in 4,4,4") from error
    return str(value)


def _whole(value: object) -> int:
    """A whole number: 4, "4" or 4.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(str(value))


def option_words(options: Iterable[Option], settings: Settings) -> tuple[str, ...]:
    """Settings as words of the command line, without assumed defaults."""
    words: list[str] = []
    for option in options:
        value = settings[option.name]
        if value == option.assumed(settings):
            continue
        if option.kind == "flag":
            words.append(option.flag if value else option.negation)
        else:
            words += (option.flag, setting_text(value))
    return tuple(words)


def setting_text(value: Setting) -> str:
    """A setting as the command line takes it: `4,4,4`, `true`."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True)
class PublishedWeights:
    """A file on the web of known size (bytes) and sha256 (64 hex digits)."""

    url: str
    size: int
    sha256: str
    file_name: str


@dataclass(frozen=True)
class ModelSpec:
    """One model of a family.

    Attributes:
        name: As `--model` takes it.
        summary: What it is, in a few words.
        described: Its weights in errors: "321-bin weights".
        sample_rate: Hz.
        stft: The transform around the core; None for networks that take the waveform itself.
        packaged: The checkpoint that comes with the package, if any.
        published: The weights that `fetch` downloads, if any.
        licence: SPDX identifier of the packaged or published weights; "" where there are none.
        attribution: The credit for those weights.
        is_default: Whether it is the default model of commands.
    """

    name: str
    summary: str
    described: str
    sample_rate: int
    stft: StftSpec | None = None
    packaged: Path | None = None
    published: PublishedWeights | None = None
    licence: str = ""
    attribution: str = ""
    is_default: bool = False

    @property
    def weights(self) -> str:
        """The origin of its weights, as text."""
        ways = []
        if self.packaged:
            ways.append("packaged")
        if self.published:
            ways.append(f"frcrn-export fetch {self.name}")
        own = "--checkpoint FILE" if ways else "--checkpoint FILE (your own)"
        return ", or ".join([*ways, own])


@dataclass(frozen=True)
class Processing:
    """Processing of an utterance before and after the core. Lengths in samples.

    `core_samples` is the fixed length of the core's input, or None for any multiple of the
    padding's size. `high_pass` is None where the published pipeline has no filter before the
    level: then only the user adds one.
    """

    level: Level
    padding: Padding
    segments: Segments
    core_samples: int | None = None
    high_pass: HighPass | None = None


@dataclass(frozen=True)
class ExtraCore:
    """Another form of the core: for one utterance of more frames than `above_frames`.

    Attributes:
        role: Its role in the manifest.
        above_frames: The longest utterance, in frames, for which `core.onnx` is better.
        parity_frames: Lengths, in frames, at which it is compared with the reference.
        export: Called with a graph's name and metadata, gives the ONNX model. Its input `spec` and
            output `enhanced` are those of the core, batch 1.
    """

    role: Role
    above_frames: int
    parity_frames: tuple[int, ...]
    export: "Callable[[str, Mapping[str, str]], onnx.ModelProto]"


class Family(ABC):
    """One family of networks: how it is recognised, built, lowered and surrounded.

    Attributes:
        name: Of its folder.
        models: Its models.
        landmarks: Names of tensors, one of which every network of the family has. They find the
            prefix under which a checkpoint holds the network.
        options: What the weights do not show.
        training_options: Further options of `train`, which shape a network that is trained from
            scratch. A family without a training task has none.
        trainable: Whether `training_task` gives one.
        has_int8_cpu_form: Whether INT8 files for processors are made from another form than
            `core.onnx`.
    """

    name: str
    models: tuple[ModelSpec, ...]
    landmarks: tuple[str, ...]
    options: tuple[Option, ...] = ()
    training_options: tuple[Option, ...] = ()
    trainable: bool = False
    has_int8_cpu_form: bool = False

    def canonical_name(self, key: str) -> str:
        """The published name of a tensor, where checkpoints have several for it."""
        return key

    def is_evidence(self, key: str) -> bool:
        """Whether a tensor is no weight but a constant, which `check_evidence` looks at."""
        return False

    @abstractmethod
    def recognise(self, state: State) -> str | None:
        """The name of the model that a state dict belongs to.

        Args:
            state: Tensors under their canonical names, without a prefix.

        Returns:
            The name of one of `models`, or None for the weights of another network.
        """

    def facts(self, spec: ModelSpec, state: State) -> Settings:
        """The settings that the shapes of the tensors show.

        Raises:
            ValueError: The tensors are not those of this network.
        """
        return {}

    def check_evidence(self, spec: ModelSpec, evidence: State) -> None:
        """Compare constants in a checkpoint with the network's transform.

        Raises:
            ValueError: They contradict each other; names both sides.
        """
        return

    @abstractmethod
    def build(self, spec: ModelSpec, settings: Settings) -> "nn.Module":
        """The reference network, with published tensor names and without its weights.

        Args:
            spec: The model.
            settings: A value for each option and, where there is a checkpoint, its `facts`.

        Raises:
            ValueError: No network has these settings.
        """

    @abstractmethod
    def lower(self, network: "nn.Module") -> "nn.Module":
        """The deployable form in float32, equal to the reference network."""

    @abstractmethod
    def processing(self, spec: ModelSpec, network: "nn.Module", settings: Settings) -> Processing:
        """The processing around the network."""

    def variant(self, network: "nn.Module", settings: Settings) -> Settings:
        """The settings that distinguish exports of a model, for the manifest."""
        return settings

    def gpu_form(self, network: "nn.Module") -> "nn.Module":
        """The form for GPUs that computes in float16, with float32 input and output."""
        from frcrn_export.exporters.module_passes import compute_in_fp16

        lowered = self.lower(network)
        compute_in_fp16([lowered])
        return lowered

    def exact_gpu_form(self, network: "nn.Module") -> "nn.Module":
        """`gpu_form` before its conversion to float16: the weights of layers kept in float32."""
        return self.lower(network)

    def static_form(self, network: "nn.Module") -> "nn.Module":
        """The float32 form of one input shape, for toolchains that quantize it themselves."""
        return self.lower(network)

    def int8_cpu_form(self, network: "nn.Module") -> "nn.Module":
        """The float32 form that is the source of INT8 files for processors."""
        return self.lower(network)

    def streaming(
        self, network: "nn.Module", chunk: int, lookahead: int | None, form: Form = "fp32"
    ) -> "StreamingCore":
        """The streaming form for calls of `chunk` frames, equal to the network.

        A frame is a column of the STFT, or a hop of a network of waves (`padding.size` samples):
        the core of the latter has its `chunk` and `lookahead` in samples, multiples of it. Tensors
        and states are float32 in every form.

        Args:
            network: The reference network.
            chunk: Frames of one call.
            lookahead: Look-ahead in frames. None: the network's whole look-ahead; less reduces the
                delay and changes the result.
            form: The precision and target.

        Raises:
            UserError: The network cannot stream, or has no such look-ahead; says why and names an
                alternative.
        """
        raise UserError(
            f"{self.name} has no streaming form; leave out --streaming: frcrn-export stream runs "
            "it in overlapping windows (--windowed)"
        )

    def streaming_options(self, settings: Settings) -> Settings | None:
        """The options that a streaming export needs besides `settings`.

        Returns:
            The options by name, {} where none is needed; None where the network cannot stream.
        """
        return None

    def extra_cores(self, spec: ModelSpec, network: "nn.Module") -> tuple[ExtraCore, ...]:
        """Further forms of the core, such as one for long utterances."""
        return ()

    def training_task(
        self, spec: ModelSpec, options: Settings, checkpoint: "Checkpoint | None"
    ) -> "Task":
        """The training task of a model.

        Args:
            spec: The model.
            options: The options and training options that the user gave.
            checkpoint: The weights to start from; None to train from scratch.

        Raises:
            UserError: The options conflict.
            CheckpointError: The weights are of another network.
        """
        raise UserError(f"{spec.name} cannot be trained here; see: frcrn-export train --help")


def variant_of(settings: Settings) -> Variant:
    """Settings as in the manifest."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in settings.items()}


def settings_of(variant: Mapping[str, Any]) -> dict[str, Setting]:
    """Settings from a manifest."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in variant.items()}
