"""`eranntag predict` in fresh processes: what a user waits for the first clip, and how much memory that takes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import eranntag
from eranntag.benchmark.plan import Plan
from eranntag.benchmark.timing import Spread, spread
from eranntag.errors import EranntagError

# The process that is measured is started by a small one: Linux counts the memory of whoever starts a process as its own.
_STARTER = """
import json, subprocess, sys, time
started = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
seconds = time.perf_counter() - started
try:
    import resource
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
except ImportError:
    memory = None
print(json.dumps([seconds, memory, done.returncode, done.stderr.decode(errors="replace")]))
"""


@dataclass(frozen=True)
class Cold:
    """Seconds from the start of `eranntag predict CLIP` to its end. `first_seconds`: the very first one, which may compile the
    network and keep it; `eager_seconds`: the plain way, torch as it trains. `memory_bytes`: the most that a process held in
    RAM, by the clips given to it as one batch."""

    first_seconds: float
    seconds: Spread
    eager_seconds: Spread
    memory_bytes: dict[int, int | None]


def measured(
    checkpoint: str | Path,
    files: Sequence[str],
    plan: Plan,
    folder: Path,
    tell: Callable[[str], None],
    registry: str | None = None,
) -> Cold:
    """Of what `predict -c` takes; compiled networks are kept in `folder`. EranntagError when the command fails."""
    tell(f"{1 + plan.cold_runs} fresh processes")
    which = ["-c", str(checkpoint), "--device", plan.device, *(["--registry", registry] if registry else [])]
    options = [*which, "--engine", plan.engine, "--dtype", plan.dtype]
    cache = folder / f"cache-{Path(checkpoint).stem}"
    first, _ = _started([*options, files[0]], cache)
    starts = [_started([*options, files[0]], cache) for _ in range(plan.cold_runs)]
    memory = {1: max((held for _, held in starts if held), default=None)}
    for batch in plan.batches:
        if batch not in memory:
            memory[batch] = _started([*options, "--batch", str(batch), *files[:batch]], cache)[1]
    plain = [_started([*which, "--engine", "eager", files[0]], cache)[0] for _ in range(min(3, plan.cold_runs))]
    return Cold(first, spread([seconds for seconds, _ in starts]), spread(plain), memory)


def _started(words: Sequence[str], cache: Path) -> tuple[float, int | None]:
    """Seconds and bytes of one `eranntag predict`."""
    environment = {**os.environ, "ERANNTAG_CACHE": str(cache)}
    source = Path(eranntag.__file__).parents[1]
    if source.name not in ("site-packages", "dist-packages"):  # a checkout; what is installed is found anyway
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(source), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-c", _STARTER, sys.executable, "-m", "eranntag", "predict", *words]
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    seconds, memory, code, errors = json.loads(text)
    if code:
        line = errors.strip().rpartition("\n")[2].removeprefix("eranntag: error: ")
        raise EranntagError(f"a fresh `eranntag predict` failed with exit code {code}: {line}")
    return seconds, memory
