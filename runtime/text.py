"""Text that came from files, made fit for a terminal: escaped, shortened, quoted to be pasted."""

import shlex

_LONGEST = 200  # characters of one piece
_LONGEST_PATH = 4096


def printable(text: str) -> str:
    r"""The text with escapes for all that a terminal would obey, hide or reorder: "\x1b", "\u202e".

    These are control and format characters, line ends, all spaces but the common one, and the
    surrogates that stand for file names that are not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(text: object, longest: int = _LONGEST) -> str:
    """A value as tables and errors show it: `printable`, and shortened in its middle."""
    whole = str(text)
    if len(whole) > longest:
        whole = f"{whole[: longest // 2]}...{whole[-(longest // 2) :]}"
    return printable(whole)


def counted(number: int, word: str) -> str:
    """A number of things: "1 thread", "2 threads"."""
    return f"{number} {word}{'s' * (number != 1)}"


def quoted(text: object) -> str:
    """A value as one word of a command to paste into a shell, whatever it holds."""
    return shlex.quote(shown(text, _LONGEST_PATH))
