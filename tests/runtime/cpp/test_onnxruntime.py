"""Which ONNX Runtime is loaded, and how little of it is needed."""

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.bundles import STFT
from tests.runtime.cpp.builds import ROOT
from tests.runtime.cpp.library import FrcrnError, Library
from tests.runtime.cpp.test_recordings import noise
from tests.streaming_bundles import Core, write_streaming_bundle

# Of the functions that came with 1.18, the first in the table.
FIRST_OF_1_18 = "SessionOptionsAppendExecutionProvider_VitisAI"

# A library that has no more of ONNX Runtime than a version of the past: what came later is NULL.
PAST = """
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <onnxruntime_c_api.h>
static OrtApi *past;
static const OrtApi *get(uint32_t version) { return version > VERSION ? NULL : past; }
static const char *name(void) { return "1." NAME ".0"; }
const OrtApiBase *OrtGetApiBase(void) {
    static OrtApiBase base;
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    const OrtApiBase *(*real)(void) = (const OrtApiBase *(*)(void))dlsym(library, "OrtGetApiBase");
    past = calloc(1, sizeof(OrtApi));
    memcpy(past, real()->GetApi(17), offsetof(OrtApi, AFTER));
    base.GetApi = get;
    base.GetVersionString = name;
    return &base;
}
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_streaming_bundle(tmp_path / "bundle", Core(), STFT)


def library_of(version: int, folder: Path, build: Path, real: Path) -> Path:
    cache = (build / "CMakeCache.txt").read_text()
    include = re.search(r"ONNXRUNTIME_INCLUDE_DIR:\w+=(.*)", cache)
    assert include is not None
    source, made = folder / "past.c", folder / f"past{version}.so"
    source.write_text(PAST)
    command = ["cc", "-shared", "-fPIC", "-I", include[1], f"-DAFTER={FIRST_OF_1_18}"]
    command += [f"-DVERSION={version}", f'-DNAME="{version}"', f'-DLIBRARY="{real}"']
    subprocess.run([*command, str(source), "-o", str(made), "-ldl"], check=True)
    return made


def test_the_interface_of_1_17_is_enough(
    bundle: Path, library: Library, cpp_build: Path, onnxruntime_library: Path, tmp_path: Path
) -> None:
    past = library_of(17, tmp_path, cpp_build, onnxruntime_library)
    model = library.open(bundle, onnxruntime=past)
    assert model.info().onnxruntime == b"1.17.0"
    wave = noise(4_000)
    found = model.stream().process(wave)
    np.testing.assert_array_equal(found, library.open(bundle).stream().process(wave))
    with pytest.raises(FrcrnError, match="has no plugin providers .*take 1.22 or later"):
        library.open(bundle, onnxruntime=past, provider="tensorrt-rtx").stream()


def test_an_older_one_is_refused(
    bundle: Path, library: Library, cpp_build: Path, onnxruntime_library: Path, tmp_path: Path
) -> None:
    past = library_of(16, tmp_path, cpp_build, onnxruntime_library)
    with pytest.raises(FrcrnError, match="1.16.0 is too old: it has no C API 17; take 1.17 or lat"):
        library.open(bundle, onnxruntime=past)


def test_none_at_all_names_what_was_tried(bundle: Path, library: Library, cpp_build: Path) -> None:
    with pytest.raises(
        FrcrnError, match="tried: /none.so .*No such file.*give the path of its library"
    ):
        library.open(bundle, onnxruntime="/none.so")
    with pytest.raises(FrcrnError, match="libfrcrn.so .no ONNX Runtime: OrtGetApiBase is missing"):
        library.open(bundle, onnxruntime=cpp_build / "libfrcrn.so")
    said = alone(cpp_build, bundle, "", FRCRN_ONNXRUNTIME="")
    assert "tried: libonnxruntime.so.1 (" in said
    assert "libonnxruntime.so (" in said
    assert "set FRCRN_ONNXRUNTIME to the path" in said


def test_a_copy_that_the_process_has_is_taken(
    bundle: Path, cpp_build: Path, onnxruntime_library: Path
) -> None:
    """Not the one of the variable: two copies in a process clash."""
    import onnxruntime

    host = f"import ctypes; ctypes.CDLL({str(onnxruntime_library)!r})"
    said = alone(cpp_build, bundle, host, FRCRN_ONNXRUNTIME="/none.so")
    assert said.strip() == onnxruntime.__version__
    said = alone(cpp_build, bundle, "", FRCRN_ONNXRUNTIME=str(onnxruntime_library))
    assert said.strip() == onnxruntime.__version__


def test_the_base_of_the_program_is_taken(
    bundle: Path, library: Library, onnxruntime_library: Path
) -> None:
    own = ctypes.CDLL(str(onnxruntime_library))
    own.OrtGetApiBase.restype = ctypes.c_void_p
    model = library.open(bundle, ort_api_base=own.OrtGetApiBase(), onnxruntime="/none.so")
    assert len(model.stream().process(noise(2_000))) > 0


def alone(build: Path, bundle: Path, before: str, **environment: str) -> str:
    """What a process of its own says: the version that was loaded, or the error."""
    program = f"""
{before}
from pathlib import Path
from tests.runtime.cpp.library import FrcrnError, Library
try:
    print(Library(Path({str(build / "libfrcrn.so")!r})).open(Path({str(bundle)!r}))
          .info().onnxruntime.decode())
except FrcrnError as error:
    print(error)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout
