"""`eranntag predict` in fresh processes: the time until the first clip is tagged, and the memory it takes."""

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

# A small process starts the measured one: on Linux, a child's peak memory includes that of the process that forked it.
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
class ColdStart:
    """Seconds from the start of `eranntag predict CLIP` to its end, and peak memory.

    `first_seconds`: the first run, which may compile the network and store it; `eager_seconds`: with the engine eager;
    `memory_bytes`: the peak RAM of a process, by batch size.
    """

    first_seconds: float
    seconds: Spread
    eager_seconds: Spread
    memory_bytes: dict[int, int | None]


def measure(
    checkpoint: str | Path,
    files: Sequence[str],
    plan: Plan,
    folder: Path,
    log: Callable[[str], None],
    registry: str | None = None,
) -> ColdStart:
    """Return the cold start of `predict -c checkpoint`; compiled networks are stored in `folder`.

    Raises EranntagError if the command fails.
    """
    log(f"{1 + plan.cold_runs} fresh processes")
    checkpoint_options = ["-c", str(checkpoint), "--device", plan.device, *(["--registry", registry] if registry else [])]
    options = [*checkpoint_options, "--engine", plan.engine, "--dtype", plan.dtype]
    cache = folder / f"cache-{Path(checkpoint).stem}"
    first, _ = _run_predict([*options, files[0]], cache)
    starts = [_run_predict([*options, files[0]], cache) for _ in range(plan.cold_runs)]
    memory = {1: max((peak for _, peak in starts if peak), default=None)}
    for batch in plan.batches:
        if batch not in memory:
            memory[batch] = _run_predict([*options, "--batch", str(batch), *files[:batch]], cache)[1]
    eager = [
        _run_predict([*checkpoint_options, "--engine", "eager", files[0]], cache)[0] for _ in range(min(3, plan.cold_runs))
    ]
    return ColdStart(first, spread([seconds for seconds, _ in starts]), spread(eager), memory)


def _run_predict(words: Sequence[str], cache: Path) -> tuple[float, int | None]:
    """Return seconds and peak bytes of one `eranntag predict`."""
    environment = {**os.environ, "ERANNTAG_CACHE": str(cache)}
    source = Path(eranntag.__file__).parents[1]
    if source.name not in ("site-packages", "dist-packages"):  # a checkout; an installed package is found anyway
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(source), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-c", _STARTER, sys.executable, "-m", "eranntag", "predict", *words]
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    seconds, memory, code, errors = json.loads(text)
    if code:
        line = errors.strip().rpartition("\n")[2].removeprefix("eranntag: error: ")
        raise EranntagError(f"a fresh `eranntag predict` failed with exit code {code}: {line}")
    return seconds, memory
