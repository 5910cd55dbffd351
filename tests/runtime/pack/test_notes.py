import msgspec

from frcrn_export.runtime.bundle.manifest import Weights
from frcrn_export.runtime.pack.notes import licence_text, sums_text
from tests.bundles import manifest


def lines(weights: Weights) -> list[str]:
    return licence_text(msgspec.structs.replace(manifest(), weights=weights)).splitlines()


def test_licence_and_attribution_as_the_manifest_has_them() -> None:
    weights = Weights(
        source="default",
        name="w.bin",
        sha256="ab" * 32,
        licence="Apache-2.0",
        attribution="A Laboratory",
    )
    assert lines(weights)[:5] == [
        "Model: gain",
        "Weights: w.bin",
        f"SHA-256 of the weights: {'ab' * 32}",
        "Licence of the weights: Apache-2.0",
        "Attribution: A Laboratory",
    ]


def test_what_is_not_known_is_said() -> None:
    mine = lines(Weights(source="checkpoint", name="w.pt", sha256="ab" * 32))
    assert "not stated; ask whoever trained them" in mine[3]
    assert "they are random numbers" in lines(Weights(source="random", name="r", seed=1))[3]


def test_a_value_is_one_line() -> None:
    weights = Weights(source="checkpoint", name="w", attribution="A\nLicence of the weights: \x1b")
    assert lines(weights)[4] == "Attribution: A\\nLicence of the weights: \\x1b"


def test_hashes_are_sorted() -> None:
    assert sums_text({"b": "1", "A": "2", "a b": "3"}) == "2  A\n3  a b\n1  b\n"
