import pytest
import tensorrt_rtx as rtx

from frcrn_export.engines.build_log import (
    BuildLog,
    BuildProgress,
    Message,
    plain_reason,
    recording_logger,
)

NO_DRIVER = (
    "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at "
    "/_src/common/dispatch/checkMacros.cpp:250 (cudaError 35: CUDA driver version is insufficient "
    "for CUDA runtime version))"
)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Dimension mismatch "
            "for tensor spec and profile 0. At dimension axis 2, profile has min=60 but tensor has "
            "65. In validate at /_src/optimizer/api/network.cpp:4054)",
            "Dimension mismatch for tensor spec and profile 0. At dimension axis 2, profile has "
            "min=60 but tensor has 65.",
        ),
        (
            "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([tactic.cpp:1676: "
            "enumerate_tactics] Tactic Selection: no tactics within workspace limit.; "
            "[tactic.cpp:264: run] Error during tactic selection. In compileGraph at "
            "/_src/optimizer/myelin/codeGenerator.cpp:2012)",
            "Myelin: Tactic Selection: no tactics within workspace limit.; Error during tactic "
            "selection.",
        ),
        (
            "Invalid Node - node_add\nITensor::getDimensions: Error Code 4: API Usage Error "
            "(node_add: ElementWiseOperation SUM must have same input types. But they are of "
            "types Float and Half. In validateTypes at /_src/common/elementWiseNode.cpp:40)"
            f"\n{NO_DRIVER}",
            "node_add: ElementWiseOperation SUM must have same input types. But they are of "
            "types Float and Half.",
        ),
        (
            "10: Could not find any implementation for node {ForeignNode[a...b]}.",
            "10: Could not find any implementation for node {ForeignNode[a...b]}.",
        ),
        ("two\n  lines", "two lines"),
        ("", ""),
    ],
)
def test_a_reason_is_one_line_without_source_places(said: str, reason: str) -> None:
    assert plain_reason(said) == reason


def test_the_first_error_that_is_not_noise_is_the_reason() -> None:
    log = BuildLog(
        [
            Message("WARNING", "The logger passed into createInferBuilder differs"),
            Message("ERROR", NO_DRIVER),
            Message("ERROR", "f: Error Code 4: API Usage Error (the cause. In g at /_src/h.cpp:1)"),
            Message("ERROR", "f: Error Code 4: API Usage Error (a consequence. In g at /h.cpp:1)"),
        ]
    )
    assert log.reason() == "the cause."


def test_a_silent_builder_is_said_to_be_so() -> None:
    assert BuildLog([Message("INFO", "all is well")]).reason() == "the builder gave no reason"


def test_text_and_numbers() -> None:
    log = BuildLog(
        [
            Message("INFO", "Total Weights Memory: 10 bytes"),
            Message("VERBOSE", "Layers:\nfirst"),
            Message("VERBOSE", "Layers:\nlast"),
            Message("INFO", "Total Weights Memory: 20 bytes"),
        ]
    )
    assert log.text().startswith("[INFO] Total Weights Memory: 10 bytes\n[VERBOSE] Layers:\n")
    assert log.starting("Layers:") == "Layers:\nlast"
    assert log.starting("Bindings:") is None
    assert log.number("Total Weights Memory") == 20
    assert log.number("Total Activation Memory") is None


def test_the_logger_keeps_severities() -> None:
    messages: list[Message] = []
    logger = recording_logger("tensorrt-rtx", messages)
    logger.log(rtx.ILogger.Severity.INTERNAL_ERROR, "broken")
    logger.log(rtx.ILogger.VERBOSE, "detail")
    assert messages == [Message("INTERNAL_ERROR", "broken"), Message("VERBOSE", "detail")]


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
