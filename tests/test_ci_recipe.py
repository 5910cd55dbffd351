"""docs/ci.md: its commands run, the script does what it says, the workflow calls it alone."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
import yaml

from frcrn_export import cli
from frcrn_export.runtime.bench.result import read_result
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from tests.wave_unets import write_small_wave

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "ci.md").read_text()
SCRIPT, WORKFLOW = DOCS / "ci/regression.sh", DOCS / "ci/regression.yml"
JOB = yaml.safe_load(WORKFLOW.read_text())["jobs"]["regression"]

# Stands in for GitHub's program: keeps what it is called with, and the comments there are.
GH = """#!/bin/sh
echo "$*" >>"$GH_LOG"
case $* in *--jq*) cat "$GH_COMMENTS"; exit;; esac
[ -z "$GH_DENIED" ] || exit 1
for word; do case $word in body=@*) cat "${word#body=@}" >>"$GH_LOG";; esac; done
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_page(
    small_wave_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("base", "mine"):
        shutil.copytree(small_wave_bundle.path, name)
    monkeypatch.setattr("frcrn_export.runtime.commands.bench._SECONDS", 0.5)
    monkeypatch.setattr("frcrn_export.runtime.bench.bench.PACED_SECONDS", 0.1)
    monkeypatch.setattr("frcrn_export.runtime.commands.compare._BUDGET", 0.1)
    monkeypatch.setattr("frcrn_export.runtime.bench.alternate._WARM_UP_SECONDS", 0.01)
    lines = "".join(blocks("bash")).splitlines()
    assert len(lines) == 4
    for line in lines:
        with pytest.raises(SystemExit) as left:
            cli.main(shlex.split(line)[1:])
        # So short a measurement may call slower what is not.
        assert left.value.code in ((0, 1) if line.startswith("frcrn-export compare base") else (0,))
    assert read_result(Path("baseline/result.json")).note == "as released in 1.0"
    assert len(Path("history.jsonl").read_text().splitlines()) == 1


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_a_history_as_a_table(tmp_path: Path) -> None:
    runs = [{"a, 1 thread": {"ratio": 1.5}}, {"a, 1 thread": {"ratio": None}, "b": {"ratio": 2}}]
    lines = (json.dumps({"time": "T", "note": "c", "rows": rows}) for rows in runs)
    (tmp_path / "history.jsonl").write_text("\n".join(lines))
    command, otava = blocks("sh")[1].splitlines()
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    assert (tmp_path / "history.csv").read_text().splitlines() == [
        '"time","commit","a, 1 thread","b"',
        '"T","c",1.5,',
        '"T","c",,2',
    ]
    settings = yaml.safe_load(blocks("yaml")[1])["tests"]
    (name,) = settings
    assert otava.endswith(f"analyze {name}")


def test_the_workflow_is_one_to_github() -> None:
    words = ("-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows")
    done = subprocess.run([sys.executable, *words, WORKFLOW], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_calls_the_script_alone() -> None:
    steps = JOB["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["bash .github/regression.sh"]
    used = [step["uses"] for step in steps if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w/-]+@v\d+", each) for each in used), used
    (settings,) = re.findall(r"^permissions:\n((?:  .*\n)+)", WORKFLOW.read_text(), re.MULTILINE)
    assert yaml.safe_load(settings) == {"contents": "read", "pull-requests": "write"}


def test_the_line_to_change_is_one() -> None:
    (line,) = (each for each in WORKFLOW.read_text().splitlines(True) if "EXPORT:" in each)
    assert line == blocks("yaml")[0]
    assert WORKFLOW.read_text().count("model.pt") == 1
    assert f"EXPORT='{JOB['env']['EXPORT']}'" in blocks("sh")[0]
    assert JOB["env"]["EXPORT"] in SCRIPT.read_text()  # the example of its error


class Repository:
    """A user's repository with two commits, and the script run in it."""

    def __init__(self, root: Path) -> None:
        self.root, self.out = root, root / "regression"
        root.mkdir()
        self.git("init", "--quiet", "--initial-branch", "main")

    def git(self, *args: str) -> str:
        names = ("-c", "user.name=n", "-c", "user.email=e@e")
        done = subprocess.run(
            ["git", *names, *args], cwd=self.root, check=True, capture_output=True, text=True
        )
        return done.stdout

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD").strip()

    def run(self, **settings: str) -> "subprocess.CompletedProcess[str]":
        programs = self.root.parent / "programs"
        programs.mkdir(exist_ok=True)
        (programs / "gh").write_text(GH)
        (programs / "gh").chmod(0o755)
        path = (str(programs), str(Path(sys.executable).parent), os.environ["PATH"])
        given = {"PATH": os.pathsep.join(path), "BENCH_SECONDS": "0.5"}
        kept = {name: value for name, value in os.environ.items() if "GITHUB" not in name}
        return subprocess.run(
            ["bash", SCRIPT], cwd=self.root, env=kept | given | settings, capture_output=True,
            text=True,
        )  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    if shutil.which("git") is None:
        pytest.skip("needs git")
    return Repository(tmp_path / "repository")


def in_pull_request(tmp_path: Path, comments: str = "", **settings: str) -> dict[str, str]:
    """What GitHub sets for a pull request."""
    (tmp_path / "comments").write_text(comments)
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_REPOSITORY": "owner/name",
        "GITHUB_REF": "refs/pull/7/merge",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "GH_TOKEN": "token",
        "GH_LOG": str(tmp_path / "gh.log"),
        "GH_COMMENTS": str(tmp_path / "comments"),
        **settings,
    }


@pytest.mark.slow
def test_a_change_of_the_weights_passes(repository: Repository, tmp_path: Path) -> None:
    """The whole job, with exports and engines: the base is the last tag."""
    write_small_wave(repository.root / "model.pt")
    repository.commit("base")
    repository.git("tag", "v1")
    write_small_wave(repository.root / "model.pt", seed=1)
    head = repository.commit("trained longer")
    # How the times of a busy machine differ is no matter of this test.
    done = repository.run(
        EXPORT="frcrn-export onnx --checkpoint model.pt --fp16",
        COMPARE="--budget 0.5 --max-slowdown 1000%",
        **in_pull_request(tmp_path),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = (repository.out / "table.md").read_text()
    assert table.startswith("# wave-unet-16k: passed")
    assert "other weights than the base's" in table
    assert "::notice title=frcrn-export compare::other weights" in done.stdout
    (suite,) = ElementTree.parse(repository.out / "junit.xml").getroot()
    assert suite.get("failures") == "0"
    (line,) = (repository.out / "history.jsonl").read_text().splitlines()
    assert json.loads(line)["note"] == head
    measured = read_result(repository.out / "bench/result.json")
    (engine,) = (each for each in measured.files if each.format == "engine")
    assert "Half" in engine.layers["Conv"]
    assert not any(row.failed for row in measured.rows)
    for side in ("base", "new"):
        assert any(e.engine for e in open_bundle(repository.out / side).manifest.files)
    assert (tmp_path / "summary.md").read_text() == table
    log = (tmp_path / "gh.log").read_text()
    assert "api --silent repos/owner/name/issues/7/comments -F body=@" in log
    assert "<!-- frcrn-export regression -->\n# wave-unet-16k: passed" in log
    assert len(repository.git("worktree", "list").splitlines()) == 1


@pytest.fixture
def smaller(repository: Repository, small_wave_bundle: Bundle, tmp_path: Path) -> Repository:
    """A commit whose export, a copy, lacks a file of the base's."""
    described = small_wave_bundle.manifest
    kept = tuple(each for each in described.files if each.role != "core_streaming")
    for name in ("whole", "less"):
        shutil.copytree(small_wave_bundle.path, tmp_path / name)
    less = msgspec.structs.replace(described, files=kept)
    (tmp_path / "less/manifest.json").write_bytes(less.to_json())
    for name in ("whole", "less"):
        (repository.root / "export.sh").write_text(f'cp -r "{tmp_path / name}" "$2"\n')
        repository.commit(name)
    return repository


COPY = {"EXPORT": "sh export.sh", "ENGINE": "", "COMPARE": "--budget 0"}


def test_a_lost_file_fails_with_the_table_written(smaller: Repository, tmp_path: Path) -> None:
    github = in_pull_request(tmp_path, comments="41\n42\n", GH_DENIED="1")
    done = smaller.run(BASE_REF="HEAD^", **COPY, **github)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "error: core.streaming.onnx: lost" in done.stderr
    assert "::error title=frcrn-export compare::core.streaming.onnx: lost" in done.stdout
    table = (smaller.out / "table.md").read_text()
    assert table.startswith("# wave-unet-16k: FAILED")
    assert (tmp_path / "summary.md").read_text() == table
    # The comment of an earlier run would be written again, if the token allowed it.
    assert (
        "--method PATCH repos/owner/name/issues/comments/41 " in (tmp_path / "gh.log").read_text()
    )
    assert "no comment: a fork's token may not write one; see the summary" in done.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"EXPORT": ""}, "EXPORT is not set: the command that exports the model, such as"),
        ({"GITHUB_BASE_REF": "gone"}, "origin/gone: no such commit here; fetch it"),
        ({"EXPORT": "false"}, "no model was exported"),
        ({"ENGINE": "false"}, "new: no engine was built"),
        ({"COMPARE": "--max-slowdown fast"}, "give a percentage, such as 5%"),
    ],
)
def test_what_cannot_be_done_is_exit_code_2(
    settings: dict[str, str], said: str, smaller: Repository
) -> None:
    done = smaller.run(**{**COPY, "BENCH_SECONDS": "0.1", **settings})
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert len(smaller.git("worktree", "list").splitlines()) == 1
