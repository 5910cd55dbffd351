"""Bisection over an ordered list."""

from collections.abc import Callable


def fewest(
    failing: int, passing: int, passes: Callable[[int], bool], first: int | None = None
) -> int:
    """The least number above `failing` that passes; `passing` is known to.

    Numbers above one that passes must pass too. `first` is tried first.
    """
    while passing - failing > 1:
        count = (failing + passing) // 2 if first is None else first
        first = None
        if passes(count):
            passing = count
        else:
            failing = count
    return passing
