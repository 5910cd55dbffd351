"""The options with which a command exports a user's own module again."""

from pathlib import PurePath

from frcrn_export.runtime.bundle.manifest import Manifest
from frcrn_export.runtime.text import quoted


def module_of(manifest: Manifest) -> str | None:
    """Where the code of a user's own module is, `my.py:build`; None for a registered model."""
    module = manifest.variant.get("module")
    return module if isinstance(module, str) else None


def module_options(manifest: Manifest) -> str:
    """The options of `frcrn-export onnx` that name the module and what surrounds it."""
    module, stft = str(module_of(manifest)), manifest.stft
    options = [f"--module {quoted(module)}", f"--sample-rate {manifest.sample_rate}"]
    source = module.rpartition(":")[0]
    stem = PurePath(source).stem if source.endswith(".py") else source.rpartition(".")[2]
    if manifest.model != stem:
        options.append(f"--model {quoted(manifest.model)}")
    if stft is not None:
        options.append(f"--stft {stft.window_length}/{stft.hop_length}/{stft.fft_length}")
        options.append(f"--window {stft.window} --{'' if stft.center else 'no-'}center")
        options.append(f"--module-output {quoted(manifest.variant.get('output'))}")
    else:
        options.append(f"--multiple {manifest.padding.size}")
    return " ".join([*options, f"--level {manifest.level}"])
