"""The options of commands themselves, which no network may have."""

# What the commands that take a family's options call their own, which no family may take; a test
# compares them. `level` is no such name: it means the same of a module of the user's own.
# fmt: off
RESERVED_OPTIONS = frozenset((
    "amp", "as_json", "backend", "batch", "bundle", "calib", "center", "checkpoint", "chunk",
    "device", "early_stop", "explain", "flavor", "force", "fp16", "fp16_floor", "fp32",
    "fp8", "frames", "gpu", "hardware_compatible", "help", "int8", "json", "learning_rate", "log",
    "lookahead", "minutes", "model", "module", "module_input", "module_output", "multiple",
    "no_amp", "no_center", "no_tf32", "noise", "opset", "output", "random_weights", "refittable",
    "resume", "sample_rate", "samples", "schedule", "seconds", "seed", "speech", "state_dict",
    "static", "steps", "stft", "streaming", "strip_weights", "threads", "timing_cache", "window",
    "workspace",
))
# fmt: on


def is_reserved(word: str) -> bool:
    """Whether a word of a command line is an option of the command itself: `--output`, `-o`."""
    is_short = word[:1] == "-" and word[1:2].isalpha()
    return is_short or (word[:2] == "--" and word[2:].replace("-", "_") in RESERVED_OPTIONS)
