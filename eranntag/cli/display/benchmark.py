"""The results of benchmarks: tables on standard output, and the same tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eranntag.cli.display.terminal import print_text

if TYPE_CHECKING:
    from eranntag.benchmark.frontends import Frontend
    from eranntag.benchmark.memory import Memory, MemoryUse
    from eranntag.benchmark.run import Report
    from eranntag.benchmark.tagging import Result
    from eranntag.benchmark.timing import Spread
    from eranntag.benchmark.training import Training


@dataclass(frozen=True)
class Table:
    """A table; `meaning` describes its numbers in a sentence. The first column is aligned left, the others right."""

    title: str
    meaning: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def print_report(measured: Report) -> None:
    """Print the command, the machine and all tables."""
    print_text(measured.command, *_machine(measured.machine))
    for table in _tables(measured):
        print_text("", f"{table.title}: {table.meaning}", "", *_aligned(table))
    for line in _notes(measured):
        print_text("", line)


def to_markdown(measured: Report) -> str:
    """Return the part of a page between the markers of `benchmark.report_page`."""
    parts = [f"`{measured.command}`", "\n".join(f"- {name}: {value}" for name, value in measured.machine.items())]
    for table in _tables(measured):
        heading = [table.columns, ("---", *("---:" for _ in table.columns[1:]))]
        rows = "\n".join("| " + " | ".join(row) + " |" for row in [*heading, *table.rows])
        parts.append(f"**{table.title}**: {table.meaning}\n\n{rows}")
    return "\n\n".join([*parts, *_notes(measured)])


def print_training(measured: Training) -> None:
    """Print the speed of a training iteration, one number a line."""
    clips = measured.clips_per_example
    mixed = f", each mixed of {clips} clips" if clips > 1 else ""
    lines = {
        "model": f"{measured.model}, {measured.dtype} on {measured.device}{', compiled' * measured.compiled}",
        "batch": f"{measured.batch} examples of {measured.seconds:g} s{mixed}{_reduced(measured.asked, measured.batch)}",
        "iteration": f"{_spread(measured.seconds_per_iteration, 3)} s; the first {measured.first_seconds:.2f} s",
        "examples/s": _spread(measured.examples_per_second),
        "clips/s": f"{clips * measured.examples_per_second.median:.1f}",
        "GPU memory": _bytes(measured.gpu_bytes),
        **measured.machine,
    }
    print_text(*_machine({name: value for name, value in lines.items() if value}))


def print_frontends(measured: Sequence[Frontend]) -> None:
    """Print the front-ends as a Markdown table, and the machine."""
    first = measured[0]
    print_text(f"milliseconds a clip of {first.seconds:g} s, median (lowest-highest), on {first.device}", "")
    print_text("| front-end | rows | frames | batch | ms |", "|---|---:|---:|---:|---:|")
    for each in measured:
        name = each.name + ", learned" * each.learned
        print_text(f"| {name} | {each.rows} | {each.frames} | {each.batch} | {_spread(each.milliseconds)} |")
    print_text("", *_machine(first.machine))


def print_memory(measured: Memory) -> None:
    """Print the memory of `predict` along the way through many files, and its peaks."""
    if measured.files:
        print_text("files done    MB held")
        print_text(*(f"{done:10d} {held / 1e6:10.0f}" for done, held in measured.files.at))
        print_text(f"   at most {measured.files.peak / 1e6:10.0f}  {_pace(measured.files)}", "")
    for hours, held in measured.hours.items():
        print_text(f"{hours:g} h: at most {held.peak / 1e6:.0f} MB  {_pace(held)}")


def _pace(held: MemoryUse) -> str:
    return f"({held.sound_seconds:.0f} s of sound in {held.seconds:.0f} s)"


def _machine(facts: Mapping[str, Any]) -> Iterator[str]:
    return (f"{name + ':':11} {value}" for name, value in facts.items())


def _tables(measured: Report) -> Iterator[Table]:
    yield _network(measured)
    yield _latency(measured)
    yield _files(measured)
    if measured.peers:
        yield from _peers(measured)


def _network(measured: Report) -> Table:
    seconds, batches = measured.plan.seconds, measured.plan.batches
    meaning = (
        f"clips of {seconds:g} s per second, prepared in advance; median (lowest-highest) after a warm-up. torch computes "
        "log-mel with the network, openvino before it. V100: the paper's, of 10 s (Table 4) and 5 s (Table 6)."
    )
    ours = tuple(f"clips/s, B={batch}" for batch in batches)
    columns = ("model", "parameters", "engine", *ours, "V100, 10 s, B=1", "V100, 10 s, B=32", "V100, 5 s, B=32")
    rows = []
    for result in measured.results:
        cells = (_spread(each.clips_per_second) + _reduced(each.asked, each.batch) for each in result.throughputs)
        speeds = result.v100
        v100 = (speeds.audioset_batch_1, speeds.audioset_batch_32, speeds.esc50_batch_32) if speeds else (None,) * 3
        rows.append((_name(result), f"{result.parameters:,}", _engine(result), *cells, *map(_published, v100)))
    return Table("Network alone", meaning, columns, tuple(rows))


def _latency(measured: Report) -> Table:
    batches = tuple(dict.fromkeys((1, *measured.plan.batches)))
    meaning = (
        "milliseconds of the network for one clip (percentiles); seconds of a whole `eranntag predict CLIP` in a fresh "
        "process: median (lowest-highest), the first run, which may compile the network and store it, and the engine eager; "
        "peak memory of the process, by batch size."
    )
    memory = tuple(f"memory, B={batch}" for batch in batches)
    gpu = tuple(f"GPU, B={batch}" for batch in measured.plan.batches if measured.results[0].throughputs[0].gpu_bytes)
    rows = []
    for result in measured.results:
        times = (f"{each:.1f}" for each in (result.latency.p50_ms, result.latency.p90_ms, result.latency.p99_ms))
        cold = result.cold
        starts = (_spread(cold.seconds, 2), f"{cold.first_seconds:.2f}", _spread(cold.eager_seconds, 2)) if cold else ("",) * 3
        held = (_bytes(cold.memory_bytes.get(batch)) if cold else "" for batch in batches)
        on_gpu = (_bytes(each.gpu_bytes) for each in result.throughputs if gpu)
        rows.append((_name(result), *times, *starts, *held, *on_gpu))
    columns = ("model", "p50 ms", "p90 ms", "p99 ms", "cold start s", "first s", "eager s", *memory, *gpu)
    return Table("One clip", meaning, columns, tuple(rows))


def _files(measured: Report) -> Table:
    meaning = (
        f"{measured.plan.clips} files (WAV, 48 kHz, 16 bits, {measured.plan.seconds:g} s) from end to end, per second; "
        "relative to the network alone; the engine eager in float32, one file after another, in the same run; ratio of the "
        "two. Then the share of each stage in the time of one clip, each measured alone."
    )
    columns = ("model", "files/s", "of the network", "plain files/s", "ratio", "decode", "resample", "mel", "network")
    rows = tuple(
        (
            _name(result),
            _spread(result.files_per_second),
            f"{result.files_to_network:.0%}",
            _spread(result.eager.files_per_second),
            f"{result.files_to_plain:.1f}",
            *(f"{result.shares[stage]:.1%}" if stage in result.shares else "" for stage in columns[5:]),
        )
        for result in measured.results
    )
    return Table("Files", meaning, columns, rows)


def _peers(measured: Report) -> Iterator[Table]:
    meaning = (
        f"one clip of {measured.plan.seconds:g} s at a time, eager, float32, random weights, same run. V100: the paper's "
        "(Table 4, 10 s, B=1)."
    )
    rows = tuple(
        (
            f"{peer.name} ({peer.holds})",
            f"{peer.parameters:,}",
            _spread(peer.clips_per_second),
            _published(peer.v100.audioset_batch_1 if peer.v100 else None),
        )
        for peer in measured.peers
    )
    yield Table("Peers", meaning, ("model", "parameters", "clips/s, B=1", "V100"), rows)
    columns = tuple(f"{peer.name}, {how}" for peer in measured.peers for how in ("eager", "as it runs"))
    ratios = tuple(
        (_name(result), *(f"{ratio:.1f}" for peer in measured.peers for ratio in peer.ratios(result).values()))
        for result in measured.results
    )
    meaning = "speed relative to the peer: eager as well, and with the engine that `eranntag` uses (one clip at a time)."
    yield Table("Beside the peers", meaning, ("model", *columns), ratios)


def _notes(measured: Report) -> Iterator[str]:
    if any(result.random for result in measured.results):
        yield "Models with * have random weights, which are as fast as others."
    if measured.peers_missing:
        yield "Not measured: " + "; ".join(measured.peers_missing) + "."


def _name(result: Result) -> str:
    return f"{result.name}{' *' * result.random}, {result.dtype}"


def _engine(result: Result) -> str:
    side_by_side = f", {result.parallel} at once" if result.parallel > 1 else ""
    return f"{result.engine}, {result.dtype}, {result.device}{side_by_side}"


def _spread(value: Spread, digits: int = 1) -> str:
    ends = f"{value.lowest:.{digits}f}-{value.highest:.{digits}f}"
    return f"{value.median:.{digits}f} ({ends})" if value.runs > 1 else f"{value.median:.{digits}f}"


def _reduced(asked: int, batch: int) -> str:
    return f" [B={batch}: out of memory]" if batch < asked else ""


def _bytes(value: int | None) -> str:
    return f"{value / 1e6:,.0f} MB" if value else ""


def _published(value: int | None) -> str:
    return "" if value is None else str(value or "out of memory")


def _aligned(table: Table) -> Iterator[str]:
    rows: Sequence[Sequence[str]] = [table.columns, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    lines = (
        "  ".join((row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))))
        for row in rows
    )
    return (line.rstrip() for line in lines)
