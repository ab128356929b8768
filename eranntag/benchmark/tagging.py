"""A checkpoint in this process: its network alone, files from end to end, and the plain way of doing it, on the same clips."""

import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from eranntag.audio import reader
from eranntag.benchmark import paper
from eranntag.benchmark.cold_start import Cold
from eranntag.benchmark.plan import Plan
from eranntag.benchmark.subjects import Subject
from eranntag.benchmark.timing import Spread, fitting, percentile, rate, timed
from eranntag.checkpoints import loading
from eranntag.engines.eager import Eager
from eranntag.errors import EranntagError
from eranntag.inference.pipeline import predict
from eranntag.inference.tagger import Tagger
from eranntag.types import Failure

RATE_HZ = 48000  # of the files: what cameras and browsers record, so that resampling takes part
LATENCIES = 20  # runs at least, unless they take too long

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Throughput:
    """Clips a second of `Tagger.scores` on prepared clips, in batches of `batch` (less than `asked` where memory did not
    suffice), as many batches side by side as the engine likes. `gpu_bytes`: the most that torch had of a GPU's memory."""

    asked: int
    batch: int
    clips_per_second: Spread
    gpu_bytes: int | None = None


@dataclass(frozen=True)
class Latency:
    """Milliseconds of `Tagger.scores` for one clip when nothing else is to be done."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    runs: int


@dataclass(frozen=True)
class Plain:
    """The plain way in the same run: torch as it trains, float32, file after file (read, resample, compute). As a command of
    eranntag it already keeps its memory (docs/log.md), which a script would not: ratios to it are on the low side."""

    device: str
    clips_per_second: Spread  # of the network alone, one clip at a time
    files_per_second: Spread


@dataclass(frozen=True)
class Result:
    """Everything that was measured of one subject. `shares`: decode, resample, mel and network of one clip, each measured
    alone, one after the other, as parts of their sum."""

    name: str
    architecture: str
    random: bool
    parameters: int
    engine: str
    dtype: str
    device: str
    parallel: int
    notes: tuple[str, ...]
    throughputs: tuple[Throughput, ...]
    latency: Latency
    files_per_second: Spread
    shares: dict[str, float]
    eager: Plain
    cold: Cold | None
    v100: paper.Speeds | None

    @property
    def files_to_network(self) -> float:
        """Of what the network alone does, how much is reached with files."""
        return self.files_per_second.median / max(each.clips_per_second.median for each in self.throughputs)

    @property
    def files_to_plain(self) -> float:
        """How many times as many files as the plain way."""
        return self.files_per_second.median / self.eager.files_per_second.median


def sounds(folder: Path, plan: Plan) -> list[str]:
    """Enough 16-bit WAV files of a tone in noise, each another."""
    paths = []
    t = np.arange(round(plan.seconds * RATE_HZ)) / RATE_HZ
    for number in range(max(plan.clips, *plan.batches)):
        noise = np.random.default_rng(number).standard_normal(len(t), np.float32)
        waveform = 0.05 * noise + 0.2 * np.sin(2 * np.pi * (200 + 40 * number) * t)
        paths.append(str(folder / f"clip{number}.wav"))
        soundfile.write(paths[-1], waveform, RATE_HZ, "PCM_16")
    return paths


def measured(subject: Subject, files: Sequence[str], plan: Plan, cold: Cold | None, tell: Tell) -> Result:
    """Raises what loading does, and EranntagError where not even one clip fits into memory."""
    several = _load(subject, plan, many=True)
    alone = several if several.parallel == 1 else _load(subject, plan, many=False)
    for note in several.notes:
        tell(note)
    tell(f"network alone, {several.engine} in {several.dtype} on {several.device}")
    prepared = [several.prepare(reader.read(file)) for file in files[: max(plan.batches)]]
    throughputs = tuple(_throughput(several, prepared, batch, plan.budget, tell) for batch in plan.batches)
    latency = _latency(alone, prepared[0], plan.budget)
    tell(f"{plan.clips} files")
    files_per_second = _files(several, files[: plan.clips], plan.budget)
    shares = _shares(alone, files[0], plan.budget / 4)
    tell("eager in float32, file after file")
    eager: Any = loading.load(subject.checkpoint, several.device, "float32", subject.registry, engine="eager")
    return Result(
        name=subject.name,
        architecture=subject.architecture,
        random=subject.random,
        parameters=sum(p.numel() for each in getattr(eager, "members", (eager,)) for p in each.network.parameters()),
        engine=several.engine,
        dtype=several.dtype,
        device=several.device,
        parallel=several.parallel,
        notes=several.notes,
        throughputs=throughputs,
        latency=latency,
        files_per_second=files_per_second,
        shares=shares,
        eager=_plain(eager, files, plan.budget),
        cold=cold,
        v100=paper.V100.get(subject.architecture),
    )


def _load(subject: Subject, plan: Plan, many: bool) -> Any:
    return loading.load(subject.checkpoint, plan.device, plan.dtype, subject.registry, engine=plan.engine, many=many)


def _throughput(tagger: Tagger, prepared: Sequence[np.ndarray], asked: int, budget: float, tell: Tell) -> Throughput:
    on_gpu = tagger.device.startswith("cuda")

    def measure(batch: int) -> tuple[Spread, int | None]:
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(tagger.device)
        given = np.stack(list(islice(cycle(prepared), batch)))
        with ThreadPoolExecutor(tagger.parallel) as pool:

            def work() -> None:
                if tagger.parallel == 1:
                    tagger.scores(given)
                else:
                    list(pool.map(tagger.scores, [given] * tagger.parallel))

            seconds = timed(work, budget)
        return rate(seconds, batch * tagger.parallel), torch.cuda.max_memory_allocated(tagger.device) if on_gpu else None

    batch, (clips_per_second, gpu_bytes) = fitting(asked, measure, tell)
    return Throughput(asked, batch, clips_per_second, gpu_bytes)


def _latency(tagger: Tagger, prepared: np.ndarray, budget: float) -> Latency:
    milliseconds = [1000 * each for each in timed(lambda: tagger.scores(prepared[None]), budget, LATENCIES)]
    p50, p90, p99 = (percentile(milliseconds, percent) for percent in (50, 90, 99))
    return Latency(p50, p90, p99, len(milliseconds))


def _files(tagger: Tagger, files: Sequence[str], budget: float) -> Spread:
    def work() -> None:
        for result in predict(tagger, files):
            if isinstance(result, Failure):
                raise EranntagError(f"{result.source}: {result.reason}")

    return rate(timed(work, budget), len(files))


def _plain(tagger: Tagger, files: Sequence[str], budget: float) -> Plain:
    prepared, following = tagger.prepare(reader.read(files[0]))[None], cycle(files)
    alone = rate(timed(lambda: tagger.scores(prepared), budget))
    return Plain(tagger.device, alone, rate(timed(lambda: tagger.tag(next(following)), budget)))


def _shares(tagger: Tagger, file: str, budget: float) -> dict[str, float]:
    def middle(work: Callable[[], object]) -> float:
        return statistics.median(timed(work, budget))

    clip = reader.read(file)
    waveform, prepared = tagger.waveform(clip), tagger.prepare(clip)
    seconds = {"decode": middle(lambda: reader.read(file)), "resample": middle(lambda: tagger.waveform(clip))}
    network = middle(lambda: tagger.scores(prepared[None]))
    if isinstance(tagger, Eager):
        seconds["mel"] = middle(_frontend(tagger, waveform))
        network = max(0.0, network - seconds["mel"])
    else:  # computed ahead
        seconds["mel"] = max(0.0, middle(lambda: tagger.prepare(clip)) - seconds["resample"])
    seconds["network"] = network
    return {stage: each / sum(seconds.values()) for stage, each in seconds.items()}


def _frontend(tagger: Eager, waveform: np.ndarray) -> Callable[[], object]:
    given = torch.from_numpy(waveform)[None].to(tagger.network.device)

    @torch.inference_mode()
    def work() -> None:
        image = tagger.network.frontend(given)
        image[0, 0, 0, 0].item()  # waits for a GPU

    return work
