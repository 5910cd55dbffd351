"""Feed a reader's worker with mutated files, and watch what becomes of it."""

import json
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.fuzz.readers import READERS
from tests.fuzz.zip_mutations import CANARY

ROOT = Path(__file__).parents[2]
SECONDS = 20  # for one input


class Worker:
    """A Python process that answers as worker.py does; a new one follows after each failure.

    Its last argument is a copy of `intact`, of its own: what one left there is not read by others.
    """

    def __init__(self, arguments: list[str], intact: Path) -> None:
        self._arguments = arguments
        self._intact = intact
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, data: bytes) -> str | None:
        """What went wrong with an input, or None."""
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.write(len(data).to_bytes(8, "little") + data)
        process.stdin.flush()
        answer = self._answer(process, SECONDS)
        if CANARY.exists():
            CANARY.unlink()
            return "code in the file was run"
        if answer == "ok":
            return None
        self.close()
        return answer

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def _start(self) -> "subprocess.Popen[bytes]":
        self._folder = Path(tempfile.mkdtemp(dir=self._intact.parent))
        shutil.copytree(self._intact, self._folder, dirs_exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, *self._arguments, str(self._folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        began = self._answer(self._process, 300)
        assert began == "ready", began
        return self._process

    def _answer(self, process: "subprocess.Popen[bytes]", seconds: float) -> str:
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], seconds)
        line = process.stdout.readline().decode().strip() if readable else ""
        if line:
            return str(json.loads(line)) if line.startswith('"') else line
        died = process.wait() if readable else None
        self.close()
        return f"more than {seconds} s" if died is None else f"the process ended with {died}"


@dataclass
class Campaign:
    """Mutated files for one reader, in a folder of its own."""

    reader: str
    folder: Path
    failures: list[tuple[str, bytes]] = field(default_factory=list)

    def run(self, mutations: int, seed: int = 0, done: Callable[[int], None] = print) -> None:
        """Read so many files. The seed and the number of a file decide what it is."""
        reader = READERS[self.reader]
        intact = self.folder / "intact"
        intact.mkdir(parents=True, exist_ok=True)
        seeds = reader.seeds(intact)
        worker = Worker(["-m", "tests.fuzz.worker", self.reader], intact)
        try:
            for number in range(mutations):
                data = reader.mutated(Random(f"{self.reader} {seed} {number}"), seeds)
                if wrong := worker.read(data):
                    self.failures.append((wrong, data))
                done(number + 1)
        finally:
            worker.close()
