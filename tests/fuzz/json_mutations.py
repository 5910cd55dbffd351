"""Mutations of JSON: values of a document replaced, repeated, nested, removed."""

import json
from random import Random
from typing import Any

from tests.fuzz.mutations import EXTREMES

_TEXTS = (
    *("", "x" * 200_000, "../../../etc/passwd", "/etc/passwd", "a\0b", "..", "core.onnx"),
    *("\x1b]0;owned\x07\x1b[2J", "\u202egpj", "'; touch x; '", "$(touch x)", "a\nb\rc", "\ud800"),
    *("--force", "-o", "nan", "1e999", "float64", "batch", "%s%n{0}", "[bold]x[/bold]", "é" * 300),
)
# Written into the text of a document, since `json` cannot.
_RAW = (
    *("1e999", "-1e999", "NaN", "Infinity", "1" + "0" * 400, "-0", "0.1", "1e-400"),
    *("[" * 100_000 + "]" * 100_000, '{"a":' * 50_000 + "1" + "}" * 50_000, "[" + "0," * 500_000),
    "{" + ",".join(f'"k{n}":{n}' for n in range(50_000)) + "}",
)
_MARK = "a place in the text"


def change_value(random: Random, data: bytes) -> bytes:
    """One to three values replaced, or their keys."""
    document = json.loads(data)
    for _ in range(random.randrange(1, 4)):
        _change(random, document)
    text = json.dumps(document)
    while f'"{_MARK}"' in text:
        text = text.replace(f'"{_MARK}"', random.choice(_RAW), 1)
    return text.encode("utf-8", "surrogatepass")


def repeat_key(random: Random, data: bytes) -> bytes:
    """A key stands twice in an object, with another value first or last."""
    text = data.decode()
    starts = [at for at, character in enumerate(text) if character == "{"]
    at = random.choice(starts) + 1
    keys = [part.split('"')[1] for part in text[at:].split(",")[:8] if part.count('"') >= 2]
    key = random.choice(keys or ["schema"])
    value = random.choice((*map(str, EXTREMES), "null", '""', "[]", "{}", "2"))
    return f'{text[:at]}"{key}":{value},{text[at:]}'.encode()


def _change(random: Random, document: Any) -> None:
    """Change a value somewhere in a document, in its place."""
    holder = document
    while True:
        if not isinstance(holder, dict | list) or not holder:
            return
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        key = random.choice(list(keys))
        if isinstance(holder[key], dict | list) and holder[key] and random.randrange(6):
            holder = holder[key]
            continue
        break
    kind = random.randrange(10)
    if kind < 4:
        holder[key] = random.choice(EXTREMES)
    elif kind < 6:
        holder[key] = random.choice(_TEXTS)
    elif kind == 6:
        holder[key] = _MARK
    elif kind == 7:
        holder[key] = random.choice((None, True, [], {}, 0.5, -0.5, [[]], [holder[key]], 1e308))
    elif isinstance(holder, dict):
        value = holder.pop(key)
        if kind == 8:
            holder[random.choice(_TEXTS)] = value
    else:
        many = 20 if isinstance(holder[key], dict | list) else 5_000
        holder.extend([holder[key]] * random.choice((1, many)))


JSON = (change_value, change_value, repeat_key)
