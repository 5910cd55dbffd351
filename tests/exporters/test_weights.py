import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from frcrn_export.exporters import weights as fetching
from frcrn_export.exporters.commands.fetch import fetch as fetch_command
from frcrn_export.exporters.family import PublishedWeights
from frcrn_export.exporters.registry import find_model
from frcrn_export.exporters.weights import cached, download, fetch
from frcrn_export.runtime.errors import UserError

BODY = bytes(range(256)) * 4096  # 1 MiB
MODEL = "frcrn-16k"


@dataclass
class Server:
    """What the server does, and the Range headers it was asked with."""

    url: str = ""
    body: bytes = BODY
    send: int = len(BODY)  # bytes of the body before the connection is closed
    status: int = 200
    honours_range: bool = True
    location: str = ""
    ranges: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    def __init__(self, server: Server, *args: object) -> None:
        self.plan = server
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        plan, asked = self.plan, self.headers["Range"]
        plan.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if plan.status != 200:
            self.send_error(plan.status)
            return
        if plan.location:
            self.send_response(302)
            self.send_header("Location", plan.location)
            self.end_headers()
            return
        if asked and plan.honours_range:
            if start >= len(plan.body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-/{len(plan.body)}")
        else:
            start = 0
            self.send_response(200)
        self.send_header("Content-Length", str(len(plan.body) - start))
        self.end_headers()
        self.wfile.write(plan.body[start : plan.send])
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    plan = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, plan))
    plan.url = f"http://127.0.0.1:{http.server_port}/weights.bin"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield plan
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def remote(server: Server) -> PublishedWeights:
    sha256 = hashlib.sha256(BODY).hexdigest()
    return PublishedWeights(server.url, len(BODY), sha256, "weights.bin")


def publish(monkeypatch: pytest.MonkeyPatch, remote: PublishedWeights) -> None:
    """Let this file be the published one of MODEL."""
    spec = replace(find_model(MODEL), published=remote)
    monkeypatch.setattr(fetching, "find_model", lambda name: spec)


def refusal(remote: PublishedWeights, folder: Path) -> str:
    """The one line that a failing download says."""
    with pytest.raises(UserError) as caught:
        download(MODEL, remote, folder)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    assert f"frcrn-export fetch {MODEL}" in message
    assert not (folder / remote.file_name).exists()
    return message


def test_downloads_once(server, remote, tmp_path):
    seen = []
    path = download(MODEL, remote, tmp_path / "new" / "folder", lambda *state: seen.append(state))
    assert path.read_bytes() == BODY
    assert [file.name for file in path.parent.iterdir()] == ["weights.bin"]
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))
    assert seen == sorted(seen)

    assert download(MODEL, remote, path.parent) == path
    assert server.ranges == [None]


def test_continues_an_interrupted_download(server, remote, tmp_path):
    server.send = 300_000
    message = refusal(remote, tmp_path)
    assert "broke" in message or "stopped at" in message
    assert "--checkpoint FILE" in message
    part = tmp_path / "weights.bin.part"
    assert part.read_bytes() == BODY[: part.stat().st_size]

    have = part.stat().st_size
    assert 0 < have <= 300_000
    server.send = len(BODY)
    assert download(MODEL, remote, tmp_path).read_bytes() == BODY
    assert server.ranges == [None, f"bytes={have}-"]
    assert not part.exists()


def test_starts_over_where_the_server_ignores_ranges(server, remote, tmp_path):
    (tmp_path / "weights.bin.part").write_bytes(b"x" * 1000)
    server.honours_range = False
    assert download(MODEL, remote, tmp_path).read_bytes() == BODY


def test_starts_over_from_a_part_that_is_too_long(server, remote, tmp_path):
    (tmp_path / "weights.bin.part").write_bytes(b"x" * (len(BODY) + 1))
    assert download(MODEL, remote, tmp_path).read_bytes() == BODY
    assert server.ranges == [None]


def test_a_whole_part_needs_no_request(server, remote, tmp_path):
    (tmp_path / "weights.bin.part").write_bytes(BODY)
    assert download(MODEL, remote, tmp_path).read_bytes() == BODY
    assert server.ranges == []


@pytest.mark.parametrize("start", [0, 1000])
def test_an_altered_file_is_removed(server, remote, tmp_path, start):
    server.body = BODY[:-1] + b"!"
    if start:
        (tmp_path / "weights.bin.part").write_bytes(BODY[:start])
    assert "another file than the published one" in refusal(remote, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_never_reads_more_than_the_published_size(server, remote, tmp_path):
    server.body = BODY + b"more"
    server.send = len(server.body)
    assert f"more than the {len(BODY)} bytes" in refusal(remote, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_shorter_file_is_not_accepted(server, remote, tmp_path):
    server.body = BODY[:5000]
    assert f"stopped at 5000 of {len(BODY)} bytes" in refusal(remote, tmp_path)
    # The part now asks for what lies past the end: it is dropped, so that a later run can succeed.
    assert "416" in refusal(remote, tmp_path)
    server.body = BODY
    assert download(MODEL, remote, tmp_path).read_bytes() == BODY


def test_a_damaged_file_in_the_cache_is_downloaded_again(server, remote, tmp_path, caplog):
    (tmp_path / "weights.bin").write_bytes(b"!" + BODY[1:])
    assert download(MODEL, remote, tmp_path).read_bytes() == BODY
    assert "not the published file any more" in caplog.text


@pytest.mark.parametrize("status", [404, 403, 500])
def test_the_server_refuses(server, remote, tmp_path, status):
    server.status = status
    assert f"the server answers {status}" in refusal(remote, tmp_path)


def test_nobody_listens(remote, server, tmp_path):
    unused = PublishedWeights("http://127.0.0.1:9/weights.bin", 1, "0" * 64, "weights.bin")
    assert "no connection to the server" in refusal(unused, tmp_path)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/weights.bin"])
def test_redirects_lead_to_http_only(server, remote, tmp_path, target):
    server.location = target
    assert "not an http or https address" in refusal(remote, tmp_path)


def test_endless_redirects(server, remote, tmp_path):
    server.location = server.url
    assert "redirects" in refusal(remote, tmp_path)


@pytest.mark.parametrize("url", ["weights.bin", "file:///etc/passwd", "http://"])
def test_other_addresses(tmp_path, url):
    assert "not an http" in refusal(PublishedWeights(url, 1, "0" * 64, "weights.bin"), tmp_path)


def test_the_disk_is_full(remote, tmp_path, monkeypatch):
    def no_space(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetching, "_complete", no_space)
    assert f"the disk is full, {len(BODY)} bytes are needed" in refusal(remote, tmp_path)


def test_the_cache_cannot_be_written(remote, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(UserError, match=r"cannot be written .* FRCRN_EXPORT_CACHE"):
        download(MODEL, remote, blocked)


def test_fetch_takes_the_published_file_from_another_place(server, remote, tmp_path, monkeypatch):
    elsewhere = PublishedWeights("http://127.0.0.1:9/", remote.size, remote.sha256, "weights.bin")
    publish(monkeypatch, elsewhere)
    monkeypatch.setenv("FRCRN_EXPORT_CACHE", str(tmp_path / "cache"))
    assert cached(fetching.find_model(MODEL)) is None
    path = fetch(MODEL, url=server.url)
    assert path == tmp_path / "cache" / "weights.bin"
    assert cached(fetching.find_model(MODEL)) == path
    path.write_bytes(b"damaged")
    assert cached(fetching.find_model(MODEL)) is None


def test_models_without_published_weights():
    with pytest.raises(UserError, match="did you mean frcrn-16k"):
        fetch("frcrn16k")
    with pytest.raises(UserError, match="wave-unet-12x24 has no published weights to fetch"):
        fetch("wave-unet-12x24")
    assert cached(find_model("wave-unet-12x24")) is None


def test_the_published_frcrn_is_pinned():
    remote = find_model("frcrn-16k").published
    assert remote is not None
    assert remote.size == 57_991_225
    assert remote.sha256 == "477a2f82019b0a2b5bdd51541405d7e585a1f0355e162f3b46bf5c20d79fd612"
    assert remote.url.startswith("https://")


def test_the_command_prints_the_path(server, remote, tmp_path, monkeypatch):
    publish(monkeypatch, remote)
    run = CliRunner().invoke(fetch_command, [MODEL, "--cache-dir", str(tmp_path), "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout) == {
        "model": MODEL,
        "path": str(tmp_path / "weights.bin"),
        "bytes": len(BODY),
        "sha256": remote.sha256,
    }
    plain = CliRunner().invoke(fetch_command, [MODEL, "--cache-dir", str(tmp_path)])
    assert plain.stdout.strip() == str(tmp_path / "weights.bin")
