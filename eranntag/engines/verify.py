"""Whether a faster form is as good as float32: its probabilities are compared with the reference's on built-in sounds."""

import numpy as np

from eranntag.inference.tagger import Tagger
from eranntag.types import Clip

SECONDS = 2
LIMITS = {"float32": 1e-3, "bfloat16": 0.02, "float16": 0.02}  # of a probability


def signals(rate_hz: int) -> tuple[Clip, ...]:
    """Silence, noise, a tone, clicks, and a chirp in noise that swells: what stresses a network's numbers differently."""
    t = np.arange(SECONDS * rate_hz) / rate_hz
    noise = np.random.default_rng(0).standard_normal(len(t))
    sounds = {
        "silence": np.zeros(len(t)),
        "noise": 0.1 * noise,
        "tone": 0.5 * np.sin(2 * np.pi * 1000 * t) + 0.001 * noise,  # alone, all but one band would be rounding
        "clicks": np.where(np.arange(len(t)) % (rate_hz // 8) == 0, 0.9, 0.0),
        "chirp": 0.4 * np.sin(2 * np.pi * (100 + 1500 * t) * t) + 0.05 * t * noise,
    }
    return tuple(Clip(sound[None].astype(np.float32), rate_hz, name) for name, sound in sounds.items())


def scores(tagger: Tagger) -> np.ndarray:
    """The scores of the built-in sounds: (sounds, classes)."""
    return np.concatenate([tagger.scores(tagger.prepare(clip)[None]) for clip in signals(tagger.sample_rate_hz)])


def difference(tagger: Tagger, reference: np.ndarray) -> float:
    """The largest difference from the reference's `scores`; infinite where a score is not finite."""
    found = scores(tagger)
    return float(np.abs(found - reference).max()) if np.isfinite(found).all() else float("inf")


def describe(difference: float) -> str:
    """The difference in words, for notes and errors."""
    return f"probabilities of built-in sounds within {difference:.4f} of float32's"
