import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.runtime.errors import BundleError, FrcrnExportError, UserError, reading, reason
from frcrn_export.runtime.text import counted, printable, quoted, shown

HOSTILE = [
    "\x1b]0;owned\x07",
    "\u202egpj.exe",
    "line\nbreak\r",
    "\udcff",
    "a\u2028b\u00a0c",
    "\x00",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_terminal_would_obey_is_escaped(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(f"caf\u00e9 {text}").startswith("caf\u00e9 ")  # letters stay
    assert str(FrcrnExportError(f"a: {text}; run: b")).isprintable()


def test_long_texts_keep_both_ends() -> None:
    text = shown("a" * 100_000 + "end", 20)
    assert text == "aaaaaaaaaa...aaaaaaaend"
    assert shown("short") == "short"


@given(st.text())
def test_a_quoted_text_is_one_word_of_a_shell(text: str) -> None:
    assert len(shlex.split(quoted(text))) == 1


@pytest.mark.parametrize("text", ["wave;touch x;#", "$(touch x)", "a'b", "", "a b", "`id`"])
def test_a_quoted_text_is_what_the_shell_sees(text: str) -> None:
    printed = subprocess.run(
        ["sh", "-c", f"printf %s {quoted(text)}"], capture_output=True, text=True, check=True
    )
    assert printed.stdout == text


def test_a_long_message_is_cut_where_no_quote_is_opened_by_it() -> None:
    message = str(UserError(f"run: a {quoted('x' * 10_000)} b"))
    assert len(message) < 5_000
    assert message.startswith("run: a ")


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (MemoryError(), "it needs more memory than there is"),
        (RecursionError("maximum recursion depth"), "nested too deeply"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (ValueError("a\nb"), "a b"),
        (
            Exception("[ONNXRuntimeError] : 1 : FAIL : x.cc Failed to allocate memory for 9 bytes"),
            "it needs more memory than there is",
        ),
        (KeyError(), "KeyError"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates"), "a name that is not UTF-8"),
    ],
)
def test_whatever_a_reader_raises_is_one_line(error: Exception, why: str) -> None:
    with pytest.raises(BundleError) as caught, reading("f.bin", "not a thing", "copy it again"):
        raise error
    message = str(caught.value)
    assert message.startswith(f"f.bin: not a thing ({why}")
    assert message.endswith("); copy it again")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [UserError("ours"), KeyboardInterrupt(), SystemExit(3)])
def test_what_passes_the_boundary_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, reading("f", "not a thing", "copy it again"):
        raise error
    assert caught.value is error


def test_numbers_of_things() -> None:
    assert [counted(n, "thread") for n in range(3)] == ["0 threads", "1 thread", "2 threads"]


def test_the_reason_of_our_own_error_is_its_whole_message() -> None:
    """Another library's is cut: a file may have made it."""
    command = "x" * 300
    assert reason(UserError(f"run: {command}")) == f"run: {command}"
    assert len(reason(ValueError(command))) < len(command)
