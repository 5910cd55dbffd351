"""Whether pictures can be drawn: matplotlib comes with extras."""

from frcrn_export.runtime.errors import UserError


def require_matplotlib(what: str, extra: str = "plot") -> None:
    """Raise UserError where matplotlib is missing.

    Args:
        what: Needs it, such as an option.
        extra: Installs it, with what else is needed there.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise UserError(
            f'{what} needs matplotlib; run: pip install "frcrn-export[{extra}]"'
        ) from error
