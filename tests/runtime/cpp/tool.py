"""The command line tool `frcrn`, run by tests."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tool:
    """The program, and the library of ONNX Runtime that it is told of."""

    program: Path
    onnxruntime: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "FRCRN_ONNXRUNTIME": str(self.onnxruntime)}

    def __call__(
        self,
        *words: object,
        data: bytes | None = None,
        before: Callable[[], None] | None = None,
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a command to its end. `before` runs in the new process."""
        return subprocess.run(
            [self.program, *map(str, words)],
            input=data,
            capture_output=True,
            env=self.environment,
            preexec_fn=before,
            timeout=300,
            check=False,
        )

    def start(self, *words: object, **streams: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([self.program, *map(str, words)], env=self.environment, **streams)

    def error(self, *words: object, data: bytes | None = None, code: int = 2) -> str:
        """The one line with which a command refuses its input."""
        done = self(*words, data=data)
        said = done.stderr.decode()
        assert done.returncode == code, (done.returncode, said)
        assert said.startswith("error: ")
        assert said.count("\n") == 1, said
        return said
