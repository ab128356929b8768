"""Knowledge distillation: a student learns from the scores and the embedding of a teacher that gets the very same waveforms.

Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022; Schmid et al., ICASSP 2023 (binary
cross-entropy with the teacher's probabilities). The sound needs no labels: the teacher's probabilities are the whole target.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from eranntag.audio import reader
from eranntag.inference.ensemble import Ensemble
from eranntag.inference.tagger import Tagger
from eranntag.training.agreement import ZeroShot
from eranntag.training.data import BatchStream, SampledBatch, WaveformCache
from eranntag.training.samplers import Sampler
from eranntag.training.soundscapes import PLAN, Plan, soundscape
from eranntag.types import Batch, Clip, Output

CROPS = 3  # of a soundscape at most: so many positions of the sampler's stream belong to an example


@dataclass(frozen=True)
class Teacher:
    """Labels waveforms with the scores of `tagger`, and with its embeddings if the student learns these (`embeds`)."""

    tagger: Tagger
    embeds: bool

    def __call__(self, waveforms: np.ndarray, sample_rate_hz: int) -> tuple[Tensor, Tensor | None]:
        """(batch, samples) float32 -> probabilities (batch, classes) and embeddings (batch, size), or None without them."""
        prepared = np.stack([self.tagger.prepare(Clip(waveform[None], sample_rate_hz)) for waveform in waveforms])
        if not self.embeds:
            return torch.from_numpy(self.tagger.scores(prepared)), None
        scores, embeddings = self.tagger.scores_and_embeddings(prepared)
        return torch.from_numpy(scores), torch.from_numpy(embeddings)


class Soundscapes(BatchStream):
    """Batches of soundscapes of the clips `sounds`, labeled by `teacher`."""

    def __init__(
        self, sounds: WaveformCache, teacher: Teacher, sampler: Sampler, crop_samples: int, seed: int, batch: int, plan: Plan
    ) -> None:
        super().__init__(sounds, sampler, crop_samples, seed, batch)
        self.teacher, self.plan = teacher, plan

    def draw(self, iteration: int, share: slice) -> SampledBatch:
        places = range(self.batch)[share]
        crops = np.stack([self._waveform(iteration, place) for place in places])  # (batch, samples) int16
        target, embedding = self.teacher(crops.astype(np.float32) / reader.FULL_SCALE, self.sounds.rate)
        clip_rngs, rngs = self.generators(5, iteration, places), self.generators(6, iteration, places)
        return SampledBatch(Batch(torch.from_numpy(crops), target, embedding), clip_rngs, rngs)

    def _waveform(self, iteration: int, place: int) -> np.ndarray:
        """(samples,) int16"""
        first = (iteration * self.batch + place) * CROPS

        def clip(rng: np.random.Generator, number: int) -> np.ndarray:
            index = self.sampler(first + number) if number < CROPS else int(rng.integers(len(self.sounds)))
            return self.sounds.next_decodable(index)[1]

        rng = np.random.default_rng([self.seed, 9, iteration, place])
        return reader.to_int16(soundscape(clip, self.crop_samples, self.sounds.rate, rng, self.plan))


@dataclass(frozen=True)
class Lesson:
    """What a run of distillation has beside its clips: the teacher, how soundscapes are made, and what is measured."""

    teacher: Teacher
    plan: Plan = PLAN
    zero_shot: ZeroShot | None = None

    def batches(self, sounds: WaveformCache, sampler: Sampler, crop_samples: int, seed: int, batch: int) -> Soundscapes:
        """The batches of a run, each example a soundscape of `crop_samples` samples."""
        return Soundscapes(sounds, self.teacher, sampler, crop_samples, seed, batch, self.plan)


class Student(nn.Module):
    """What is trained: a model, and a projection of its embedding to the teacher's, which is dropped at the end."""

    def __init__(self, model: nn.Module, embedding_size: int, teacher_size: int) -> None:
        super().__init__()
        self.model = model
        self.projection = nn.Linear(embedding_size, teacher_size)

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Output:
        output: Output = self.model(image, mask)
        return replace(output, embedding=self.projection(output.embedding))


def embedding_distance(projected: Tensor, embedding: Tensor) -> Tensor:
    """(batch, size) each -> the mean of 1 - cosine."""
    return 1 - nn.functional.cosine_similarity(projected.float(), embedding, dim=1).mean()


def joined(taggers: Sequence[Tagger], names: Sequence[str]) -> Tagger:
    """One teacher, or the plain average of several that have the same classes."""
    if len(taggers) == 1:
        return taggers[0]
    return Ensemble(" and ".join(os.path.basename(name) for name in names), taggers)
