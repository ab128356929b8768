"""How fast and how large: `eranntag bench`, measured beside the paper's columns, the plain way of doing it, and peers.

`subjects` what is measured, `measure` how time is taken, `tagging` a checkpoint in this process, `cold` in fresh ones,
`training` a training step, `peers` other taggers, `machine` what it ran on, `paper` the published speeds, `page` a document.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eranntag.benchmark import baselines, cold_start, machine, subjects, tagging
from eranntag.benchmark.baselines import Peer
from eranntag.benchmark.plan import Plan
from eranntag.benchmark.tagging import Result
from eranntag.engines import selection


@dataclass(frozen=True)
class Report:
    """One run of the bench: its command, what was measured with which clips, on which machine."""

    command: str
    machine: dict[str, str]
    plan: Plan
    results: tuple[Result, ...]
    peers: tuple[Peer, ...] = ()
    peers_missing: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON, ratios included."""
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
    beside_peers: bool = False,
    command: str = "",
    tell: Callable[[str], None] = lambda _: None,
    dtypes: Sequence[str] = (),
) -> Report:
    """Measure every one of `names` (checkpoints or architectures; None is the default checkpoint) by `plan`, or in
    each of `dtypes` instead of its own.

    `tell` hears what is under way, a line each. Raises what loading a checkpoint raises, and EranntagError where not even
    one clip fits into memory.
    """
    plans = [replace(plan, dtype=dtype) for dtype in dtypes or (plan.dtype,)]
    for each in plans:
        selection.check(each.engine, each.device, each.dtype)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="eranntag-bench-")))
        found = [subjects.find(name, folder, registry, offline) for name in names]  # a wrong name costs no measurement
        files = tagging.sounds(folder, plan)
        results = tuple(_measured(subject, files, each, folder, tell) for subject in found for each in plans)
        others, missing = baselines.measured(plan, results[0].eager.device, tell) if beside_peers else ((), ())
    return Report(command, machine.described(results[0].device), plan, results, others, missing)


def _measured(subject: subjects.Subject, files: Sequence[str], plan: Plan, folder: Path, tell: Callable[[str], None]) -> Result:
    def say(line: str) -> None:
        tell(f"{subject.name}: {line}")

    fresh = cold_start.measured(subject.checkpoint, files, plan, folder, say, subject.registry) if plan.cold_runs else None
    return tagging.measured(subject, files, plan, fresh, say)
