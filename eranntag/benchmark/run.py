"""All measurements of `eranntag bench`: checkpoints in this process and in fresh ones, and peers."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eranntag.benchmark import cold_start, machine, peers, subjects, tagging
from eranntag.benchmark.peers import Peer
from eranntag.benchmark.plan import Plan
from eranntag.benchmark.tagging import Result
from eranntag.engines import selection


@dataclass(frozen=True)
class Report:
    """The results of one run: its command, machine and plan, the results of each subject, and peers."""

    command: str
    machine: dict[str, str]
    plan: Plan
    results: tuple[Result, ...]
    peers: tuple[Peer, ...] = ()
    peers_missing: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON, with ratios."""
        values = asdict(self)
        for row, result in zip(values["results"], self.results, strict=True):
            row |= {"files_to_network": result.files_to_network, "files_to_plain": result.files_to_plain}
        for row, peer in zip(values["peers"], self.peers, strict=True):
            row["ratios"] = {f"{result.name}, {result.dtype}": peer.ratios(result) for result in self.results}
        return values


def run(
    names: Sequence[str | None],
    plan: Plan,
    registry: str | None = None,
    offline: bool = False,
    with_peers: bool = False,
    command: str = "",
    log: Callable[[str], None] = lambda _: None,
    dtypes: Sequence[str] = (),
) -> Report:
    """Return the report of measuring each of `names` (checkpoints or architectures; None is the default checkpoint).

    `dtypes` replace the one of `plan`. `log` is called with a line about each measurement that begins. Raises what loading a
    checkpoint raises, and EranntagError if not even one clip fits into memory.
    """
    plans = [replace(plan, dtype=dtype) for dtype in dtypes or (plan.dtype,)]
    for each in plans:
        selection.check(each.engine, each.device, each.dtype)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="eranntag-bench-")))
        found = [subjects.find(name, folder, registry, offline) for name in names]  # before any measurement: one may be wrong
        files = tagging.write_clips(folder, plan)
        results = tuple(_measure(subject, files, each, folder, log) for subject in found for each in plans)
        others, missing = peers.measure(plan, results[0].eager.device, log) if with_peers else ((), ())
    return Report(command, machine.describe(results[0].device), plan, results, others, missing)


def _measure(subject: subjects.Subject, files: Sequence[str], plan: Plan, folder: Path, log: Callable[[str], None]) -> Result:
    def log_subject(line: str) -> None:
        log(f"{subject.name}: {line}")

    cold = None
    if plan.cold_runs:
        cold = cold_start.measure(subject.checkpoint, files, plan, folder, log_subject, subject.registry)
    return tagging.measure(subject, files, plan, cold, log_subject)
