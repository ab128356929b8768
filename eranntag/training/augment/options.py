"""The names, values and limits of the augmentations, without torch: for help texts, and to refuse early.

The papers name them, but for `band-limit`, and print no values. The stripes are those of PANNs (Cnn14_mel128) and PSLA,
the speed that of between-class learning.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from eranntag.errors import UsageError
from eranntag.registry import did_you_mean


@dataclass(frozen=True)
class Augmentation:
    """`default` shows the form of what may follow NAME=: one number, or two with `between`. They lie in lowest .. highest."""

    default: str
    between: str
    lowest: float
    highest: float
    meaning: str


NAMES = {  # in the order in which they are applied, whatever the order on the command line
    "speed": Augmentation("1.25", "", 1.01, 4, "read FACTOR^u times as fast, u uniform in -1 .. 1"),
    "pitch-shift": Augmentation("2", "", 0.01, 12, "half of the clips by up to so many SEMITONES up or down"),
    "noise": Augmentation("15-40", "-", 0, 120, "white noise in half of the clips, at a signal-to-noise ratio in dB"),
    "band-limit": Augmentation("4000-16000", "-", 100, 1e6, "nothing above a cut-off in Hz, in half of the examples"),
    "spec-augment": Augmentation("64x16", "x", 1, 1e6, "two time and two frequency stripes below TIMExROWS (of 128)"),
    "time-frequency-mask": Augmentation("192x48", "x", 1, 1e6, "one time and one frequency stripe below TIMExROWS (of 128)"),
}

MIXUPS = {  # Table 3 of ERANN v2; labels are mixed r : 1 - r in all of them
    "none": "every clip by itself",
    "standard": "waveforms, r : 1 - r",
    "modified": "waveforms, so that they sound as loud as r : 1 - r",
    "log-mel": "images, so that they sound as loud as r : 1 - r",
}


def parse(names: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """("noise", "pitch-shift=3") -> {"pitch-shift": (3.0,), "noise": (15.0, 40.0)}, in the order of NAMES.

    Raises UsageError for names that are unknown or come twice and for impossible values.
    """
    parsed = {}
    for entry in names:
        name, given, value = entry.partition("=")
        if name not in NAMES:
            raise UsageError(f"no {name!r} among the augmentations ({', '.join(NAMES)}){did_you_mean(name, NAMES)}")
        if name in parsed:
            raise UsageError(f"the augmentation {name} is named twice; once is enough")
        parsed[name] = _numbers(entry, NAMES[name], value if given else NAMES[name].default)
    return {name: parsed[name] for name in NAMES if name in parsed}


def check_mixup(mixup: str, alpha: float) -> None:
    """UsageError for an unknown variant, and unless Beta(alpha, alpha) exists."""
    if mixup not in MIXUPS:
        raise UsageError(f"no {mixup!r} among the kinds of mixup ({', '.join(MIXUPS)}){did_you_mean(mixup, MIXUPS)}")
    if not 0 < alpha < float("inf"):
        raise UsageError(f"mixup's alpha must be above 0, not {alpha:g}")


def _numbers(entry: str, augmentation: Augmentation, value: str) -> tuple[float, ...]:
    name = entry.partition("=")[0]
    number = r"(\d+)" if augmentation.between == "x" else r"(\d+(?:\.\d+)?)"  # stripes are whole frames and rows
    matched = re.fullmatch(augmentation.between.join([number] * (2 if augmentation.between else 1)), value)
    if not matched:
        raise UsageError(f"{entry}: its value has a form like {name}={augmentation.default}: {augmentation.meaning}")
    numbers = tuple(map(float, matched.groups()))
    lowest, highest = augmentation.lowest, augmentation.highest
    if not all(lowest <= number <= highest for number in numbers):
        raise UsageError(f"{entry}: values go from {lowest:g} to {highest:g}")
    if augmentation.between == "-" and numbers[0] > numbers[1]:
        raise UsageError(f"{entry}: the lower value comes first")
    return numbers
