"""The rules that the packages keep, each checked on the text of every file of the product.

What breaks a rule today stands in a list here. The lists may only shrink: what is not in one
fails, and so does an entry that nothing breaks any more.
"""

import ast
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pytest

from benchmarks.source_tree import Import, SourceTree, circles, code_lines

ROOT = Path(__file__).parents[1]
COMMAND_LINE = ("click", "rich")

NETWORKS_NAMED: dict[str, tuple[str, ...]] = {}
FILE_CIRCLES: list[list[str]] = []
FOLDER_CIRCLES: list[list[str]] = []


@pytest.fixture(scope="module")
def tree() -> SourceTree:
    return SourceTree(ROOT)


def test_no_package_imports_from_one_above_it(tree: SourceTree) -> None:
    """runtime <- exporters <- calibration <- engines <- frcrn_export."""
    assert not tree.upward(), listed(tree.upward())


def test_the_face_imports_nothing_when_it_is_imported(tree: SourceTree) -> None:
    assert not tree.face_at_import(), listed(tree.face_at_import())


def test_the_families_alone_name_networks_and_their_options(tree: SourceTree) -> None:
    found = tree.namings(tree.network_names())
    new = [each for each in found if each.name not in NETWORKS_NAMED.get(each.file, ())]
    assert not new, listed(new)
    named = {(each.file, each.name) for each in found}
    gone = [
        f"{file}: {name}"
        for file, names in NETWORKS_NAMED.items()
        for name in names
        if (file, name) not in named
    ]
    assert not gone, f"nothing breaks these any more, take them off the list:{listed(gone)}"


def test_commands_alone_know_click_and_rich(tree: SourceTree) -> None:
    found = [
        each
        for each in tree.imports
        if each.module.partition(".")[0] in COMMAND_LINE and not is_command(each.file)
    ]
    assert not found, listed(found)


def test_no_files_import_each_other(tree: SourceTree) -> None:
    check_circles(tree, tree.file_circles(), FILE_CIRCLES)


def test_no_folders_import_each_other(tree: SourceTree) -> None:
    check_circles(tree, tree.folder_circles(), FOLDER_CIRCLES)


def check_circles(tree: SourceTree, found: list[list[str]], known: list[list[str]]) -> None:
    new = [each for circle in found if circle not in known for each in tree.within(circle)]
    assert not new, listed(new)
    gone = [circle for circle in known if circle not in found]
    assert not gone, f"no circles any more, take them off the list:{listed(gone)}"


def is_command(file: str) -> bool:
    path = PurePosixPath(file)
    return (
        path.stem in ("command", "commands")
        or "commands" in path.parts
        or file == "frcrn_export/cli.py"
    )


def listed(found: Iterable[object]) -> str:
    return "".join(f"\n  {each}" for each in found)


# The rules find what they are there to find.


def product(folder: Path, files: dict[str, str]) -> SourceTree:
    """A tree of these files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return SourceTree(folder)


LOWER = {"runtime/__init__.py": "", "runtime/audio/__init__.py": "", "runtime/audio/file.py": ""}
UPPER = {"exporters/__init__.py": "", "exporters/graphs.py": ""}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import frcrn_export.exporters.graphs", "frcrn_export.exporters.graphs (import time)"),
        ("from frcrn_export.exporters import graphs", "exporters.graphs (import time)"),
        ("from frcrn_export import exporters", "frcrn_export.exporters (import time)"),
        ("from frcrn_export.exporters.graphs import a", "exporters.graphs.a (import time)"),
        ("from ...exporters.graphs import a", "exporters.graphs.a (import time)"),
        ("def f():\n    from frcrn_export.exporters import graphs", "graphs (in a function)"),
        ("if TYPE_CHECKING:\n    import frcrn_export.exporters", "exporters (type checking)"),
        ("call('frcrn_export.exporters.graphs:make')", "frcrn_export.exporters.graphs (name)"),
    ],
)
def test_an_arrow_upwards_is_found(text: str, said: str, tmp_path: Path) -> None:
    tree = product(tmp_path, {**LOWER, **UPPER, "runtime/audio/file.py": text})
    (found,) = tree.upward()
    assert str(found).startswith("runtime/audio/file.py:")
    assert str(found).endswith(said)


def test_an_arrow_downwards_is_none(tmp_path: Path) -> None:
    text = '"""See frcrn_export.engines."""\nfrom frcrn_export.runtime.audio import file\n'
    tree = product(tmp_path, {**LOWER, **UPPER, "exporters/graphs.py": text})
    assert tree.upward() == []
    assert tree.imports == (
        Import("exporters/graphs.py", 2, MODULE, "runtime/audio/file.py", "import time"),
    )


MODULE = "frcrn_export.runtime.audio.file"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import frcrn_export.runtime.audio.file", [1]),
        ("def f():\n    import frcrn_export.runtime.audio.file", []),
        ("if TYPE_CHECKING:\n    import frcrn_export.runtime.audio.file", []),
        (f"NAMES = {{'file': '{MODULE}'}}", []),
    ],
)
def test_an_import_of_the_face_is_found(text: str, found: list[int], tmp_path: Path) -> None:
    tree = product(tmp_path, {**LOWER, "frcrn_export/__init__.py": text})
    assert [each.line for each in tree.face_at_import()] == found


def test_the_cpp_library_may_bear_the_name_of_a_family_and_no_other(tmp_path: Path) -> None:
    text = "namespace frcrn { /* WaveUNet */ }"
    families = {f"exporters/families/{name}/__init__.py": "" for name in ("frcrn", "wave_unet")}
    tree = product(tmp_path, {**families, "runtime/cpp/a.cpp": text, "runtime/a.cpp": text})
    found = [(each.file, each.name) for each in tree.namings(tree.network_names())]
    assert sorted(found) == [
        ("runtime/a.cpp", "frcrn"),
        ("runtime/a.cpp", "wave_unet"),
        ("runtime/cpp/a.cpp", "wave_unet"),
    ]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("class WaveUNet: ...", ["wave_unet"]),
        ("# As in Wave-U-Nets.", ["wave_unet"]),
        ("x = 'wave-unet-16k'", ["wave_unet"]),
        ("squeeze_excite = 1", ["squeeze_excite"]),
        ("# squeeze-and-excitation", ["squeeze_excite"]),
        ("option('--strides')", ["options of wave_unet"]),
        ("from frcrn_export.runtime import FrcrnExportError", []),
        ("# frcrn-export onnx; FRCRN_EXPORT_CACHE", []),
        ("x.unsqueeze(1).strides", []),
    ],
)
def test_a_network_by_any_spelling_is_found(line: str, names: list[str], tmp_path: Path) -> None:
    family = {"exporters/families/wave_unet/__init__.py": "# WaveUNet"}
    tree = product(tmp_path, {**family, "runtime/a.py": f"\n{line}\n"})
    found = tree.namings(tree.network_names())
    assert [(each.file, each.line, each.name) for each in found] == [
        ("runtime/a.py", 2, name) for name in names
    ]


def test_circles_are_found(tmp_path: Path) -> None:
    tree = product(
        tmp_path,
        {
            "runtime/a.py": "import frcrn_export.runtime.b",
            "runtime/b.py": "def f():\n    import frcrn_export.runtime.c",
            "runtime/c.py": "if TYPE_CHECKING:\n    import frcrn_export.runtime.a",
            "runtime/d.py": "import frcrn_export.runtime.a",
            "runtime/one/e.py": "import frcrn_export.runtime.two.f",
            "runtime/two/f.py": "",
            "runtime/two/g.py": "import frcrn_export.runtime.one.e",
            "runtime/table.py": "NAMES = ('frcrn_export.runtime.plug',)",
            "runtime/plug.py": "import frcrn_export.runtime.table",
        },
    )
    files = ["runtime/a.py", "runtime/b.py", "runtime/c.py"]
    assert tree.file_circles() == [files]
    assert tree.folder_circles() == [files, ["runtime/one", "runtime/two"]]
    assert [(each.file, each.target) for each in tree.within(["runtime/one", "runtime/two"])] == [
        ("runtime/one/e.py", "runtime/two/f.py"),
        ("runtime/two/g.py", "runtime/one/e.py"),
    ]


def test_two_circles_that_meet_are_one() -> None:
    assert circles({"a": "b", "b": "ac", "c": "b", "d": "a"}) == [["a", "b", "c"]]


def test_lines_of_code() -> None:
    text = '"""One\n\ntwo."""\n\n# three\nx = """\n\n"""  # a string\n\n\ndef f():\n    "Four."\n'
    ast.parse(text)
    assert code_lines(text) == {6, 7, 8, 11}
