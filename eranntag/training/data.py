"""From Examples to training batches. Everything random is a function of (seed, iteration, place in the batch): there is no
state to save, and a share of a batch is the same in every process."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from eranntag.audio import reader
from eranntag.errors import DataError, error_reason
from eranntag.prefetch import prefetch_map
from eranntag.training.events import ClipSkipped, Report
from eranntag.training.samplers import Sampler
from eranntag.types import Batch, Clip, Example

KEEP_BYTES = 4 << 30  # ESC-50 takes 0.9 GB, UrbanSound8K 3 GB; of AudioSet most is decoded again each time


def report_skipped(report: Report) -> Callable[[str, str], None]:
    """The `broken` of a WaveformCache that reports to a run's `report`."""
    return lambda source, reason: report(ClipSkipped(source, reason))


class WaveformCache:
    """The clips as mono int16 (samples,), decoded on first use and kept as long as `keep_bytes` suffice.

    `broken(source, reason)` is called once for every clip that cannot be decoded.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        sample_rate_hz: int,
        keep_bytes: int = KEEP_BYTES,
        broken: Callable[[str, str], None] = lambda source, reason: None,
    ) -> None:
        self.examples, self.rate, self.free_bytes, self.report = examples, sample_rate_hz, keep_bytes, broken
        self.kept: dict[int, np.ndarray] = {}
        self.broken: set[int] = set()
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.examples)

    def get(self, index: int) -> np.ndarray | None:
        """The clip's samples, None if it cannot be decoded."""
        if index in self.kept or index in self.broken:
            return self.kept.get(index)
        source = self.examples[index].path
        try:
            samples = reader.read_int16(source, self.rate)
        except Exception as error:  # whatever a hostile file does to a decoder, the run continues
            reader.require_folder(source)
            self._note(index, str(source), error_reason(error, str(source)))
            return None
        with self.lock:
            if index not in self.kept and samples.nbytes <= self.free_bytes:
                self.kept[index] = samples
                self.free_bytes -= samples.nbytes
        return samples

    def clip(self, index: int) -> Clip | None:
        """The clip as a Tagger takes it, None if it cannot be decoded."""
        samples = self.get(index)
        return None if samples is None else Clip(samples[None].astype(np.float32) / reader.FULL_SCALE, self.rate)

    def next_decodable(self, index: int) -> tuple[int, np.ndarray]:
        """Clip `index`, or the first after it that can be decoded, and its samples. DataError when none can."""
        for other in range(index, index + len(self)):
            if (samples := self.get(other % len(self))) is not None:
                return other % len(self), samples
        raise DataError(f"none of the {len(self)} clips can be decoded; the first is {self.examples[0].path}")

    def _note(self, index: int, source: str, reason: str) -> None:
        with self.lock:
            new = index not in self.broken
            self.broken.add(index)
        if new:
            self.report(source, reason)


def crop(waveform: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """A section of `samples` at a uniformly random offset; a shorter clip gets zeros at its end. One draw in any case."""
    offset = int(rng.random() * (max(len(waveform) - samples, 0) + 1))
    section = waveform[offset : offset + samples]
    return np.pad(section, (0, samples - len(section)))


@dataclass(frozen=True)
class SampledBatch:
    """Some examples of one iteration: their clips, int16, and the generators that are left for what is random about them:
    `clip_rngs` one a clip, `rngs` one an example."""

    batch: Batch
    clip_rngs: tuple[np.random.Generator, ...]
    rngs: tuple[np.random.Generator, ...]


# (clips, samples) float32, their rate in Hz and labels (clips, classes) -> targets (clips, classes)
Soften = Callable[[np.ndarray, int, torch.Tensor], torch.Tensor]


class BatchStream(ABC):
    """Batches of `batch` examples made of the clips `sounds`. All is a function of (seed, iteration, place)."""

    def __init__(self, sounds: WaveformCache, sampler: Sampler, crop_samples: int, seed: int, batch: int) -> None:
        self.sounds, self.sampler, self.crop_samples = sounds, sampler, crop_samples
        self.seed, self.batch = seed, batch

    @abstractmethod
    def draw(self, iteration: int, share: slice) -> SampledBatch:
        """The examples `share` of iteration `iteration` (from 0) of `batch` examples."""

    def stream(self, start: int, stop: int, shares: Sequence[slice], workers: int) -> Iterator[SampledBatch]:
        """`draw` for iterations `start` .. `stop` and each of `shares` in turn, computed ahead by `workers` threads."""
        jobs = product(range(start, stop), shares)
        return prefetch_map(lambda job: self.draw(*job), jobs, workers, workers + 1)

    def generators(self, use: int, iteration: int, numbers: Iterable[int]) -> tuple[np.random.Generator, ...]:
        """One random generator for each of `numbers`; `use` (5: of clips, 6: of examples) separates their streams."""
        return tuple(np.random.default_rng([self.seed, use, iteration, number]) for number in numbers)


class Batches(BatchStream):
    """Random crops with one-hot (or multi-hot) targets, which `soften` replaces. An example is made of `clips_per_example`
    clips of the stream."""

    def __init__(
        self,
        sounds: WaveformCache,
        classes: int,
        sampler: Sampler,
        crop_samples: int,
        seed: int,
        batch: int,
        clips_per_example: int,
        soften: Soften | None = None,
    ) -> None:
        super().__init__(sounds, sampler, crop_samples, seed, batch)
        self.classes, self.clips_per_example, self.soften = classes, clips_per_example, soften

    def draw(self, iteration: int, share: slice) -> SampledBatch:
        places = range(self.batch)[share]
        slots = [place * self.clips_per_example + k for place in places for k in range(self.clips_per_example)]
        clip_rngs, rngs = self.generators(5, iteration, slots), self.generators(6, iteration, places)
        crops = np.empty((len(slots), self.crop_samples), np.int16)
        target = torch.zeros(len(slots), self.classes)
        start = iteration * self.batch * self.clips_per_example
        for row, (slot, rng) in enumerate(zip(slots, clip_rngs, strict=True)):
            index, waveform = self.sounds.next_decodable(self.sampler(start + slot))
            crops[row] = crop(waveform, self.crop_samples, rng)
            target[row, list(self.sounds.examples[index].targets)] = 1
        if self.soften:
            target = self.soften(crops.astype(np.float32) / reader.FULL_SCALE, self.sounds.rate, target)
        return SampledBatch(Batch(torch.from_numpy(crops), target), clip_rngs, rngs)
