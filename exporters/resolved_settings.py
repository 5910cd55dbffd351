"""The value of every setting of a network: shown by the tensors, given, or assumed.

The order: the user's options, the checkpoint's configuration, the family's assumption.
Contradictions are errors that name both sides.
"""

from collections.abc import Iterable, Mapping

from frcrn_export.exporters.checkpoint_configuration import Configuration
from frcrn_export.exporters.checkpoint_file import Checkpoint
from frcrn_export.exporters.family import (
    Family,
    ModelSpec,
    Option,
    Setting,
    Settings,
    flag_of,
    parse_setting,
    setting_text,
)
from frcrn_export.runtime.bundle.manifest import Assumption
from frcrn_export.runtime.errors import CheckpointError, UserError

_WINDOW = ("win_type", "window_type", "window_fn", "window", "wintype")
_HANN = ("hann", "hanning", "sqrt_hann", "sqrthann", "hann_window", "torch.hann_window")
_OTHER_WINDOWS = ("hamming", "blackman", "kaiser", "bartlett", "boxcar", "rect", "rectangular")
# Names of the sample rate and the transform in configurations; all integers.
_SAMPLE_RATE = ("sample_rate", "sampling_rate", "samplerate", "sr", "fs")
_STFT = {
    "fft_length": ("n_fft", "fft_len", "fft_length", "fft_size", "nfft"),
    "window_length": ("win_length", "win_len", "window_length", "win_size", "window_size"),
    "hop_length": ("hop_length", "hop_len", "hop_size", "win_inc"),
}


def require_options(spec: ModelSpec, options: Iterable[Option], given: Settings) -> None:
    """Raise UserError for a setting that the model does not have."""
    known = {option.name for option in options}
    for name in given:
        if name not in known:
            what = name.replace("_", " ")
            raise UserError(f"{spec.name} has no {what}; leave out {flag_of(name)}")


def is_known(spec: ModelSpec, checkpoint: Checkpoint) -> bool:
    """Whether these are packaged or published weights, whose settings are known."""
    published = spec.published is not None and checkpoint.sha256 == spec.published.sha256
    return published or checkpoint.path == spec.packaged


def settings_of_checkpoint(
    family: Family, spec: ModelSpec, checkpoint: Checkpoint, given: Settings
) -> tuple[dict[str, Setting], tuple[Assumption, ...]]:
    """The value of every setting of a checkpoint's network, and the assumptions.

    Raises CheckpointError where the file contradicts itself or its tensors, UserError where it
    contradicts the user.
    """
    try:
        family.check_evidence(spec, checkpoint.evidence)
        facts = family.facts(spec, checkpoint.state)
        return resolve(
            family, spec, facts, given, checkpoint.configuration, known=is_known(spec, checkpoint)
        )
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.path}: {error}") from error


def resolve(
    family: Family,
    spec: ModelSpec,
    facts: Mapping[str, Setting],
    given: Mapping[str, Setting],
    configuration: Configuration,
    *,
    known: bool,
) -> tuple[dict[str, Setting], tuple[Assumption, ...]]:
    """The value of every setting of a network, and the assumptions.

    Args:
        family: Of the network.
        spec: The model.
        facts: The settings that its tensors show.
        given: The user's options, by name.
        configuration: Of the checkpoint.
        known: Whether the defaults are known to be right: of published weights, of random ones.

    Raises:
        UserError: The user contradicts the checkpoint.
        ValueError: The checkpoint contradicts itself or its tensors; names both sides.
    """
    for name, fact in facts.items():
        for said in configuration.find((name,)):
            if _differs(fact, said.value):
                raise ValueError(
                    f"{said.where} says {name} {_text(said.value)}, the tensors "
                    f"{setting_text(fact)}"
                )
    check_transform(spec, configuration)
    settings, assumptions = dict(facts), []
    for option in family.options:
        said_value = _said(option, configuration)
        if option.name in given:
            value = given[option.name]
            if said_value is not None and said_value[0] != value and not option.choice:
                raise UserError(
                    f"{option.flag} {setting_text(value)}: the checkpoint says "
                    f"{setting_text(said_value[0])} ({said_value[1]}); leave out {option.flag}"
                )
        elif said_value is not None:
            value = said_value[0]
        else:
            value = option.assumed(facts)
            if not known and option.applies(settings):
                reason = f"not said; change it with {_changing(option, value)}"
                assumptions.append(
                    Assumption(setting=option.name, value=setting_text(value), reason=reason)
                )
        settings[option.name] = value
    return settings, tuple(assumptions)


def _changing(option: Option, value: Setting) -> str:
    """The option that changes a value."""
    return option.negation if value is True else option.flag


def _said(option: Option, configuration: Configuration) -> tuple[Setting, str] | None:
    """The configuration's value of an option and its place; raises ValueError for two values."""
    answers: dict[Setting, str] = {}
    for said in configuration.find((option.name, *option.aliases)):
        try:
            answers.setdefault(option.parse(said.value), said.where)
        except ValueError as error:
            raise ValueError(f"{said.where} is {_text(said.value)}: {error}") from error
    if len(answers) > 1:
        (one, here), (two, there) = list(answers.items())[:2]
        raise ValueError(
            f"{here} says {option.name} {setting_text(one)}, {there} {setting_text(two)}: "
            "keep the one that the network was trained with"
        )
    return next(iter(answers.items()), None)


def check_transform(
    spec: ModelSpec, configuration: Configuration, remedy: str = "give another --model"
) -> None:
    """Raise ValueError where a configuration's sample rate or STFT does not match the model."""
    rows: list[tuple[str, tuple[str, ...], int]] = [("sample rate", _SAMPLE_RATE, spec.sample_rate)]
    if spec.stft is not None:
        rows += [
            (name.replace("_", " "), names, getattr(spec.stft, name))
            for name, names in _STFT.items()
        ]
    for what, names, expected in rows:
        for said in configuration.find(names):
            if _differs(expected, said.value):
                raise ValueError(
                    f"{said.where} says {what} {_text(said.value)}, {spec.name} has {expected}: "
                    f"{remedy}, or the weights alone if that value is of other things"
                )

    if spec.stft is not None:
        for said in configuration.find(_WINDOW):
            name = str(said.value).lower()
            hann = spec.stft.window in _HANN
            if (hann and name in _OTHER_WINDOWS) or (not hann and name in _HANN):
                raise ValueError(
                    f"{said.where} says the window is {_text(said.value)}, {spec.name} has "
                    f"{spec.stft.window}: {remedy}"
                )


def _differs(expected: Setting, value: object) -> bool:
    """Whether a value of the same kind in a configuration contradicts a known one."""
    if isinstance(expected, tuple) and not (isinstance(value, list) or "," in str(value)):
        return False  # such as `channels: 1`, of the audio
    kinds = {bool: "flag", int: "integer", tuple: "integers", str: "text"}
    try:
        return parse_setting(kinds[type(expected)], value) != expected
    except ValueError:
        return False


def _text(value: object) -> str:
    """A value from a file, shortened, on one line."""
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return ascii(text)[1:-1][:80]
