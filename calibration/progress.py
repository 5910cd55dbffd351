"""How work that takes minutes says where it is."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # the phase, what is done of it, of how much
