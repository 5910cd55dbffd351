import logging
from pathlib import Path

import pytest

from frcrn_export.exporters.checkpoint_configuration import Configuration, read_configuration


def read(folder: Path, text: str, suffix: str = ".yaml") -> Configuration:
    """The configuration of a checkpoint that has this file beside it."""
    (folder / f"config{suffix}").write_text(text)
    return read_configuration({}, {}, folder / "weights.pth")


def test_values_and_where_they_stand(tmp_path: Path) -> None:
    found = read(tmp_path, "base: &base {causal: true, strides: [4, 4]}\nnet:\n  <<: *base\n")
    assert [(said.value, said.where) for said in found.find(["strides"])] == [
        ([4, 4], "`base.strides` in config.yaml"),
        ([4, 4], "`net.strides` in config.yaml"),
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("!!python/tuple [2, 2]", [2, 2]),
        ("!!python/tuple\n- 2\n- 2\n", [2, 2]),
        ("[2.0, 2.0]", [2.0, 2.0]),
    ],
)
def test_numbers_as_trainers_write_them(tmp_path: Path, value: str, shown: object) -> None:
    found = read(tmp_path, f"strides: {value}").find(["strides"])
    assert [said.value for said in found] == [shown]


def test_names_in_any_case(tmp_path: Path) -> None:
    found = read(tmp_path, "MODEL: {STRIDES: [2, 2]}\nnet: {Context-Cycle: 3}").values
    assert [said.name for said in found] == ["STRIDES", "Context-Cycle"]
    assert len(Configuration(found).find(["strides", "context_cycle"])) == 2


def test_json_in_metadata(tmp_path: Path) -> None:
    """Metadata of safetensors holds texts alone."""
    metadata = {"config": '{"net": {"strides": [2, 2]}}', "note": "{not JSON", "causal": "False"}
    found = read_configuration({}, metadata, tmp_path / "weights.safetensors")
    assert [(said.value, said.where) for said in found.values] == [
        ([2, 2], "`config.net.strides` in its metadata"),
        ("{not JSON", "`note` in its metadata"),
        ("False", "`causal` in its metadata"),
    ]


def test_a_mapping_that_holds_itself_is_walked_once(tmp_path: Path) -> None:
    inner: dict[str, object] = {"strides": [4, 4]}
    inner.update({f"again{number}": inner for number in range(1_000)})
    found = read_configuration({"config": inner}, {}, tmp_path / "weights.pth")
    assert [said.where for said in found.values] == ["`config.strides`"]


LISTS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)
MAPPINGS = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{n}: &a{n} {{{', '.join(f'k{k}: *a{n - 1}' for k in range(9))}}}\n" for n in range(1, 30)
)


MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 30)
)


@pytest.mark.parametrize("text", [LISTS, MAPPINGS, MERGES])
def test_aliases_of_aliases(tmp_path: Path, text: str) -> None:
    """Nine to the power of thirty paths."""
    found = read(tmp_path, f"{text}\nstrides: [2]").find(["strides"])
    refused = text is MERGES and not found  # by a PyYAML that multiplies them
    assert refused or [said.value for said in found] == [[2]]


MANY = "a: &a {x: 1}\nb: {<<: [" + "*a, " * 200 + "]}\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (MANY, "it merges too many mappings"),
        ("x: 1" + ":1" * 100_000, "a value is too long"),
        ("x: !!python/object/apply:os.system ['false']", "could not determine a constructor"),
        ("x: " + "[" * 5_000, "nested too deeply"),
        ("x: " + "1" * 300_000, "larger than 256 KiB"),
    ],
)
def test_files_that_are_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, why: str
) -> None:
    with caplog.at_level(logging.WARNING):
        assert read(tmp_path, text).values == ()
    assert why in caplog.text
