import pytest

from frcrn_export.runtime.commands.real_time import too_slow


@pytest.mark.parametrize(("misses", "calls"), [(0, 0), (0, 250), (12, 250), (1, 20)])
def test_few_misses_are_not_spoken_of(misses: int, calls: int) -> None:
    assert too_slow(misses, calls) is None


@pytest.mark.parametrize(("misses", "calls"), [(47, 250), (250, 250), (1, 1)])
def test_many_misses_say_what_to_do(misses: int, calls: int) -> None:
    sentence = too_slow(misses, calls)
    assert sentence is not None
    assert sentence.startswith(f"too slow for real time: {misses} of {calls} calls")
    for remedy in ("--threads", "--precision int8", "--chunk"):
        assert remedy in sentence
