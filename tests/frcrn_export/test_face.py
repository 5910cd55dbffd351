"""The public API: lazy names, listed and typed, and light to import."""

import ast
import logging
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import frcrn_export

FACE = Path(frcrn_export.__path__[0]) / "__init__.py"


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_brings_nothing_that_is_not_in_python() -> None:
    code = """
import sys
before = {name.partition(".")[0] for name in sys.modules}
import frcrn_export
after = {name.partition(".")[0] for name in sys.modules}
print(sorted(after - before - set(sys.stdlib_module_names)))
print([name for name in sys.modules if name.startswith("frcrn_export.")])
"""
    assert python(code) == "['frcrn_export']\n[]\n"


def test_a_name_of_the_runtime_brings_no_torch() -> None:
    code = """
import sys
from frcrn_export import Denoiser, StreamingDenoiser, MultiStream, open_bundle, BundleError
print({"torch", "onnx", "onnxruntime", "click", "rich", "scipy", "safetensors"} & set(sys.modules))
"""
    assert python(code) == "set()\n"


@pytest.mark.parametrize("name", frcrn_export.__all__)
def test_every_name_is_what_its_module_has(name: str) -> None:
    found = getattr(frcrn_export, name)
    assert found is getattr(import_module(found.__module__), name)
    assert found.__doc__


def test_the_list_is_the_table() -> None:
    assert sorted(frcrn_export._MODULES) == sorted(frcrn_export.__all__)
    assert set(frcrn_export.__all__) <= set(dir(frcrn_export))


def test_type_checkers_see_the_same_names() -> None:
    (block,) = (
        node
        for node in ast.parse(FACE.read_text()).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == dict(frcrn_export._MODULES)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'frcrn_export' has no attribute 'denoise'"):
        frcrn_export.denoise  # noqa: B018
    with pytest.raises(ImportError):
        exec("from frcrn_export import denoise")


def test_a_submodule_is_no_lazy_name() -> None:
    assert python("import frcrn_export.runtime.errors as e; print(e.__name__)").startswith("frcrn")


def test_the_older_names_keep_working() -> None:
    from frcrn_export.runtime import Denoiser
    from frcrn_export.runtime.streaming import MultiStream, StreamingDenoiser

    assert Denoiser is frcrn_export.Denoiser
    assert StreamingDenoiser is frcrn_export.StreamingDenoiser
    assert MultiStream is frcrn_export.MultiStream


def test_a_program_without_logging_hears_nothing() -> None:
    handlers = logging.getLogger("frcrn_export").handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)
