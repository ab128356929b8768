"""Augmentation of waveforms, each clip with numbers of its own: speed, pitch, white noise (RANN's slides) and bandwidth.

Each takes `waveform` (batch, samples) on any device, one generator per clip, the sample rate and the values of
`options.NAMES`; the length stays, and so does every bit of a clip that is not chosen.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

PROBABILITY = 0.5  # that a clip is perturbed, but for `speed`
OVERSAMPLING = 2  # of the stretched clip, so that reading between its samples costs little treble

Generators = Sequence[np.random.Generator]


def speed(waveform: Tensor, rngs: Generators, sample_rate_hz: int, factor: float) -> Tensor:
    """Read factor^u times as fast, u uniform in -1 .. 1; zeros follow a clip that ends early (BC's random_scale)."""
    factors = [factor ** rng.uniform(-1, 1) for rng in rngs]
    return resample_linearly(waveform, factors, waveform.shape[1])


def pitch_shift(waveform: Tensor, rngs: Generators, sample_rate_hz: int, semitones: float) -> Tensor:
    """Half of the clips by a number of semitones uniform in -semitones .. semitones."""
    n_fft = 2048 if sample_rate_hz >= 32000 else 1024
    chosen = [index for index, rng in enumerate(rngs) if rng.random() < PROBABILITY]
    rates = [2 ** (rngs[index].uniform(-semitones, semitones) / 12) for index in chosen]
    return _replaced(waveform, chosen, lambda clips: shift_pitch(clips, rates, n_fft))


def noise(waveform: Tensor, rngs: Generators, sample_rate_hz: int, lowest_db: float, highest_db: float) -> Tensor:
    """White Gaussian noise in half of the clips, at a ratio to the whole clip's power uniform in lowest .. highest dB.

    It is drawn on the CPU so that it is the same on every device. Silence stays silent.
    """
    chosen = [index for index, rng in enumerate(rngs) if rng.random() < PROBABILITY]
    snr_db = [rngs[index].uniform(lowest_db, highest_db) for index in chosen]
    drawn = [rngs[index].standard_normal(waveform.shape[1], dtype=np.float32) for index in chosen]

    def add(clips: Tensor) -> Tensor:
        amplitude = clips.square().mean(1, keepdim=True).sqrt() * _column([10 ** (-snr / 20) for snr in snr_db], clips)
        return clips + amplitude * torch.from_numpy(np.stack(drawn)).to(clips)

    return _replaced(waveform, chosen, add)


def band_limit(waveform: Tensor, rngs: Generators, sample_rate_hz: int, lowest_hz: float, highest_hz: float) -> Tensor:
    """Half of the clips without anything from a cut-off on that is log-uniform in lowest .. highest Hz.

    Not from the papers: telephones and recorders of 8 and 16 kHz leave the upper rows of the image at their floor.
    """
    chosen = [index for index, rng in enumerate(rngs) if rng.random() < PROBABILITY]
    cutoffs = [lowest_hz * (highest_hz / lowest_hz) ** rngs[index].random() for index in chosen]
    return _replaced(waveform, chosen, lambda clips: low_pass(clips, [hz / sample_rate_hz for hz in cutoffs]))


PERTURBATIONS: dict[str, Callable[..., Tensor]] = {
    "speed": speed,
    "pitch-shift": pitch_shift,
    "noise": noise,
    "band-limit": band_limit,
}


def low_pass(waveform: Tensor, cutoffs: Sequence[float]) -> Tensor:
    """Remove what is at or above each clip's cut-off (in cycles per sample): a brick wall in the clip's whole spectrum."""
    samples = waveform.shape[1]
    spectrum = torch.fft.rfft(waveform)
    bins = torch.arange(spectrum.shape[1], device=waveform.device)
    limited: Tensor = torch.fft.irfft(spectrum * (bins < _column(cutoffs, waveform) * samples), samples)
    return limited


def resample_linearly(waveform: Tensor, steps: Sequence[float], samples: int) -> Tensor:
    """Clip b at the positions 0, s_b, 2 s_b, ...: (batch, n) -> (batch, samples), linear between neighbors, zero beyond.

    Positions are 32.32 fixed-point numbers: exact on every device, where float32 runs out of digits after seconds.
    """
    device, one = waveform.device, 1 << 32
    step = torch.tensor([[round(step * one)] for step in steps], device=device)
    position = torch.arange(samples, device=device) * step  # (batch, samples)
    index = (position >> 32).clamp(max=waveform.shape[1])
    fraction = (position & (one - 1)).to(waveform.dtype) / one
    padded = torch.nn.functional.pad(waveform, (0, 2))
    return torch.lerp(padded.gather(1, index), padded[:, 1:].gather(1, index), fraction)


def shift_pitch(waveform: Tensor, rates: Sequence[float], n_fft: int) -> Tensor:
    """Multiply every frequency of clip b by rates[b]: stretched by a phase vocoder, then read faster by as much.

    Frames are `n_fft` samples with three quarters overlap.
    """
    samples = waveform.shape[1]
    stretched = overlap_add(stretched_frames(waveform, rates, n_fft), n_fft)
    return resample_linearly(stretched, [OVERSAMPLING * rate for rate in rates], samples)


def stretched_frames(waveform: Tensor, rates: Sequence[float], n_fft: int) -> Tensor:
    """Spectra of the clips slowed down by `rates`, one each n_fft / 4 samples: (batch, frames, bins), complex.

    Bins that reading at `rates` would alias are dropped.
    """
    samples, hop, device = waveform.shape[1], n_fft // 4, waveform.device
    frames = 4 + int(samples * max(rates)) // hop  # up to those that reach back over the end: the end needs them all
    at = torch.arange(frames, dtype=torch.float64) * hop / torch.tensor(rates, dtype=torch.float64)[:, None]
    starts = at.round().long()  # (batch, frames): where the span before each frame starts in the padded clip
    end = int(starts.max()) + hop + n_fft
    padded = torch.nn.functional.pad(waveform, (n_fft // 2 + hop, max(0, end - samples))).unfold(1, n_fft, 1)
    window = torch.hann_window(n_fft, device=device)
    clip, starts = torch.arange(len(waveform), device=device)[:, None], starts.to(device)
    before, now = (torch.fft.rfft(padded[clip, starts + offset] * window) for offset in (0, hop))
    bins = torch.arange(n_fft // 2 + 1, device=device)
    kept = (bins < n_fft / 2 / _column(rates, waveform)).to(waveform)[:, None]  # (batch, 1, bins)
    turn = joining_turns(before, now)
    turned: Tensor = now * torch.polar(kept.expand_as(turn), turn)
    return turned


def joining_turns(before: Tensor, now: Tensor) -> Tensor:
    """The phase rotations of `now`, frame by frame, that continue the partials: (batch, frames, bins) in radians.

    `before` are the spectra of the same clip one hop before `now`: what their phases differ by from the last frame's is what
    must be made up for (Puckette, "Phase-locked vocoder", 1995: nothing to unwrap). Every bin turns with the strongest bin
    within two of it, and continues its phase: partials stay in one piece and may wander from bin to bin (Laroche
    and Dolson, "Improved phase vocoder time-scale modification of audio", 1999: identity phase locking).
    """
    joint = (now[:, :-1] * before[:, 1:].conj()).angle()
    strongest = torch.nn.functional.max_pool1d(now.abs(), 5, 1, 2, return_indices=True)[1]
    turns = [torch.zeros_like(joint[:, 0])]
    for frame in range(1, now.shape[1]):
        turns.append((turns[-1] + joint[:, frame - 1]).gather(1, strongest[:, frame]))
    return torch.stack(turns, 1)


def overlap_add(spectrum: Tensor, n_fft: int) -> Tensor:
    """(batch, frames, bins) with a hop of n_fft / 4 -> (batch, samples) at OVERSAMPLING times the rate.

    The first frame is centered on the first sample.
    """
    batch, frames = spectrum.shape[:2]
    size = n_fft * OVERSAMPLING
    window = torch.hann_window(size, device=spectrum.device)
    parts: Tensor = (torch.fft.irfft(spectrum, size) * (window * OVERSAMPLING)).view(batch, frames, 4, size // 4)
    weights = window.square().view(4, size // 4)
    total, weight = parts.new_zeros(batch, frames + 3, size // 4), parts.new_zeros(frames + 3, size // 4)
    for part in range(4):
        total[:, part : part + frames] += parts[:, :, part]
        weight[part : part + frames] += weights[part]
    return (total / weight.clamp(min=1.0)).flatten(1)[:, size // 2 :]  # 1.5 between the ends, at least 1.25 in the clip


def _replaced(waveform: Tensor, chosen: Sequence[int], change: Callable[[Tensor], Tensor]) -> Tensor:
    """`waveform` with the clips at `chosen` changed."""
    if not chosen:
        return waveform
    index = torch.tensor(chosen, device=waveform.device)
    return waveform.index_copy(0, index, change(waveform[index]))


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    """(batch, 1) with the dtype and on the device of `like`."""
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]
