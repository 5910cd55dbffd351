import contextlib
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.runtime.bundle.manifest import SCHEMA_VERSION, Manifest, ParityResult
from frcrn_export.runtime.bundle.parse import is_inside, parse_manifest
from frcrn_export.runtime.errors import BundleError
from tests.bundles import STFT, core_entry, manifest
from tests.int8_standins import quantization
from tests.streaming_bundles import Core, write_streaming_bundle

COMPLETE = manifest(stft=STFT, level="active_rms", files=(core_entry(STFT),))


def _core() -> dict[str, object]:
    core: dict[str, object] = json.loads(COMPLETE.to_json())["files"][0]
    return core


_REPORT = json.loads(
    msgspec.json.encode(msgspec.structs.replace(quantization(), report="../../secret.json"))
)


def _tensor(*shape: int | str) -> dict[str, object]:
    return {"name": "spec", "dtype": "float32", "shape": shape}


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


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sample_rate": 10**308}, "$.sample_rate"),
        ({"sample_rate": 10**9}, "$.sample_rate"),
        ({"sample_rate": 999}, "$.sample_rate"),
        ({"padding__size": 2**28}, "$.padding.size"),
        ({"padding__stride": 2**22}, "$.padding.stride"),
        ({"segments__length": 2**22}, "$.segments.length"),
        ({"segments__above": 2**31}, "$.segments.above"),
        ({"stft__fft_length": 2**17}, "$.stft.fft_length"),
        ({"stft__window": "blackman"}, "$.stft.window"),
        ({"stft__hop_length": 1}, "an fft_length of 640 every 1 samples, at most 64 times"),
        ({"segments__left": 13_999}, "windows of 16000 samples every 1, at most 64 may overlap"),
        ({"padding__size": 2**21, "stft__hop_length": 10}, "for a window of `padding`"),
        ({"files__bytes": 2**41}, "bytes"),
        ({"files__input_limit": 0.0}, "input_limit"),
        ({"files__opset": 1_000}, "opset"),
        ({"files__min_onnxruntime": "1.16; rm"}, "min_onnxruntime"),
        ({"model": "m" * 256}, "$.model"),
        ({"variant": {str(key): 1 for key in range(500_000)}}, "$.variant"),
        ({"variant": {"strides": [2] * 257}}, "$.variant"),
        ({"tools": {str(key): "1" for key in range(65)}}, "$.tools"),
        ({"files": [_core()] * 1_025}, "$.files"),
        ({"weights__seed": 2**63}, "$.weights.seed"),
        ({"files__inputs": [_tensor("batch", 2**20, 2**20)]}, "values in the tensors of one row"),
        ({"files__inputs": [_tensor(*[1] * 9)]}, "inputs"),
        ({"high_pass": {"cutoff_hz": 0.0}}, "$.high_pass.cutoff_hz"),
        ({"high_pass": {"streaming_cutoff_hz": 1e308}}, "$.high_pass.streaming_cutoff_hz"),
    ],
)
def test_numbers_beyond_any_network_are_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(BundleError) as caught:
        parse_manifest(changed(**fields), "x/manifest.json")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300


def test_large_networks_fit() -> None:
    stft = {"window_length": 65_536, "hop_length": 16_384, "fft_length": 65_536, "window": "hann"}
    lengths = {"padding__size": 2**21, "segments__length": 2**21, "sample_rate": 192_000}
    read = parse_manifest(changed(stft=stft, segments__above=2**31 - 1, **lengths))
    assert (read.sample_rate, read.padding.size) == (192_000, 2**21)


def test_what_is_added_has_defaults() -> None:
    document = json.loads(COMPLETE.to_json())
    for name in ("high_pass", "assumptions", "parity", "tools"):
        del document[name]
    for name in ("input_limit", "opset", "ir_version", "min_onnxruntime", "streaming", "engine"):
        del document["files"][0][name]
    for name in ("synthesis_window", "center", "pad_mode", "window"):
        del document["stft"][name]
    for name in ("licence", "attribution"):
        del document["weights"][name]
    assert parse_manifest(json.dumps(document).encode()) == COMPLETE


def of_schema_1(**fields: object) -> str:
    """What is said of a bundle of schema 1 that had these fields, without its path."""
    document = json.loads(changed(**fields)) | {"schema": 1}
    with pytest.raises(BundleError) as caught:
        parse_manifest(json.dumps(document).encode(), "x/manifest.json")
    start = "x/manifest.json: a bundle of schema 1, this program reads 2; export it again"
    assert str(caught.value).startswith(start)
    return str(caught.value).removeprefix(start)


def test_schema_1_says_how_to_export_again() -> None:
    engine = _core() | {"path": "a.engine", "format": "engine", "engine": {"flavor": "tensorrt"}}
    fp16 = _core() | {"path": "core.fp16.onnx", "precision": "fp16"}
    said = of_schema_1(model="frcrn-16k", files=[_core(), fp16, engine])
    assert said.startswith(": frcrn-export onnx --model frcrn-16k --random-weights 0 --fp16 -o ")


def test_schema_1_names_the_weights_file() -> None:
    weights = {"source": "checkpoint", "name": "my net.pth", "sha256": "ab" * 32}
    said = of_schema_1(model="frcrn-16k", weights=weights, variant={"squeeze_excite": "101"})
    assert said.startswith(
        f" with the weights file my net.pth (sha256 {'ab' * 32}): frcrn-export onnx --model "
        "frcrn-16k --squeeze-excite 101 --checkpoint 'my net.pth' -o "
    )


def test_schema_1_that_cannot_be_read_is_one_line() -> None:
    for broken in (b'{"schema": 1}', b'{"schema": 1, "files": 3}', b'{"schema": 1, "files": [1]}'):
        with pytest.raises(BundleError, match="^x: a bundle of schema 1, .*frcrn-export onnx"):
            parse_manifest(broken, "x")


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
        ({"files__path": "core\x1b]0;x\x07.onnx"}, "is not printable"),
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
        (
            {"files__precision": "int8", "files__quantization": _REPORT},
            "'../../secret.json' of core.onnx is not listed",
        ),
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
        ({"shape": ["batch", 1, "hidden"]}, "the batch alone is a dynamic axis"),
        ({"shape": ["batch", 2**24, 2]}, "values in the tensors of one row"),
        ({"shape": []}, "shape"),
        ({"initial": 1e39}, "initial"),
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


@pytest.mark.parametrize("shape", [["batch", 256], ["batch", 2, 256], ["batch"]])
def test_states_of_recurrent_layers(shape: list[object], tmp_path: Path) -> None:
    path = write_streaming_bundle(tmp_path / "b", Core(lookahead=2), stft=None)
    content = json.loads((path / "manifest.json").read_bytes())
    content["files"][0]["streaming"]["states"][0]["shape"] = shape
    streaming = parse_manifest(json.dumps(content).encode()).files[0].streaming
    assert streaming is not None
    assert streaming.states[0].row_shape == tuple(shape[1:])


@pytest.mark.parametrize(("chunk", "fits"), [(1, False), (8, True)])
def test_a_stream_that_waits_for_thousands_of_calls(chunk: int, fits: bool, tmp_path: Path) -> None:
    path = write_streaming_bundle(tmp_path / "b", Core(chunk=chunk, lookahead=1), stft=None)
    content = json.loads((path / "manifest.json").read_bytes())
    content["files"][0]["streaming"]["lookahead"] = 8 * 4_096
    if fits:
        parse_manifest(json.dumps(content).encode())
        return
    with pytest.raises(BundleError, match="at most 4096 calls are taken"):
        parse_manifest(json.dumps(content).encode())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"options": ["--module", "x.py:build"]}, "--module is no option of a network"),
        ({"streaming_options": ["-o", "there"]}, "-o is no option of a network"),
        ({"options": ["--no-tf32"]}, "--no-tf32 is no option of a network"),
        ({"options": ["--mean", "$(touch x)"]}, "options"),
    ],
)
def test_options_are_those_of_networks(fields: dict[str, object], said: str) -> None:
    with pytest.raises(BundleError) as caught:
        parse_manifest(changed(**fields))
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
    _only_bundle_errors(b'{"schema": 2, "model": "' + data + b'"}')


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
        parse_manifest(b'{"schema": 2, "later": ' + b"[" * 100_000)


@given(path=st.text(alphabet="./\\ab:\0", max_size=8))
def test_paths_inside_stay_inside(path: str) -> None:
    from pathlib import Path

    if is_inside(path):
        resolved = Path("/bundle", path).resolve()
        assert resolved.is_relative_to("/bundle")
        assert resolved != Path("/bundle")
