import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.engines.profiles import Sizes, make_profile, parse_sizes
from frcrn_export.runtime.bundle.manifest import Manifest, Padding, Segments, StftSpec, TensorSpec
from frcrn_export.runtime.errors import BundleError, UserError
from tests.bundles import STFT, manifest

SPEC = TensorSpec(name="spec", dtype="float32", shape=("batch", 2, 321, "frames"))
WAVE = TensorSpec(name="wave", dtype="float32", shape=("batch", 1, "samples"))
FIXED = TensorSpec(name="wave", dtype="float32", shape=("batch", 1, 16384))
SPECTRUM = manifest(stft=STFT)


def waveform(multiple: int = 1024, window: int = 131 * 1024) -> Manifest:
    return manifest(
        padding=Padding(rule="multiple", size=multiple),
        segments=Segments(length=window, left=1024, right=1024, above=window),
    )


@given(st.lists(st.integers(1, 2**31 - 1), min_size=3, max_size=3).map(sorted))
def test_parses_min_opt_max(sizes: list[int]) -> None:
    assert parse_sizes(":".join(map(str, sizes)), "--batch") == Sizes(*sizes)


def test_one_number_is_all_three() -> None:
    assert parse_sizes(" 8 ", "--batch") == Sizes(8, 8, 8)


@pytest.mark.parametrize(
    "text",
    ["", "a", "1:2", "1:2:3:4", "1:2:x", "-1", "1.5", "1e3", "1_0", "+1", "٣", "1::3", "1" * 11],
)
def test_refuses_what_is_not_min_opt_max(text: str) -> None:
    with pytest.raises(UserError, match=r"^--frames .*not MIN:OPT:MAX"):
        parse_sizes(text, "--frames")


@pytest.mark.parametrize("text", ["0", "0:1:2", "3:2:4", "1:5:4", "8:4:1", "1:1:2147483648"])
def test_refuses_an_impossible_order(text: str) -> None:
    with pytest.raises(UserError, match=rf"^--batch {text}: needs 1 <= MIN <= OPT <= MAX"):
        parse_sizes(text, "--batch")


@given(st.text(max_size=20))
def test_any_text_is_sizes_or_a_user_error(text: str) -> None:
    try:
        sizes = parse_sizes(text, "--batch")
    except UserError:
        return
    assert 1 <= sizes.min <= sizes.opt <= sizes.max


def test_spectrum_defaults_to_8_seconds_at_most() -> None:
    profile = make_profile(SPECTRUM, SPEC)
    assert profile.min == (1, 2, 321, 1)
    assert profile.opt == (1, 2, 321, 50)
    assert profile.max == (4, 2, 321, 400)


def test_spectrum_defaults_follow_the_hop() -> None:
    stft = StftSpec(window_length=320, hop_length=160, fft_length=512)
    profile = make_profile(manifest(stft=stft), SPEC)
    assert (profile.opt[-1], profile.max[-1]) == (100, 800)


def test_waveform_defaults_hold_one_block_and_a_whole_window() -> None:
    profile = make_profile(waveform(), WAVE)
    assert profile.min == (1, 1, 1024)
    assert profile.opt == (1, 1, 16 * 1024)
    assert profile.max == (4, 1, 131 * 1024)


@given(st.integers(1, 40_000), st.integers(1, 400_000))
def test_waveform_defaults_are_in_order_and_take_the_network_s_lengths(
    multiple: int, window: int
) -> None:
    profile = make_profile(waveform(multiple, window + 2 * 1024), WAVE)
    sizes = (profile.min[-1], profile.opt[-1], profile.max[-1])
    assert list(sizes) == sorted(sizes)
    assert not any(size % multiple for size in sizes)
    assert sizes[-1] >= window + 2 * 1024


def test_texts_replace_the_defaults() -> None:
    profile = make_profile(SPECTRUM, SPEC, batch="1:1:8", frames="100")
    assert profile.min == (1, 2, 321, 100)
    assert profile.max == (8, 2, 321, 100)
    profile = make_profile(waveform(), WAVE, samples="2048:4096:8192")
    assert profile.opt == (1, 1, 4096)


@pytest.mark.parametrize("samples", ["1000", "1024:1500:2048", "512:1024:2048"])
def test_refuses_samples_that_the_network_cannot_take(samples: str) -> None:
    with pytest.raises(UserError, match=r"multiples of 1024 samples; as in --samples 1024:16384:"):
        make_profile(waveform(), WAVE, samples=samples)


def test_refuses_an_axis_that_the_network_lacks() -> None:
    with pytest.raises(UserError, match=r"^--frames 50: .*; it has: --batch, --samples"):
        make_profile(waveform(), WAVE, frames="50")
    with pytest.raises(UserError, match=r"^--samples 1024: .*; it has: --batch, --frames"):
        make_profile(SPECTRUM, SPEC, samples="1024")
    with pytest.raises(UserError, match=r"^--samples 16384: .*; it has: --batch$"):
        make_profile(waveform(), FIXED, samples="16384")


def test_a_fixed_length_has_a_choice_of_batch_alone() -> None:
    profile = make_profile(waveform(), FIXED, batch="1:2:16")
    assert (profile.min, profile.opt, profile.max) == ((1, 1, 16384), (2, 1, 16384), (16, 1, 16384))


def test_an_unknown_axis_is_the_bundle_s_fault() -> None:
    strange = TensorSpec(name="spec", dtype="float32", shape=("batch", "height"))
    with pytest.raises(BundleError, match="unknown axis 'height'"):
        make_profile(SPECTRUM, strange)
