"""Download of published weights into a cache: resumable, checked by sha256."""

import errno
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import requests

from frcrn_export.exporters.family import ModelSpec, PublishedWeights
from frcrn_export.exporters.registry import find_model
from frcrn_export.runtime.bundle.reader import sha256_of
from frcrn_export.runtime.cache import CACHE_VARIABLE, cache_dir
from frcrn_export.runtime.errors import UserError

CHUNK_BYTES = 1 << 18
TIMEOUT_S = (10.0, 60.0)  # to connect, and between reads
MAX_REDIRECTS = 5

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # bytes so far, bytes in all


def fetch(
    model: str,
    url: str | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """The path of a model's published weights, downloaded unless `folder` (the cache) has them.

    url: another place with the same file. Raises UserError where the model has no published
    weights, or the download fails; the next run resumes it.
    """
    remote = remote_file(model)
    if url is not None:
        remote = replace(remote, url=url)
    return download(model, remote, folder or cache_dir(), progress)


def cached(spec: ModelSpec) -> Path | None:
    """The path of a model's published weights in the cache, or None."""
    if spec.published is None:
        return None
    path = cache_dir() / spec.published.file_name
    return path if _is_whole(path, spec.published) else None


def remote_file(model: str) -> PublishedWeights:
    """The published file of a model. Raises UserError for an unknown model or one without."""
    spec = find_model(model)
    if spec.published is None:
        raise UserError(f"{model} has no published weights to fetch; its weights: {spec.weights}")
    return spec.published


def download(
    model: str, remote: PublishedWeights, folder: Path, progress: Progress | None = None
) -> Path:
    """Download `remote` into `folder` through a `.part` file, which a later run resumes.

    Returns at once if the file is complete. Raises UserError where it is not available, does not
    match its sha256 (it is removed then) or cannot be written.
    """
    path = folder / remote.file_name
    if _is_whole(path, remote):
        return path
    part = path.with_name(path.name + ".part")
    try:
        if path.exists():
            logger.warning("%s is not the published file any more; downloading it again", path)
            path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        _complete(model, part, remote, progress or _silent)
        if not _is_whole(part, remote):
            part.unlink()
            raise UserError(
                f"{remote.url} gave another file than the published one (sha256 differs; removed); "
                f"{_next_step(model)}"
            )
        part.replace(path)
    except requests.RequestException as error:  # before OSError, its base class
        raise UserError(f"{remote.url}: {_reason(error)}; {_next_step(model)}") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(
                f"{folder}: the disk is full, {remote.size} bytes are needed; free some, or set "
                f"{CACHE_VARIABLE} to another folder, then {_again(model)}"
            ) from error
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); set {CACHE_VARIABLE} to another "
            f"folder, then {_again(model)}"
        ) from error
    return path


def _complete(model: str, part: Path, remote: PublishedWeights, progress: Progress) -> None:
    """Download the missing part of `remote` into `part`, never more than its size."""
    have = part.stat().st_size if part.exists() else 0
    if have > remote.size:
        have = 0
    if have == remote.size:
        return
    with requests.Session() as session:
        session.max_redirects = MAX_REDIRECTS
        # No compression: sizes and ranges count the bytes of the file itself.
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        with session.get(remote.url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                part.unlink()  # it is of another file
            response.raise_for_status()
            resumed = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if response.status_code != requests.codes.partial_content or not resumed:
                have = 0  # the server starts over
            with part.open("ab" if have else "wb") as file:
                progress(have, remote.size)
                for chunk in response.iter_content(CHUNK_BYTES):
                    have += len(chunk)
                    if have > remote.size:
                        break
                    file.write(chunk)
                    progress(have, remote.size)
    if have > remote.size:
        part.unlink()
        raise UserError(
            f"{remote.url} gives more than the {remote.size} bytes of the published file: it is "
            f"another one; {_next_step(model)}"
        )
    if have < remote.size:
        raise UserError(
            f"{remote.url}: the download stopped at {have} of {remote.size} bytes; "
            f"{_next_step(model)}"
        )


def _is_whole(path: Path, remote: PublishedWeights) -> bool:
    return (
        path.is_file() and path.stat().st_size == remote.size and sha256_of(path) == remote.sha256
    )


def _silent(done: int, total: int) -> None:
    """Ignore progress."""


def _reason(error: requests.RequestException) -> str:
    """The reason, in a few words."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "the server does not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke before the end"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server, or it broke"
    if isinstance(error, requests.TooManyRedirects):
        return f"more than {MAX_REDIRECTS} redirects"
    return "not an http or https address"


def _again(model: str) -> str:
    return f"run again (it resumes): frcrn-export fetch {model}"


def _next_step(model: str) -> str:
    return f"{_again(model)}, or download the file by hand and pass it with --checkpoint FILE"
