"""Objects that belong to the process that opened them: no use after a fork, no pickling."""

import os
from typing import Any, NoReturn

from frcrn_export.runtime.errors import BackendError


class OfOneProcess:
    """Holds a session of a backend, whose threads and device memory a fork does not copy."""

    _process: int

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__new__(cls)
        object.__setattr__(made, "_process", os.getpid())  # of a frozen dataclass too
        return made

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} holds an open session and cannot be pickled or copied; "
            f"pass the bundle's path and call {type(self).__name__}.open there"
        )

    def require_own_process(self) -> None:
        """Raise BackendError in a forked child, where a backend would wait for ever or crash."""
        if os.getpid() != self._process:
            name = type(self).__name__
            raise BackendError(
                f"this {name} was opened in process {self._process} and cannot be used in its "
                f"forked child {os.getpid()}; call {name}.open in the child, or start it with "
                "multiprocessing.get_context('spawn')"
            )
