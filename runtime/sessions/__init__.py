"""Sessions: a core opened with a backend."""

from frcrn_export.runtime.sessions.registry import BACKENDS, Session, open_session

__all__ = ["BACKENDS", "Session", "open_session"]
