"""Write docs/sample.wav: a synthetic alarm clock, three seconds, so that no recorded sound need be in the repository.

python docs/make_sample.py
"""

from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 44100


def alarm(seconds: float = 3.0) -> np.ndarray:
    """Groups of four short 2048 Hz beeps a second, as a digital alarm clock has them: (samples,) in [-1, 1]."""
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tone = np.sin(2 * np.pi * 2048 * time) + 0.3 * np.sin(2 * np.pi * 3 * 2048 * time)  # a piezo's odd harmonics
    within = time % 1.0
    beeping = (within < 0.5) & (within % 0.125 < 0.07)
    noise = np.random.default_rng(0).normal(0, 0.001, len(time))
    return 0.3 * tone * beeping + noise


if __name__ == "__main__":
    soundfile.write(Path(__file__).with_name("sample.wav"), alarm(), RATE_HZ, subtype="PCM_16")
