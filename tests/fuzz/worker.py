"""The process that reads mutated files: `python -m tests.fuzz.worker READER FOLDER`.

It lives on between inputs, under a limit of its address space. Standard input gives them, each
after its length in 8 bytes; each is answered by one line: "ok", or what went wrong.
"""

import json
import os
import resource
import sys
import traceback
from pathlib import Path

from tests.fuzz.reader import Reader
from tests.fuzz.readers import READERS, remove_outputs

ROOM_BYTES = 500 << 20


def serve(reader: Reader, folder: Path) -> None:
    """Answer for each input, until there is none."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    for seed in reader.seeds(folder):  # imports what reading needs
        reader.read(folder, seed)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    answers.write("ready\n")
    answers.flush()
    while head := sys.stdin.buffer.read(8):
        data = sys.stdin.buffer.read(int.from_bytes(head, "little"))
        try:
            reader.read(folder, data)
            said = "ok"
        except BaseException:
            said = json.dumps(traceback.format_exc()[-4_000:])
        remove_outputs(folder)
        answers.write(said + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(READERS[sys.argv[1]], Path(sys.argv[2]))
