"""What is built and what is installed of it: symbols, packages, find_package, pkg-config."""

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
VERSION = "0.2.0"
# C and not C++, in a strict form: what the header must bear.
PROGRAM = """#include <frcrn.h>
#include <stdio.h>
int main(void) {
    frcrn_error error;
    frcrn_model_options options = FRCRN_MODEL_OPTIONS_INIT;
    frcrn_model *model = NULL;
    if (frcrn_model_open("/nowhere", &options, &model, &error) != FRCRN_BUNDLE) return 1;
    printf("%s %s", frcrn_version(), error.text);
    return 0;
}
"""
PROJECT = """cmake_minimum_required(VERSION 3.18)
project(consumer LANGUAGES C CXX)
find_package(frcrn 0.2 REQUIRED)
add_executable(program program.c)
target_link_libraries(program PRIVATE frcrn::frcrn)
"""


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def packages(cpp_build: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders that the .deb and the .tar.gz unpack into, and the .deb itself."""
    for tool in ("cpack", "dpkg-shlibdeps", "file"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}, which packs libfrcrn")
    folder = tmp_path_factory.mktemp("packages")
    run("cpack", "--config", cpp_build / "CPackConfig.cmake", cwd=folder)
    deb = folder / f"frcrn_{VERSION}_{run('dpkg', '--print-architecture').strip()}.deb"
    run("dpkg-deb", "-x", deb, folder / "root")
    archive = next(folder.glob(f"frcrn-{VERSION}-linux-*.tar.gz"))
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    name = archive.name.removesuffix(".tar.gz")
    return {"deb": folder / "root" / "usr", "tar.gz": folder / name, "control": deb}


def test_only_the_functions_of_the_header_leave_the_library(cpp_build: Path) -> None:
    symbols = run("nm", "-D", "--defined-only", cpp_build / "libfrcrn.so").splitlines()
    header = (ROOT / "runtime/cpp/include/frcrn.h").read_text()
    declared = set(re.findall(r"^FRCRN_API [^(]*?\b(frcrn_\w+)\(", header, re.MULTILINE))
    assert {line.split()[-1] for line in symbols} == declared
    assert len(declared) > 20


def test_the_library_is_small_and_links_against_no_onnxruntime(cpp_build: Path) -> None:
    library = cpp_build / "libfrcrn.so"
    dynamic = run("readelf", "--dynamic", "--wide", library)
    assert "Library soname: [libfrcrn.so.0]" in dynamic
    needed = set(re.findall(r"\(NEEDED\).*\[(\w+)", dynamic))
    assert "libsoxr" in needed
    assert not any("onnx" in name for name in needed)
    assert library.stat().st_size < 2e6


def test_the_package_says_what_it_needs(packages: dict[str, Path]) -> None:
    control = run("dpkg-deb", "--field", packages["control"])
    depends = re.findall(r"^Depends: (.*)", control, re.MULTILINE)[0]
    assert "libsoxr0" in depends
    assert "libsndfile1" in depends
    assert "libc6" in depends
    assert "onnxruntime" not in depends
    assert "Recommends: libonnxruntime" in control
    assert f"Version: {VERSION}" in control


@pytest.mark.parametrize("kind", ["deb", "tar.gz"])
def test_a_package_holds_the_licence_and_no_file_of_the_tests(
    kind: str, packages: dict[str, Path]
) -> None:
    prefix = packages[kind]
    licence = prefix / "share/doc/frcrn/copyright"
    assert licence.read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (prefix / "share/doc/frcrn/README.md").exists()
    files = [path.relative_to(prefix) for path in prefix.rglob("*") if not path.is_dir()]
    assert not [path for path in files if "test" in path.name or "onnxruntime" in path.name]
    for path in files:  # nothing of the place where it was built
        assert os.fsencode(ROOT) not in (prefix / path).read_bytes(), path


@pytest.mark.parametrize("kind", ["deb", "tar.gz"])
def test_the_tool_runs_from_where_it_lies(kind: str, packages: dict[str, Path]) -> None:
    assert VERSION in run(packages[kind] / "bin/frcrn", "--version")


@pytest.mark.parametrize("kind", ["deb", "tar.gz"])
def test_find_package_finds_it(kind: str, packages: dict[str, Path], tmp_path: Path) -> None:
    assert_answers(built_by_cmake(packages[kind], tmp_path))


@pytest.mark.parametrize("kind", ["deb", "tar.gz"])
def test_pkg_config_finds_it(kind: str, packages: dict[str, Path], tmp_path: Path) -> None:
    prefix = packages[kind]
    (tmp_path / "program.c").write_text(PROGRAM)
    found = {"PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig")}
    assert run("pkg-config", "--modversion", "frcrn", **found).strip() == VERSION
    flags = run("pkg-config", "--cflags", "--libs", "frcrn", **found).split()
    strict = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    run("cc", *strict, "program.c", *flags, "-o", "program", cwd=tmp_path)
    assert_answers(tmp_path / "program", LD_LIBRARY_PATH=str(prefix / "lib"))


@pytest.mark.slow
def test_a_static_library_brings_what_it_needs(cpp_build: Path, tmp_path: Path) -> None:
    build = tmp_path / "build"
    options = ("-DBUILD_SHARED_LIBS=OFF", "-DFRCRN_BUILD_TESTS=OFF", "-DCMAKE_BUILD_TYPE=Debug")
    run("cmake", "-S", ROOT / "runtime/cpp", "-B", build, *options)
    run("cmake", "--build", build, "--parallel", "2")
    run("cmake", "--install", build, "--prefix", tmp_path / "installed")
    assert (tmp_path / "installed/lib/libfrcrn.a").exists()
    assert_answers(built_by_cmake(tmp_path / "installed", tmp_path / "consumer"))


def built_by_cmake(prefix: Path, folder: Path) -> Path:
    """A program of its own project, linked against what lies under `prefix`."""
    folder.mkdir(exist_ok=True)
    (folder / "program.c").write_text(PROGRAM)
    (folder / "CMakeLists.txt").write_text(PROJECT)
    run("cmake", "-S", folder, "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", folder / "build")
    return folder / "build/program"


def assert_answers(program: Path, **environment: str) -> None:
    said = run(program, **environment)
    assert said.startswith(f"{VERSION} /nowhere: no such folder")
