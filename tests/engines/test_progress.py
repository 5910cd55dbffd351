from frcrn_export.engines.build_log import BuildProgress


def test_steps_count_up_to_their_number() -> None:
    seen: list[tuple[str, int, int]] = []
    progress = BuildProgress(lambda *step: seen.append(step))
    progress.start("outer", 2)
    assert progress.step("outer", 0)
    progress.start("inner", 5)
    progress.finish("inner")
    assert progress.step("outer", 1)
    progress.finish("outer")
    assert seen == [
        ("outer", 0, 2),
        ("outer", 1, 2),
        ("inner", 0, 5),
        ("inner", 5, 5),
        ("outer", 2, 2),
        ("outer", 2, 2),
    ]


def test_cancelling_stops_the_builder_and_the_reports() -> None:
    seen: list[str] = []
    progress = BuildProgress(lambda phase, done, total: seen.append(phase))
    progress.start("phase", 3)
    progress.cancel()
    assert not progress.step("phase", 0)
    progress.finish("phase")
    assert seen == ["phase"]
    assert progress.failure is None


def test_an_error_of_the_callback_cancels_and_is_kept() -> None:
    error = OSError("broken pipe")

    def fail(phase: str, done: int, total: int) -> None:
        raise error

    progress = BuildProgress(fail)
    progress.start("phase", 3)
    assert not progress.step("phase", 0)
    assert progress.failure is error


def test_without_a_callback_it_only_counts() -> None:
    progress = BuildProgress(None)
    progress.start("phase", 1)
    assert progress.step("phase", 0)
