"""Packing: the part of a bundle that one target needs, as a bundle of its own."""

from dataclasses import dataclass
from pathlib import Path

from frcrn_export.runtime.bundle.manifest import NOTE_NAMES, Manifest, Precision
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle, path_of
from frcrn_export.runtime.bundle.transaction import require_free, transaction
from frcrn_export.runtime.errors import BundleError, UserError, reason
from frcrn_export.runtime.files.output import check_output
from frcrn_export.runtime.pack.archive import archive_suffix, folder_in, write_archive
from frcrn_export.runtime.pack.contents import Contents, PackedFile, contents_of
from frcrn_export.runtime.pack.selection import Use, Wanted, select_files
from frcrn_export.runtime.pack.target import find_target
from frcrn_export.runtime.text import shown


@dataclass(frozen=True)
class Pack:
    """What was packed.

    Attributes:
        output: The archive or the folder.
        suffix: Of the archive; None for a folder.
        manifest: The manifest inside.
        files: All files, sorted by name.
        bundle_bytes: The size of the whole bundle, its manifest included.
    """

    output: Path
    suffix: str | None
    manifest: Manifest
    files: tuple[PackedFile, ...]
    bundle_bytes: int

    @property
    def bytes(self) -> int:
        """The size of the files together, before an archive compresses them."""
        return sum(file.bytes for file in self.files)

    @property
    def folder(self) -> Path:
        """The folder to open, once an archive is unpacked in the current folder."""
        return self.output if self.suffix is None else Path(folder_in(self.output, self.suffix))


def pack(
    bundle: Bundle | Path | str,
    target: str,
    output: Path | str,
    *,
    offline: bool = False,
    streaming: bool = False,
    precision: Precision | None = None,
    force: bool = False,
) -> Pack:
    """Write the part of a bundle that one target needs.

    Example:
        >>> packed = frcrn_export.pack("wave", "cpu", "wave-cpu.tar", streaming=True)
        >>> [file.path for file in packed.files if file.role == "core_streaming"]
        ['core.streaming.onnx']

    Args:
        bundle: A bundle, or its folder.
        target: A name in `frcrn_export.runtime.pack.target.TARGETS`, such as "cpu" or
            "tensorrt-rtx:sm89".
        output: A file that ends with .tar, .tar.gz or .zip, or a folder.
        offline: Pack what whole recordings need. Without this and `streaming`: both, as far as the
            bundle has them.
        streaming: Pack what streams need.
        precision: "fp32", "fp16", "int8" or "fp8"; None is float32, of engines float16 first.
        force: Replace an archive, or a bundle in the folder.

    Returns:
        What was packed, and where.

    Raises:
        BundleError: The bundle cannot be read, or has no file for the target.
        UserError: An unknown target; an output that exists, or cannot be written.
    """
    asked: dict[Use, bool] = {"offline": offline, "streaming": streaming}
    uses = tuple(use for use, given in asked.items() if given)
    wanted = Wanted(find_target(target), uses, precision)
    path = Path(output)
    suffix = archive_suffix(path)
    _check_output(path, suffix, path_of(bundle), force)
    opened = open_bundle(path_of(bundle))
    contents = contents_of(opened, select_files(opened, wanted))
    if suffix is None:
        _write_folder(path, contents, force)
    else:
        folder = folder_in(path, suffix)
        members = ((f"{folder}/{name}", content) for name, content in contents.members())
        write_archive(path, suffix, members)
    whole = sum(entry.bytes for entry in opened.manifest.files) + len(opened.manifest.to_json())
    return Pack(path, suffix, contents.manifest, contents.files, whole)


def _check_output(path: Path, suffix: str | None, bundle: Path, force: bool) -> None:
    try:
        is_bundle = path.exists() and bundle.exists() and path.samefile(bundle)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({reason(error)}); choose another -o"
        ) from error
    if is_bundle:
        raise UserError(f"{path}: is the bundle itself; choose another -o")
    if suffix is None:
        require_free(path, force=force)
        return
    check_output(path)
    if path.exists() and not force:
        raise UserError(f"{path} exists; add --force to replace it, or choose another -o")


def _write_folder(path: Path, contents: Contents, force: bool) -> None:
    files = contents.manifest.files
    deep = [entry.path for entry in files if "/" in entry.path]
    if deep:
        raise BundleError(f"{shown(deep[0])}: a file in a subfolder; take an archive: -o NAME.tar")
    with transaction(path) as work:
        for entry in files:
            work.write(contents.read(entry), entry)
        for name in sorted(NOTE_NAMES):
            work.note(contents.texts[name], name)
        work.create(contents.manifest, force=force)
