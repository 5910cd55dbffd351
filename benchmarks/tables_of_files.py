"""Tables of files: recordings, engines, INT8, and where they run."""

from typing import Any

from benchmarks.table_cells import result, spread, table


def memory() -> str:
    found = result("runtime_memory")
    (file,) = found["files"]
    imported = found["import_seconds"]
    rows = (
        (
            f"{found['model']}, {60 * file['minutes']:.0f} s file: real-time factor",
            f"{file['real_time_factor']:.3f} (one run)",
            "0.35 at most",
        ),
        ("the same: peak memory of the process", f"{file['peak_mib']:.0f} MiB", "1.5 GB at most"),
        (
            "`import frcrn_export.runtime`",
            f"{imported['median']:.2f} s ({imported['max']:.2f} at most)",
            "0.3 s",
        ),
    )
    return table(("", ">measured", ">asked"), rows)


def folder() -> str:
    found = result("folder")
    names = {
        "before": "before",
        "one at a time": "`--jobs 1`",
        "default": "default (2 files at once)",
    }
    rows = (
        (
            title,
            spread(found["wall_seconds"][name], " s"),
            f"{found['processor_seconds'][name]['median']:.1f} s",
            spread(found["speed_against_before"][name], digits=2)
            if name in found["speed_against_before"]
            else "1",
        )
        for name, title in names.items()
    )
    return table(("quiet machine", ">wall time", ">processor time", ">speed"), rows)


def engines() -> str:
    found = result("engines")["models"]
    asked = {"frcrn-16k": (" (asked: 60)", " (asked: 60)", " (asked: 45)")}
    rows = []
    for name, each in found.items():
        export, build, size = asked.get(name, ("", "", ""))
        rows.append(
            (
                name,
                f"{each['fp16 file']['median']:.1f} s{export}",
                f"{each['engine']['median']:.1f} s{build}",
                f"{each['engine_mb']:.1f} MB{size}",
                str(each["layers"]),
                f"{each['fp16_snr_db']['worst']:.1f} dB",
            )
        )
    columns = (
        "",
        ">FP16 file: export and verification",
        ">engine: whole command",
        ">size",
        ">layers",
        ">worst SNR of the file",
    )
    return table(columns, rows)


def int8() -> str:
    rows = []
    for name, each in result("int8")["models"].items():
        for kind in ("offline", "streaming"):
            if (made := each.get(kind)) is None:
                continue
            speed, gates = made["speed"], {gate["name"]: gate for gate in made["gates"]}
            snr = gates["core_snr"]["value"]
            rows.append(
                (
                    f"{name}, {kind}",
                    f"{speed['ratio']:.2f} ({speed['low']:.2f} to {speed['high']:.2f})",
                    "-" if snr is None else f"{snr:.1f} dB",
                    f"{made['layers']} of {made['candidates']}, {100 * made['share']:.0f} %",
                    f"{made['seconds'] / 60:.1f} min",
                )
            )
    columns = (
        *("core", ">times as fast as float32", ">SNR", ">layers in 8 bits, share"),
        ">calibration, 64 clips",
    )
    return table(columns, rows)


def int8_hops() -> str:
    rows = []
    for name, each in result("int8")["models"].items():
        for threads in (2, 1):
            if (hop := each.get(f"hop, {threads} threads")) is not None:
                int8, float32 = (spread(hop[kind], " ms", 2) for kind in ("int8", "fp32"))
                rows.append((name, str(threads), int8, float32, f"{hop['ratio']:.2f}"))
    columns = ("a hop", ">threads", ">INT8", ">float32", ">times as fast")
    return table(columns, rows)


def long_core() -> str:
    """`core.long.onnx` against `core.onnx`, for each kind of squeeze-and-excitation."""
    found = result("long_core")["squeeze-excite"]
    lengths = list(dict.fromkeys(length for each in found.values() for length in each))

    def cells(each: dict[str, Any]) -> tuple[str, str]:
        peaks = (each[file]["peak_mib"]["median"] for file in ("core.long.onnx", "core.onnx"))
        time = spread(each["long against core"]["cpu_seconds"], digits=2)
        return time, "{:.0f} against {:.0f}".format(*peaks)

    rows = []
    for length in lengths:
        sides = [each[length] for each in found.values()]
        first = f"{length} ({sides[0]['frames']})"
        rows.append((first, *(cell for side in sides for cell in cells(side))))
    titles = (f">{kind}: {what}" for kind in found for what in ("time", "memory, MiB"))
    return table(("audio (frames)", *titles), rows)


def versions() -> str:
    """The ends of the version ranges that were tried, and the runtime's other Pythons."""
    tried = result("tried_versions")["tried"]
    names = list(dict.fromkeys(name for each in tried.values() for name in each["versions"]))
    names.sort(key=lambda name: name != "python")
    rows = [(name, *(each["versions"].get(name, "") for each in tried.values())) for name in names]
    margins = (each.get("least margin, dB") for each in tried.values())
    cells = ("" if margin is None else f"{margin:.1f} dB" for margin in margins)
    rows.append(("least margin above the floors of parity", *cells))
    return table(("", *(f">{each.partition(',')[0]}" for each in tried)), rows)


def where_files_run() -> str:
    """Files down, engines across; engines with the same figures share a column."""
    engines = result("where_files_run")["engines"].values()
    engines = [each for each in engines if "not installed" not in each]
    files = list(dict.fromkeys(name for each in engines for name in each if ": " in name))
    reasons: dict[str, int] = {}

    def cell(found: float | str) -> str:
        if isinstance(found, float):
            return f"{found:.0f} dB"
        said = found.removeprefix("no: ")
        return found if said == found else f"no ({reasons.setdefault(said, len(reasons) + 1)})"

    columns: dict[tuple[str, ...], list[str]] = {}
    for each in engines:
        named = (f"{name} {version}" for name, version in each["versions"].items())
        title = " ".join(name for name in named if not name.startswith("numpy "))
        columns.setdefault(tuple(cell(each.get(file, "")) for file in files), []).append(title)
    titles = (f">{', '.join(names)}" for names in columns.values())
    rows = zip(files, *columns, strict=True)
    said = "".join(f"{number}. `{text}`\n" for text, number in reasons.items())
    return table(("file", *titles), rows) + f"\n{said}" * bool(said)


TABLES = (memory, folder, engines, int8, int8_hops, long_core, versions, where_files_run)
