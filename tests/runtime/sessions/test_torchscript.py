import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions.registry import open_session
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from frcrn_export.runtime.verify.parity import check_bundle, open_artifacts
from tests.bundles import compared_files, replace_core, write_bundle


def test_any_batch_and_length_run(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", gain=2.0, formats=("torchscript",))
    session = open_session(open_bundle(bundle), "torchscript")
    assert session.backend == "torchscript"
    for shape in [(1, 1, 8), (2, 1, 100)]:
        inputs = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        output = session.run(inputs)
        assert output.dtype == np.float32
        np.testing.assert_array_equal(output, 2 * inputs)


def test_a_shape_the_core_does_not_take_is_an_error(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", samples=16_384, formats=("torchscript",))
    session = open_session(open_bundle(bundle), "torchscript")
    with pytest.raises(BackendError, match=r"core\.pt: .*got \[1, 1, 16000\]"):
        session.run(np.zeros((1, 1, 16_000), np.float32))


def test_a_file_that_is_no_torchscript_is_an_error(tmp_path: Path) -> None:
    root = write_bundle(tmp_path / "bundle", formats=("torchscript",))
    replace_core(root, b"not a module")
    with pytest.raises(BackendError, match=r"core\.pt: this PyTorch .* cannot load it"):
        open_session(open_bundle(root), "torchscript")


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[Path, Path]:
    """A bundle whose core.pt writes a file when it is opened, and that file's path."""
    import torch

    written = tmp_path / "written"

    class Hostile(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.path = str(written)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs

        @torch.jit.export
        def __getstate__(self) -> tuple[str, bool]:
            return self.path, self.training

        @torch.jit.export
        def __setstate__(self, state: tuple[str, bool]) -> None:
            self.path, self.training = state[0], state[1]
            torch.save(torch.zeros(1), self.path)

    root = write_bundle(tmp_path / "bundle", formats=("torchscript",))
    torch.jit.save(torch.jit.script(Hostile()), str(tmp_path / "hostile.pt"))
    replace_core(root, (tmp_path / "hostile.pt").read_bytes())
    return root, written


def test_code_in_a_bundle_runs_only_where_that_is_asked_for(
    hostile: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    root, written = hostile
    bundle = open_bundle(root)
    with pytest.raises(BackendError) as caught:
        Denoiser.open(bundle)
    assert str(caught.value) == (
        f"{root}/core.pt: opening TorchScript runs the code in it; if you trust it, add --backend "
        "torchscript, or make a file without code: frcrn-export onnx --model gain "
        "--random-weights 0 -o NEW_BUNDLE"
    )
    with pytest.raises(BackendError, match="opening TorchScript runs the code"):
        StreamingDenoiser.open(bundle, windowed=True)
    assert list(open_artifacts(bundle, ("core",))) == []
    assert not written.exists()
    assert caplog.records == []
    open_session(bundle, "torchscript")
    assert written.exists()  # it is that dangerous, and says so
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "core.pt: opening TorchScript runs the code in it" in caplog.text


@pytest.mark.parametrize("command", ["denoise", "verify", "inspect", "evaluate"])
def test_no_command_runs_it_by_itself(
    hostile: tuple[Path, Path],
    command: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from frcrn_export.cli import main

    root, written = hostile
    audio = tmp_path / "a.wav"
    soundfile.write(audio, np.zeros(1_000), 16_000)
    args = {"denoise": [str(audio), "-o", str(tmp_path / "b.wav")], "evaluate": []}
    with pytest.raises(SystemExit) as left:
        main([command, str(root), *args.get(command, [])])
    assert left.value.code == (0 if command == "inspect" else 2)
    assert not written.exists()
    assert not (tmp_path / "b.wav").exists()
    if command == "denoise":
        assert "add --backend torchscript" in capsys.readouterr().err


def test_verify_says_what_to_type(
    wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """And it works; where we wrote the file ourselves nothing is warned of."""
    from frcrn_export.cli import main

    with pytest.raises(SystemExit) as left:
        main(["verify", str(wave_unet_bundle)])
    assert not left.value.code
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("Not compared"))
    assert line.startswith("Not compared here: core.pt: opening TorchScript runs the code in it")
    command = line.partition("run: frcrn-export ")[2]
    with pytest.raises(SystemExit) as left:
        main(shlex.split(command))
    assert not left.value.code
    assert "core.pt" in capsys.readouterr().out
    trusted = replace(open_bundle(wave_unet_bundle), trusted=True)
    caplog.clear()
    assert compared_files(check_bundle(trusted)) == {"core.onnx", "core.pt"}
    assert caplog.records == []


@pytest.mark.parametrize(("threads", "started"), [(100_000, 2), (1, 1)])
def test_no_more_threads_than_processors(
    threads: int, started: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    set_to: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", set_to.append)
    root = write_bundle(tmp_path / "bundle", formats=("torchscript",))
    open_session(open_bundle(root), "torchscript", threads=threads)
    assert set_to == [started]
