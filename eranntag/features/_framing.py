"""Framing and checks that the Configs of front-ends have in common. No torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Framing:
    """ERANN v2 (arXiv:2106.01621v2), Section 3.1 and eq. (1): 44.1 kHz, hop 345, 128 frames a second.

    Frame i is centred on sample i * hop_samples. Every clip is padded with zeros to whole seconds, `min_seconds` or more.
    Without `whole_seconds` the last frame stays, centred on the end, as in PANNs: 1001 frames of 10 s.
    """

    sample_rate_hz: int = 44100
    hop_samples: int = 345
    frames_per_second: int = 128
    min_seconds: int = 1
    whole_seconds: bool = True

    def padded_samples(self, samples: int, frame_multiple: int = 1) -> int:
        """Length after zero padding: whole seconds, then as much as 128 frames a second need (eq. 1).

        T_0 = floor(n / 345) + 1 frames is 128 t up to t = 5 s; longer clips get 60 t - 345 samples more. Seconds are
        added until `frame_multiple` divides T_0.
        """
        seconds = max(self.min_seconds, -(-samples // self.sample_rate_hz))
        while seconds * self.frames_per_second % frame_multiple:
            seconds += 1
        frames = seconds * self.frames_per_second
        return max(seconds * self.sample_rate_hz, self.hop_samples * (frames - 1))

    def frames(self, padded: int) -> int:
        """Frames of a padded signal: centred framing gives floor(n / hop) + 1, cut to whole 128 a second."""
        frames = padded // self.hop_samples + 1
        return frames - frames % self.frames_per_second if self.whole_seconds else frames


def require_band(fmin_hz: float, fmax_hz: float, sample_rate_hz: int, filters: str = "mel bands") -> None:
    """Raise ValueError for a filter bank's band that is empty or reaches beyond half the sample rate."""
    if not 0 <= fmin_hz < fmax_hz <= sample_rate_hz / 2:
        raise ValueError(f"{filters} from {fmin_hz} to {fmax_hz} Hz do not fit {sample_rate_hz} Hz")


PADDING_IN_WORDS = (
    "Mono sound at sample_rate_hz, in [-1, 1]. Zeros at the end up to the smallest number S of whole seconds, "
    "min_seconds or more, for which frame_multiple divides S * frames_per_second; then up to "
    "hop_samples * (S * frames_per_second - 1) samples where that is more. "
)
FRAMING_IN_WORDS = PADDING_IN_WORDS + (
    "Half a window mirrored at both ends, without repeating the edge. S * frames_per_second frames, and one more unless "
    "whole_seconds, one every hop_samples: "
)
