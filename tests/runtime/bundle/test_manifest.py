import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.runtime.bundle.manifest import (
    SCHEMA_VERSION,
    Manifest,
    ParityResult,
    is_inside,
    parse_manifest,
)
from frcrn_export.runtime.errors import BundleError
from tests.bundles import STFT, core_entry, manifest
from tests.streaming_bundles import Core, write_streaming_bundle

COMPLETE = manifest(stft=STFT, level="active_rms", files=(core_entry(STFT),))


def changed(**fields: object) -> bytes:
    """The JSON of a manifest with fields replaced; `stft__hop_length` is one of `stft`."""
    document = json.loads(COMPLETE.to_json())
    for name, value in fields.items():
        *outer, last = name.split("__")
        target = document
        for key in outer:
            target = target[key][0] if key == "files" else target[key]
        target[last] = value
    return json.dumps(document).encode()


def test_what_is_written_is_read_again() -> None:
    result = ParityResult(
        artifact="core.onnx", case="core.a", snr_db=120.5, max_abs=1e-6, floor_db=90, passed=True
    )
    full = manifest(stft=STFT, files=(core_entry(STFT),))
    for written in (COMPLETE, full, manifest()):
        assert parse_manifest(written.to_json()) == written
    assert parse_manifest(changed(parity=[json.loads(json.dumps(_as_dict(result)))])).parity == (
        result,
    )


def _as_dict(result: ParityResult) -> dict[str, object]:
    return {name: getattr(result, name) for name in result.__struct_fields__}


def test_unknown_fields_are_ignored() -> None:
    assert parse_manifest(changed(later_addition={"a": 1}, stft__later=2)) == COMPLETE


def test_a_later_schema_says_to_upgrade() -> None:
    with pytest.raises(BundleError, match="pip install --upgrade frcrn-export"):
        parse_manifest(changed(schema=SCHEMA_VERSION + 1, level="a rule of the future"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": 3}, "$.model"),
        ({"schema": 0}, "$.schema"),
        ({"level": "loud"}, "$.level"),
        ({"sample_rate": 0}, "$.sample_rate"),
        ({"sample_rate": 16_000.5}, "$.sample_rate"),
        ({"segments__length": -1}, "$.segments.length"),
        ({"files__sha256": "abc"}, "sha256"),
        ({"files__bytes": -1}, "bytes"),
        ({"files__role": "virus"}, "role"),
        ({"files__path": ""}, "path"),
        ({"files__path": "a" * 256}, "path"),
        ({"files__path": "../core.onnx"}, "'../core.onnx' leaves the bundle"),
        ({"files__path": "a/../../core.onnx"}, "leaves the bundle"),
        ({"files__path": "/etc/passwd"}, "leaves the bundle"),
        ({"files__path": "C:\\core.onnx"}, "leaves the bundle"),
        ({"files__path": "manifest.json"}, "leaves the bundle"),
        ({"files__path": "."}, "leaves the bundle"),
        ({"stft": None}, "contradict"),
        ({"domain": "waveform"}, "contradict"),
        ({"stft__hop_length": 641}, "hop_length <= window_length"),
        ({"stft__fft_length": 638}, "hop_length <= window_length"),
        ({"stft__fft_length": 641}, "even"),
        ({"padding__size": 320}, "must hold a window"),
        (
            {"segments__length": 639, "segments__left": 0, "segments__right": 0},
            "must hold a window",
        ),
        ({"segments__left": 14_000}, "drops at least as much"),
    ],
)
def test_impossible_fields_are_named(fields: dict[str, object], said: str) -> None:
    with pytest.raises(BundleError) as caught:
        parse_manifest(changed(**fields), "x/manifest.json")
    assert said in str(caught.value)
    assert str(caught.value).startswith("x/manifest.json: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"dtype": "uint8", "initial": 256}, "'past' cannot begin with 256 as uint8"),
        ({"dtype": "uint8", "initial": 0.5}, "'past' cannot begin with 0.5 as uint8"),
        ({"dtype": "uint8", "initial": -1}, "'past' cannot begin with -1 as uint8"),
        ({"dtype": "int64"}, "dtype"),
        ({"shape": [1, 1, 2]}, "the first axis of every state is the batch"),
        ({"next": "past"}, "two states share a name"),
    ],
)
def test_impossible_states_are_named(state: dict[str, object], said: str, tmp_path: Path) -> None:
    path = write_streaming_bundle(tmp_path / "b", Core(lookahead=2), stft=None)
    content = json.loads((path / "manifest.json").read_bytes())
    parse_manifest(json.dumps(content).encode())
    content["files"][0]["streaming"]["states"][0] |= state
    with pytest.raises(BundleError) as caught:
        parse_manifest(json.dumps(content).encode(), "x/manifest.json")
    assert said in str(caught.value)


def test_a_missing_field_is_named() -> None:
    document = json.loads(COMPLETE.to_json())
    for name in ("model", "files", "segments", "padding", "level"):
        less = {key: value for key, value in document.items() if key != name}
        with pytest.raises(BundleError, match=name):
            parse_manifest(json.dumps(less).encode())


def test_a_file_that_is_listed_twice_is_refused() -> None:
    document = json.loads(COMPLETE.to_json())
    document["files"] *= 2
    with pytest.raises(BundleError, match="listed twice"):
        parse_manifest(json.dumps(document).encode())


def _only_bundle_errors(data: bytes) -> None:
    with contextlib.suppress(BundleError):
        assert isinstance(parse_manifest(data), Manifest)


@given(data=st.binary(max_size=200))
def test_any_bytes_give_a_manifest_or_a_bundle_error(data: bytes) -> None:
    _only_bundle_errors(data)
    _only_bundle_errors(b'{"schema": 1, "model": "' + data + b'"}')


@given(position=st.integers(0, 2_000), replacement=st.binary(max_size=4), cut=st.integers(0, 4))
def test_damaged_manifests_give_a_manifest_or_a_bundle_error(
    position: int, replacement: bytes, cut: int
) -> None:
    data = COMPLETE.to_json()
    position %= len(data)
    _only_bundle_errors(data[:position] + replacement + data[position + cut :])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=5,
)


@given(name=st.sampled_from(Manifest.__struct_fields__), value=JSON)
def test_any_value_of_a_field_gives_a_manifest_or_a_bundle_error(name: str, value: object) -> None:
    _only_bundle_errors(changed(**{name: value}))


def test_endless_nesting_is_a_bundle_error() -> None:
    with pytest.raises(BundleError):
        parse_manifest(b'{"schema": 1, "later": ' + b"[" * 100_000)


@given(path=st.text(alphabet="./\\ab:\0", max_size=8))
def test_paths_inside_stay_inside(path: str) -> None:
    from pathlib import Path

    if is_inside(path):
        resolved = Path("/bundle", path).resolve()
        assert resolved.is_relative_to("/bundle")
        assert resolved != Path("/bundle")
