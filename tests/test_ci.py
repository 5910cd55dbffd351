"""What CI does before and around the tests: packages, the baseline, skips that are failures."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
APT_GET = '#!/bin/sh\necho "$DEBIAN_FRONTEND $@" >>"$APT_LOG"\n'


def packages(folder: Path, present: set[str], user: int = 0) -> tuple[int, str, list[str]]:
    """Exit code, message and calls of apt-get, on a machine with these programs alone."""
    folder.mkdir()
    stubs = {
        "apt-get": APT_GET,
        "id": f"#!/bin/sh\necho {user}\n",
        **dict.fromkeys(("make", "git", "jq", "cc", *CPP), "#!/bin/sh\n"),
        "bash": f'#!/bin/sh\nexec "{shutil.which("bash")}" "$@"\n',
        "python3": f'#!/bin/sh\nexec "{sys.executable}" "$@"\n',
    }
    for name in present | {"bash"}:
        (folder / name).write_text(stubs[name])
        (folder / name).chmod(0o755)
    bash = shutil.which("bash")
    assert bash
    log = folder / "log"
    done = subprocess.run(
        [bash, str(ROOT / ".ci/packages")],
        env={"PATH": str(folder), "APT_LOG": str(log)},
        capture_output=True,
        text=True,
    )
    called = log.read_text().splitlines() if log.exists() else []
    return done.returncode, done.stdout + done.stderr, called


CPP = {"c++", "cmake", "pkg-config", "dpkg-shlibdeps", "file"} | {
    "aarch64-linux-gnu-g++",
    "qemu-aarch64-static",
}
ALL = {"apt-get", "id", "make", "git", "jq", "cc", "python3"} | CPP


def test_nothing_is_installed_where_nothing_is_missing(tmp_path: Path) -> None:
    assert packages(tmp_path / "bin", ALL) == (0, "", [])


def test_what_is_missing_is_installed_after_an_update(tmp_path: Path) -> None:
    code, said, called = packages(tmp_path / "bin", ALL - {"cc"})
    assert (code, said) == (0, "")
    assert called == [
        "noninteractive update -qq",
        "noninteractive install -qq --no-install-recommends gcc libc6-dev",
    ]


def test_a_machine_with_nothing_gets_python_too(tmp_path: Path) -> None:
    _, _, called = packages(tmp_path / "bin", {"apt-get", "id"})
    assert (
        "make git jq python3 gcc libc6-dev dpkg-dev file python3-dev python3-venv g++" in called[-1]
    )
    assert called[-1].endswith("ladspa-sdk doctest-dev g++-aarch64-linux-gnu qemu-user-static")


@pytest.mark.parametrize(("present", "user"), [(ALL - {"cc"}, 1000), ({"id", "python3"}, 0)])
def test_where_it_may_not_install_it_says_what_is_missing(
    present: set[str], user: int, tmp_path: Path
) -> None:
    code, said, called = packages(tmp_path / "bin", present, user)
    assert code == 1
    assert "gcc libc6-dev" in said
    assert called == []


def test_skips_are_failures_in_ci() -> None:
    text = (ROOT / ".ci/run").read_text()
    assert "--no-skips" in text
    assert ".ci/packages && make test" in text


PASSED = """all passed
times over the baseline's, not asserted: core.onnx pipeline 1.02
...... [100%]
12 passed in 3.21s
"""


@pytest.mark.parametrize(
    ("does", "code", "said"),
    [
        ("cat said", 0, PASSED.splitlines()[1::2]),
        ("cat said; false", 2, [*PASSED.splitlines(), "make: *** [Makefile:2: test] Error 1"]),
    ],
)
def test_what_is_said_of_a_run(does: str, code: int, said: list[str], tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci")
    (tmp_path / ".ci/packages").write_text("#!/bin/sh\n")
    (tmp_path / ".ci/packages").chmod(0o755)
    (tmp_path / "said").write_text(PASSED)
    (tmp_path / "Makefile").write_text(f"test:\n\t@{does}\n")
    # As nobody's child: a make within a make says so.
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run([tmp_path / ".ci/run"], capture_output=True, text=True, env=own)
    assert (done.returncode, done.stdout.splitlines()) == (code, said)


def test_make_test_compares_with_the_baseline() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "test"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "compare benchmarks/baseline.json build/regression --exact" in done.stdout
    assert done.stdout.index("--exact") < done.stdout.index("pytest")


def test_make_test_builds_and_tests_the_library_where_it_can() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "test"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "runtime/cpp/build release --test" in done.stdout
    assert done.stdout.index("runtime/cpp/build") < done.stdout.index("-m pytest")
