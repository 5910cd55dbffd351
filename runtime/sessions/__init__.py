"""Sessions: a core opened with a backend."""

from frcrn_export.runtime.sessions.registry import BACKENDS, open_session
from frcrn_export.runtime.sessions.session import Session

__all__ = ["BACKENDS", "Session", "open_session"]
