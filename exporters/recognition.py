"""One pass over a checkpoint: read, canonicalise and recognise it; then match it with a network.

Matching names finds the prefix of a network in a file: every family names a tensor that all its
networks have, and the text before it is the prefix. Tensors beside the network are ignored and
reported.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor, nn

from frcrn_export.exporters.checkpoint_configuration import read_configuration
from frcrn_export.exporters.checkpoint_file import SAVE_HINT, Checkpoint, read_checkpoint_file
from frcrn_export.exporters.family import Family
from frcrn_export.exporters.registry import find_model, registry
from frcrn_export.runtime.bundle.reader import sha256_of
from frcrn_export.runtime.errors import CheckpointError, reading

__all__ = ["Checkpoint", "load_checkpoint", "load_into", "recognise", "require_model"]

StateDict = Mapping[str, Tensor]

NAMES_SHOWN = 5
# The usual keys of the weights, in order of preference.
USUAL_KEYS = ("model", "state_dict", "model_state_dict", "model_state")
_MAX_NESTING = 4
# Parts that wrappers insert into names, also between those of modules.
_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_COUNTER = "num_batches_tracked"
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# 500 million values: a hundred times the largest network here. Other networks may lie beside it.
_MAX_VALUES = 500_000_000
_MAX_FILE_VALUES = 4_000_000_000


def load_checkpoint(
    path: Path, key: str | None = None, wanted: StateDict | None = None
) -> Checkpoint:
    """Read a checkpoint: a torch or safetensors file, raw or nested, under any prefix.

    Args:
        path: The file. Code in it is refused, never run.
        key: Which state dict to take where there are several, such as "ema" or "model.ema"; a
            prefix ("student") where one state dict holds several networks.
        wanted: The state dict of a network that no family knows: its names are matched, and no
            model is recognised.

    Raises:
        CheckpointError: The file is missing, damaged or no checkpoint, holds code, holds no state
            dict `key`, or names one tensor twice with different values, or its weights are not
            finite.
    """
    with reading(path, "cannot be read as a checkpoint", SAVE_HINT, CheckpointError):
        return _load_checkpoint(path, key, wanted)


def _load_checkpoint(path: Path, key: str | None, wanted: StateDict | None) -> Checkpoint:
    try:
        tree, metadata = read_checkpoint_file(path)
        found = dict(_state_dicts(tree, "", 0, set()))
        chosen, prefix_key = _choose(found, key, wanted)
        if sum(map(_values_of, found[chosen].values())) > _MAX_FILE_VALUES:
            raise ValueError("holds more values than the networks of any file of speech")
        if wanted is None:
            network = _find_network(found[chosen], prefix_key)
        else:
            network = _match_names(found[chosen], prefix_key, wanted)
        if not any(tensor.numel() for tensor in network.state.values()):
            raise ValueError("holds no weights: save a trained network's state dict")
        _require_plain(network.state, wanted or {})
        return Checkpoint(
            # Copies: the tensors of a memory-mapped file change with it.
            state={name: tensor.detach().clone() for name, tensor in network.state.items()},
            evidence=network.evidence,
            configuration=read_configuration(tree, metadata, path),
            metadata=metadata,
            path=path,
            sha256=sha256_of(path),
            model=network.model,
            key=chosen,
            others=tuple(name for name in (*found, *network.siblings) if name != chosen),
            prefix=network.prefix,
            ignored=network.ignored,
            unnamed=tuple(_unnamed(tree, "", 0, set())),
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def require_model(checkpoint: Checkpoint, model: str) -> None:
    """Raise CheckpointError where the weights are of another known model."""
    if checkpoint.model not in (None, model):
        raise CheckpointError(
            f"{checkpoint.path}: these are {find_model(str(checkpoint.model)).described}: "
            f"use --model {checkpoint.model}"
        )


def load_into(
    network: nn.Module,
    checkpoint: Checkpoint,
    model: str,
    remedy: str = "give another --checkpoint or --model",
) -> None:
    """Copy the weights into `network`, which must have exactly these tensors.

    Raises CheckpointError that names the right model, or else the tensors that are missing,
    unexpected or of another shape, and `remedy`; the network is unchanged then.
    """
    require_fit(network, checkpoint, model, remedy)
    network.load_state_dict(checkpoint.state, strict=False)  # not strict: counters may be missing


def require_fit(network: nn.Module, checkpoint: Checkpoint, model: str, remedy: str) -> None:
    """Raise as `load_into`; a network on the meta device has no values and does as well."""
    require_model(checkpoint, model)
    wanted = {k: v for k, v in network.state_dict().items() if not k.endswith(_COUNTER)}
    given = checkpoint.state
    reshaped = (
        f"{key} {list(given[key].shape)} instead of {list(wanted[key].shape)}"
        for key in sorted(wanted.keys() & given.keys())
        if given[key].shape != wanted[key].shape
    )
    faults = [
        *_listed("missing", sorted(wanted.keys() - given.keys())),
        *_listed("unexpected", sorted(given.keys() - wanted.keys())),
        *_listed("of another shape", reshaped),
    ]
    if faults:
        raise CheckpointError(
            f"{checkpoint.path}: these are not the weights of {model}: {'; '.join(faults)}; "
            f"{remedy}"
        )


def recognise(state: StateDict) -> str | None:
    """The model of a state dict, under any prefix; None if it is not known."""
    return _find_network(state, None).model


def is_state_dict(value: object) -> TypeGuard[StateDict]:
    """Whether it is a non-empty mapping of names to tensors."""
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


@dataclass(frozen=True)
class _Network:
    """A network within a state dict."""

    model: str | None
    state: dict[str, Tensor]
    evidence: dict[str, Tensor]
    prefix: str
    ignored: tuple[str, ...]
    siblings: tuple[str, ...]


def _state_dicts(
    tree: object, path: str, depth: int, seen: set[int]
) -> Iterator[tuple[str, StateDict]]:
    """(path, state dict) of all state dicts in a file, each once; "" for the file itself."""
    if is_state_dict(tree):
        yield path, tree
        return
    if depth >= _MAX_NESTING or id(tree) in seen:
        return
    seen.add(id(tree))  # a pickle may hold a mapping many times, or within itself
    for inner, value in _inside(tree, path):
        yield from _state_dicts(value, inner, depth + 1, seen)


def _unnamed(tree: object, path: str, depth: int, seen: set[int]) -> Iterator[str]:
    """The paths of lists of tensors, such as `shadow_params` of an average, each once."""
    if depth >= _MAX_NESTING or id(tree) in seen:
        return
    seen.add(id(tree))
    if isinstance(tree, list | tuple) and tree and all(isinstance(one, Tensor) for one in tree):
        yield f"{path} ({len(tree)})"
        return
    for inner, value in _inside(tree, path):
        yield from _unnamed(value, inner, depth + 1, seen)


def _inside(tree: object, path: str) -> Iterator[tuple[str, object]]:
    """(path, value) of the mappings and lists in one, without those of optimizers."""
    if not isinstance(tree, Mapping | list | tuple):
        return
    for name, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
        is_one = isinstance(value, Mapping | list | tuple)
        if is_one and not str(name).lower().startswith(("optim", "sched")):
            yield (f"{path}.{name}" if path else str(name)), value


def _choose(
    found: Mapping[str, StateDict], key: str | None, wanted: StateDict | None
) -> tuple[str, str | None]:
    """The state dict to take, and the prefix within it where `key` names one.

    Raises ValueError where there is none, none of that name, or several without a usual name.
    """
    if not found:
        raise ValueError(
            "holds no state dict: save one with torch.save(model.state_dict(), 'weights.pth')"
        )
    if key is not None:
        if key in found:
            return key, None
        for name, state in found.items():
            prefix = key.removeprefix(f"{name}.") if name else key
            if any(tensor.startswith(f"{prefix}.") for tensor in _without_wrappers(state)):
                return name, f"{prefix}."
        keys = _keys(found, wanted)
        more = ", ..." if len(keys) > NAMES_SHOWN else ""
        there = ", ".join(keys[:NAMES_SHOWN]) + more if keys else "one, without a key"
        raise ValueError(f"holds no state dict {key!r}; there: {there}")
    for usual in USUAL_KEYS:
        for name in found:
            if usual in name.split("."):
                return name, None
    if len(found) > 1:
        names = ", ".join(sorted(found)[:NAMES_SHOWN])
        raise ValueError(f"holds several state dicts ({names}): choose one with --state-dict KEY")
    return next(iter(found)), None


def _keys(found: Mapping[str, StateDict], wanted: StateDict | None) -> list[str]:
    """What `--state-dict` can choose: state dicts, and in each the prefixes of networks."""
    landmarks = [each for family in registry().families.values() for each in family.landmarks]
    if wanted is not None:
        landmarks = [max(wanted, key=len, default="")]
    keys = []
    for name, state in found.items():
        prefixes = _prefixes(_without_wrappers(state), landmarks)
        keys += [name, *(f"{name}.{prefix}".strip(".") for prefix in prefixes)]
    return [key for key in dict.fromkeys(keys) if key]


def _find_network(state: StateDict, prefix: str | None) -> _Network:
    """The network in a state dict. Raises ValueError for several under different prefixes."""
    plain = _without_wrappers(state)
    matches: dict[str, tuple[Family, str]] = {}
    for family in registry().families.values():
        for found in _prefixes(plain, family.landmarks):
            under = _under(plain, found).items()
            model = family.recognise({family.canonical_name(n): t for n, t in under})
            if model is not None:
                matches.setdefault(found, (family, model))
    if not matches or (prefix is not None and prefix not in matches):
        return _Network(None, _weights(_under(plain, prefix or "")), {}, prefix or "", (), ())
    taken = min(matches, key=len) if prefix is None else prefix
    if len(matches) > 1 and prefix is None and not _is_one(plain, matches):
        names = ", ".join(found.rstrip(".") or "(no prefix)" for found in sorted(matches))
        raise ValueError(f"holds several networks ({names}): choose one with --state-dict KEY")
    family, model = matches[taken]
    named = _canonical(_under(plain, taken), family)
    known = _top_names(family, model, named)
    evidence = {name: tensor for name, tensor in named.items() if family.is_evidence(name)}
    beside = {name for name in named.keys() - evidence if name.partition(".")[0] not in known}
    outside = [name for name in plain if not name.startswith(taken)]
    siblings = tuple(found for found in matches if found != taken)
    weights = {
        name: tensor
        for name, tensor in named.items()
        if name not in beside and name not in evidence
    }
    return _Network(
        model=model,
        state=_weights(weights),
        evidence=evidence,
        prefix=taken,
        ignored=_apart(siblings, [*outside, *(taken + name for name in beside)]),
        siblings=tuple(found.rstrip(".") for found in siblings),
    )


def _match_names(state: StateDict, prefix: str | None, wanted: StateDict) -> _Network:
    """The network with the wanted names, under the prefix that matches most of them.

    Raises ValueError where several networks with different values match as many.
    """
    plain = _without_wrappers(state)
    counts: dict[str, int] = {}
    for name in plain:
        parts = name.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in wanted:
                before = ".".join([*parts[:cut], ""]) if cut else ""
                counts[before] = counts.get(before, 0) + 1
    best = [found for found, count in counts.items() if count == max(counts.values())]
    best = [""] if "" in best else best
    if prefix is None and len(best) > 1 and not _is_one(plain, best):
        names = ", ".join(found.rstrip(".") or "(no prefix)" for found in sorted(best))
        raise ValueError(f"holds several networks ({names}): choose one with --state-dict KEY")
    taken = prefix if prefix is not None else min(best, key=len, default="")
    top = {name.partition(".")[0] for name in wanted}
    under = _under(plain, taken)
    inside = {name: t for name, t in under.items() if name.partition(".")[0] in top}
    siblings = tuple(found for found in best if found != taken)
    return _Network(
        model=None,
        state=_weights(inside or under),
        evidence={},
        prefix=taken,
        ignored=_apart(siblings, plain.keys() - {taken + name for name in inside or under}),
        siblings=tuple(found.rstrip(".") for found in siblings),
    )


def _apart(siblings: tuple[str, ...], names: Iterable[str]) -> tuple[str, ...]:
    """The names, sorted, but for those of other networks, under these prefixes."""
    others = tuple(prefix for prefix in siblings if prefix)
    return tuple(sorted(name for name in names if not name.startswith(others)))


def _is_one(state: StateDict, prefixes: Iterable[str]) -> bool:
    """Whether networks under several prefixes are the same one, registered twice."""
    first, *rest = [_under(state, prefix) for prefix in prefixes]
    return all(
        other.keys() == first.keys() and all(_equal(other[name], first[name]) for name in other)
        for other in rest
    )


def _top_names(family: Family, model: str, state: StateDict) -> set[str]:
    """The first part of every name of the network."""
    spec = find_model(model)
    try:
        facts = dict(family.facts(spec, state))
        settings = {option.name: option.assumed(facts) for option in family.options}
        with torch.device("meta"):
            network = family.build(spec, {**settings, **facts})
    except (ValueError, KeyError):  # reported in full when the network is built
        return {name.partition(".")[0] for name in state}
    return {name.partition(".")[0] for name in network.state_dict()}


def _prefixes(state: StateDict, landmarks: Iterable[str]) -> list[str]:
    """The prefixes of landmarks in a state dict, each once."""
    found = {
        name[: -len(landmark)]
        for landmark in landmarks
        for name in state
        if name == landmark or name.endswith(f".{landmark}")
    }
    return sorted(found)


def _under(state: StateDict, prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}


def _without_wrappers(state: StateDict) -> dict[str, Tensor]:
    names = {}
    for name, tensor in state.items():
        for wrapper in _WRAPPERS:
            name = name.replace(wrapper, "")
        names[name] = tensor
    return names


def _weights(state: StateDict) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.endswith(_COUNTER)}


def _canonical(state: StateDict, family: Family) -> dict[str, Tensor]:
    """The tensors under their published names, each once.

    Raises ValueError where two names of one tensor hold different values.
    """
    canonical: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, tensor in state.items():
        key = family.canonical_name(name)
        if key in canonical and not _equal(canonical[key], tensor):
            raise ValueError(
                f"{origin[key]} and {name} are two names of one tensor and differ: "
                "save the state dict again from one network"
            )
        canonical[key], origin[key] = tensor, name
    return canonical


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have equal values; those that repeat one value never have."""
    return (
        one.shape == other.shape
        and one.dtype == other.dtype
        and all(tensor.layout is torch.strided and _is_stored(tensor) for tensor in (one, other))
        and torch.equal(one, other)
    )


def _is_stored(tensor: Tensor) -> bool:
    """Whether there is memory for every value: strides may repeat one without an end."""
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _values_of(tensor: Tensor) -> int:
    return tensor.numel() if tensor.layout is torch.strided and _is_stored(tensor) else 0


def _require_plain(state: StateDict, wanted: StateDict) -> None:
    """Raise ValueError for tensors that are not plain finite numbers, or too large.

    Other dtypes are accepted where the network has them.
    """
    if sum(tensor.numel() for tensor in state.values()) > _MAX_VALUES:
        raise ValueError(f"holds more than {_MAX_VALUES} values: too large for a network of speech")
    for name, tensor in state.items():
        dtypes = (*_DTYPES, wanted[name].dtype) if name in wanted else _DTYPES
        if tensor.is_meta:
            raise ValueError(f"{name} has a shape and no values: save the weights themselves")
        if tensor.layout is not torch.strided or tensor.dtype not in dtypes:
            raise ValueError(
                f"{name} is {tensor.dtype} {tensor.layout}, not plain floating-point numbers: "
                "save the float32 weights"
            )
        if not _is_stored(tensor):
            raise ValueError(f"{name} {list(tensor.shape)} holds fewer values than its shape says")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds NaN or infinite values: take an earlier checkpoint")


def _listed(what: str, names: Iterable[str]) -> list[str]:
    """["3 missing (a, b, c)"], shortened after `NAMES_SHOWN`, or [] for no names."""
    names = list(names)
    if not names:
        return []
    more = ", ..." if len(names) > NAMES_SHOWN else ""
    return [f"{len(names)} {what} ({', '.join(names[:NAMES_SHOWN])}{more})"]
