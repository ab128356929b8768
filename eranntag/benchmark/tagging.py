"""The speed of a checkpoint in this process: its network alone, files from end to end, and the engine eager."""

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
from eranntag.benchmark.cold_start import ColdStart
from eranntag.benchmark.plan import Plan
from eranntag.benchmark.subjects import Subject
from eranntag.benchmark.timing import Spread, largest_fitting_batch, percentile, rate, time_repeatedly
from eranntag.checkpoints import loading
from eranntag.engines.eager import Eager
from eranntag.errors import EranntagError
from eranntag.inference.pipeline import predict
from eranntag.inference.tagger import Tagger
from eranntag.types import Failure

RATE_HZ = 48000  # of the files, as cameras and browsers record, so that resampling is measured
LATENCIES = 20  # runs at least, unless they take too long

Log = Callable[[str], None]


@dataclass(frozen=True)
class Throughput:
    """Clips per second of `Tagger.scores` on prepared clips in batches of `batch` (smaller than `asked` if that did not fit
    into memory), with as many batches in parallel as the engine runs. `gpu_bytes`: the peak of torch's memory on a GPU."""

    asked: int
    batch: int
    clips_per_second: Spread
    gpu_bytes: int | None = None


@dataclass(frozen=True)
class Latency:
    """Milliseconds of `Tagger.scores` for one clip at a time."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    runs: int


@dataclass(frozen=True)
class EagerSpeed:
    """The engine eager in the same run: float32, one file after another (read, resample, compute). The command keeps freed
    memory (docs/log.md), unlike a script: ratios to it are on the low side."""

    device: str
    clips_per_second: Spread  # of the network alone, one clip at a time
    files_per_second: Spread


@dataclass(frozen=True)
class Result:
    """All measurements of one subject. `shares`: decode, resample, mel and network of one clip, each measured alone, relative
    to their sum."""

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
    eager: EagerSpeed
    cold: ColdStart | None
    v100: paper.Speeds | None

    @property
    def files_to_network(self) -> float:
        """The speed with files relative to that of the network alone."""
        return self.files_per_second.median / max(each.clips_per_second.median for each in self.throughputs)

    @property
    def files_to_plain(self) -> float:
        """The speed with files relative to that of the engine eager."""
        return self.files_per_second.median / self.eager.files_per_second.median


def write_clips(folder: Path, plan: Plan) -> list[str]:
    """Write different 16-bit WAV files of a tone in noise into `folder` and return their paths."""
    paths = []
    t = np.arange(round(plan.seconds * RATE_HZ)) / RATE_HZ
    for number in range(max(plan.clips, *plan.batches)):
        noise = np.random.default_rng(number).standard_normal(len(t), np.float32)
        waveform = 0.05 * noise + 0.2 * np.sin(2 * np.pi * (200 + 40 * number) * t)
        paths.append(str(folder / f"clip{number}.wav"))
        soundfile.write(paths[-1], waveform, RATE_HZ, "PCM_16")
    return paths


def measure(subject: Subject, files: Sequence[str], plan: Plan, cold: ColdStart | None, log: Log) -> Result:
    """Return all measurements of `subject`. Raises what loading it raises, and EranntagError if no clip fits into memory."""
    several = _load(subject, plan, many=True)
    alone = several if several.parallel == 1 else _load(subject, plan, many=False)
    for note in several.notes:
        log(note)
    log(f"network alone, {several.engine} in {several.dtype} on {several.device}")
    prepared = [several.prepare(reader.read(file)) for file in files[: max(plan.batches)]]
    throughputs = tuple(_throughput(several, prepared, batch, plan.budget, log) for batch in plan.batches)
    latency = _latency(alone, prepared[0], plan.budget)
    log(f"{plan.clips} files")
    files_per_second = _files(several, files[: plan.clips], plan.budget)
    shares = _shares(alone, files[0], plan.budget / 4)
    log("eager in float32, one file after another")
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
        eager=_eager_speed(eager, files, plan.budget),
        cold=cold,
        v100=paper.V100.get(subject.architecture),
    )


def _load(subject: Subject, plan: Plan, many: bool) -> Any:
    return loading.load(subject.checkpoint, plan.device, plan.dtype, subject.registry, engine=plan.engine, many=many)


def _throughput(tagger: Tagger, prepared: Sequence[np.ndarray], asked: int, budget: float, log: Log) -> Throughput:
    on_gpu = tagger.device.startswith("cuda")

    def measure_batch(batch: int) -> tuple[Spread, int | None]:
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(tagger.device)
        clips = np.stack(list(islice(cycle(prepared), batch)))
        with ThreadPoolExecutor(tagger.parallel) as pool:

            def work() -> None:
                if tagger.parallel == 1:
                    tagger.scores(clips)
                else:
                    list(pool.map(tagger.scores, [clips] * tagger.parallel))

            seconds = time_repeatedly(work, budget)
        return rate(seconds, batch * tagger.parallel), torch.cuda.max_memory_allocated(tagger.device) if on_gpu else None

    batch, (clips_per_second, gpu_bytes) = largest_fitting_batch(asked, measure_batch, log)
    return Throughput(asked, batch, clips_per_second, gpu_bytes)


def _latency(tagger: Tagger, prepared: np.ndarray, budget: float) -> Latency:
    milliseconds = [1000 * each for each in time_repeatedly(lambda: tagger.scores(prepared[None]), budget, LATENCIES)]
    p50, p90, p99 = (percentile(milliseconds, percent) for percent in (50, 90, 99))
    return Latency(p50, p90, p99, len(milliseconds))


def _files(tagger: Tagger, files: Sequence[str], budget: float) -> Spread:
    def work() -> None:
        for result in predict(tagger, files):
            if isinstance(result, Failure):
                raise EranntagError(f"{result.source}: {result.reason}")

    return rate(time_repeatedly(work, budget), len(files))


def _eager_speed(tagger: Tagger, files: Sequence[str], budget: float) -> EagerSpeed:
    prepared, following = tagger.prepare(reader.read(files[0]))[None], cycle(files)
    alone = rate(time_repeatedly(lambda: tagger.scores(prepared), budget))
    return EagerSpeed(tagger.device, alone, rate(time_repeatedly(lambda: tagger.tag(next(following)), budget)))


def _shares(tagger: Tagger, file: str, budget: float) -> dict[str, float]:
    def middle(work: Callable[[], object]) -> float:
        return statistics.median(time_repeatedly(work, budget))

    clip = reader.read(file)
    waveform, prepared = tagger.waveform(clip), tagger.prepare(clip)
    seconds = {"decode": middle(lambda: reader.read(file)), "resample": middle(lambda: tagger.waveform(clip))}
    network = middle(lambda: tagger.scores(prepared[None]))
    if isinstance(tagger, Eager):
        seconds["mel"] = middle(_frontend(tagger, waveform))
        network = max(0.0, network - seconds["mel"])
    else:  # prepared clips are images
        seconds["mel"] = max(0.0, middle(lambda: tagger.prepare(clip)) - seconds["resample"])
    seconds["network"] = network
    return {stage: each / sum(seconds.values()) for stage, each in seconds.items()}


def _frontend(tagger: Eager, waveform: np.ndarray) -> Callable[[], object]:
    inputs = torch.from_numpy(waveform)[None].to(tagger.network.device)

    @torch.inference_mode()
    def work() -> None:
        image = tagger.network.frontend(inputs)
        image[0, 0, 0, 0].item()  # waits for the GPU

    return work
