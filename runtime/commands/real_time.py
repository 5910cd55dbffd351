"""What a stream that is too slow for real time is told."""

_FEW = 0.05  # of the calls: the processor had other work


def too_slow(misses: int, calls: int) -> str | None:
    """What to do about `misses` of `calls` that took longer than their audio lasts.

    None where they are few.
    """
    if misses <= _FEW * calls:
        return None
    return (
        f"too slow for real time: {misses} of {calls} calls took longer than their audio lasts; "
        "take more --threads, --precision int8 (made by: frcrn-export calibrate), or a bundle "
        "exported with a larger --chunk"
    )
