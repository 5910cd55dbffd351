"""Optimization profiles: the input shapes that an engine takes, and the one it is tuned for."""

import re
from dataclasses import dataclass

from frcrn_export.runtime.bundle.manifest import Manifest, Profile, TensorSpec
from frcrn_export.runtime.bundle.remedies import export_again
from frcrn_export.runtime.errors import BundleError, UserError

_MAX_SIZE = 2**31 - 1  # of one axis
_DEFAULT_BATCH = (1, 1, 4)
_MAX_SECONDS = 8  # of a spectrum; the maximum sets the activation memory


@dataclass(frozen=True)
class Sizes:
    """The smallest, the most frequent and the largest size of one axis."""

    min: int
    opt: int
    max: int


def parse_sizes(text: str, option: str) -> Sizes:
    """`MIN:OPT:MAX`, or `N` for N:N:N. `option` (as in "--batch") names it in errors.

    Raises UserError for anything but positive whole numbers with min <= opt <= max.
    """
    parts = [part.strip() for part in text.split(":")]
    if len(parts) not in (1, 3) or not all(re.fullmatch("[0-9]{1,10}", part) for part in parts):
        raise UserError(f"{option} {text}: not MIN:OPT:MAX, as in {option} 1:1:8 (or one number)")
    numbers = [int(part) for part in parts]
    sizes = Sizes(*numbers) if len(numbers) == 3 else Sizes(*numbers * 3)
    if not 1 <= sizes.min <= sizes.opt <= sizes.max <= _MAX_SIZE:
        raise UserError(f"{option} {text}: needs 1 <= MIN <= OPT <= MAX <= {_MAX_SIZE}")
    return sizes


def make_profile(
    manifest: Manifest,
    tensor: TensorSpec,
    *,
    batch: str | None = None,
    frames: str | None = None,
    samples: str | None = None,
) -> Profile:
    """The profile of a core's input. The texts are `MIN:OPT:MAX`; None is the model's default.

    Raises UserError for a text that is malformed, for a size that the network cannot take and for
    an axis that it does not have.
    """
    texts = {"batch": batch, "frames": frames, "samples": samples}
    for axis, text in texts.items():
        if text is not None and axis not in tensor.shape:
            dynamic = ", ".join(f"--{name}" for name in tensor.shape if isinstance(name, str))
            raise UserError(
                f"--{axis} {text}: {manifest.model} takes no choice of {axis}; it has: {dynamic}"
            )
    ranges: list[Sizes] = []
    for size in tensor.shape:
        if isinstance(size, int):
            ranges.append(Sizes(size, size, size))
        elif size not in texts:
            raise BundleError(
                f"input {tensor.name}: unknown axis {size!r}; run: {export_again(manifest)}"
            )
        else:
            ranges.append(_axis(manifest, size, texts[size]))
    return Profile(
        min=tuple(sizes.min for sizes in ranges),
        opt=tuple(sizes.opt for sizes in ranges),
        max=tuple(sizes.max for sizes in ranges),
    )


def make_streaming_profile(
    manifest: Manifest,
    tensor: TensorSpec,
    *,
    batch: str | None = None,
    frames: str | None = None,
    samples: str | None = None,
) -> Profile:
    """The static shape of a streaming core's input; one stream where `batch` is None.

    Raises UserError as `make_profile`, and for more than one number of streams.
    """
    texts = {"batch": batch or "1", "frames": frames, "samples": samples}
    profile = make_profile(manifest, tensor, **texts)
    if profile.min != profile.max:
        raise UserError(
            f"--batch {batch}: a streaming engine is for one number of streams; "
            f"as in --batch {profile.max[0]}"
        )
    return profile


def _axis(manifest: Manifest, axis: str, text: str | None) -> Sizes:
    sizes = _default(manifest, axis) if text is None else parse_sizes(text, f"--{axis}")
    multiple = manifest.padding.size
    if axis == "samples" and any(size % multiple for size in (sizes.min, sizes.opt, sizes.max)):
        raise UserError(
            f"--samples {text}: {manifest.model} takes multiples of {multiple} samples; "
            f"as in --samples {':'.join(map(str, _default_samples(manifest)))}"
        )
    return sizes


def _default(manifest: Manifest, axis: str) -> Sizes:
    if axis == "batch":
        return Sizes(*_DEFAULT_BATCH)
    if axis == "samples":
        return Sizes(*_default_samples(manifest))
    assert manifest.stft is not None, "frames without an STFT"
    second = max(1, manifest.sample_rate // manifest.stft.hop_length)
    return Sizes(1, second, _MAX_SECONDS * second)


def _default_samples(manifest: Manifest) -> tuple[int, int, int]:
    """From the padding size over about a second to a window, so that every window fits."""
    multiple, window = manifest.padding.size, manifest.segments.length
    longest = -(-window // multiple) * multiple
    second = max(1, round(manifest.sample_rate / multiple)) * multiple
    return multiple, min(second, longest), longest
