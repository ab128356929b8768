"""Sound of any length in blocks: the numbers of one pass, in bounded memory."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from eranntag.audio import reader
from eranntag.engines.eager import Eager, geometry
from eranntag.errors import AudioError, EranntagError
from eranntag.features import _logmel_numpy as logmel
from eranntag.inference import streaming
from eranntag.inference.network import Network
from eranntag.inference.prepared import LongAudio
from eranntag.inference.streaming import Geometry
from eranntag.inference.tagger import Tagger
from eranntag.models import erann
from eranntag.types import Checkpoint, Clip

RATE = 44100
CONFIG = logmel.Config()


def sound(samples: int, rate: int = RATE, channels: int = 1) -> Clip:
    """Noise that comes and goes, and a tone that rises: no two parts alike."""
    seconds = np.arange(samples) / rate
    noise = np.random.default_rng(0).standard_normal((channels, samples), np.float32)
    tone = 0.2 * np.sin(2 * np.pi * (200 + 40 * seconds) * seconds)
    return Clip((0.1 * (1 + np.sin(seconds)) * noise + tone).astype(np.float32), rate, "sound")


def cut(waveform: np.ndarray, seed: int = 0, most: int = 100_000) -> Iterator[np.ndarray]:
    """(..., samples) in blocks of random lengths."""
    rng, start = np.random.default_rng(seed), 0
    while start < waveform.shape[-1]:
        stop = start + int(rng.integers(1, most))
        yield waveform[..., start:stop]
        start = stop


def tagger_of(checkpoint: Checkpoint, s_m: int, block_frames: int) -> Eager:
    """ERANN-`s_m`-1 that has heard noise, so that its scores are not saturated."""
    checkpoint = dataclasses.replace(checkpoint, model={"s_m": s_m, "width": 1})
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = Network(checkpoint).train()
        for _ in range(5):
            network(0.1 * torch.randn(1, 2 * RATE))
    return in_blocks(Eager(network.eval()), block_frames)


def in_blocks(tagger: Eager, frames: int, **changes: int) -> Eager:
    tagger.geometry = dataclasses.replace(tagger.geometry, block_frames=frames, **changes)
    return tagger


def one_pass(tagger: Tagger, clip: Clip) -> np.ndarray:
    return tagger.scores(tagger.prepare(clip)[None])[0]


def in_pieces(tagger: Tagger, clip: Clip, seed: int = 0) -> np.ndarray:
    """Even of sound that is short enough for one pass."""
    stream = reader.AudioStream(clip.sample_rate, clip.source, cut(clip.waveform, seed))
    return tagger.predict_long(LongAudio(stream)).scores


def assert_same(ours: np.ndarray, expected: np.ndarray) -> None:
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)


# The network in pieces


@pytest.mark.parametrize(
    ("s_m", "seconds", "block_frames"),
    [
        (0, 9.7, 384),
        (1, 11.3, 512),
        *(pytest.param(*long, marks=pytest.mark.slow) for long in ((3, 33.1, 1024), (4, 39.6, 1024))),
    ],
)
def test_blocks_give_the_scores_of_one_pass(s_m: int, seconds: float, block_frames: int, tiny_checkpoint: Checkpoint) -> None:
    tagger, clip = tagger_of(tiny_checkpoint, s_m, block_frames), sound(round(seconds * RATE))
    assert tagger.longest_seconds < seconds
    assert_same(tagger.tag(clip).scores, one_pass(tagger, clip))


@pytest.mark.slow
def test_a_long_clip_of_odd_length(tiny_tagger: Eager) -> None:
    tagger, clip = in_blocks(tiny_tagger, 3072), sound(round(97.3 * RATE) + 1)
    assert_same(in_pieces(tagger, clip), one_pass(tagger, clip))


@pytest.mark.parametrize(
    "samples", [1, 690, 691, 1380, RATE - 1, RATE, 5 * RATE + 1, 9 * RATE, 9 * RATE + 1, 10 * RATE, 12 * 345 * 128]
)
def test_lengths_around_the_borders(samples: int, tiny_tagger: Eager) -> None:
    """Up to 1216 = 256 + 960 frames (9.5 s) are one piece."""
    tagger, clip = in_blocks(tiny_tagger, 256), sound(samples)
    assert tagger.geometry.margin_frames == 960
    np.testing.assert_allclose(in_pieces(tagger, clip, samples), one_pass(tagger, clip), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("rate", "channels"), [(44100, 2), (48000, 1), (22050, 2)])
def test_files_of_other_rates_and_channels(rate: int, channels: int, wav: Callable[..., Path], tiny_tagger: Eager) -> None:
    clip = sound(round(14.321 * rate), rate, channels)
    path = wav("x.wav", clip.waveform.T, rate, subtype="FLOAT")
    tagger = in_blocks(tiny_tagger, 256)
    assert isinstance(tagger.prepare_source(path), LongAudio)
    assert_same(tagger.tag(path).scores, one_pass(tagger, clip))


def test_less_context_than_the_layers_see_would_change_the_scores(tiny_tagger: Eager) -> None:
    clip = sound(20 * RATE)
    expected = one_pass(tiny_tagger, clip)
    assert np.abs(in_pieces(in_blocks(tiny_tagger, 256, context_frames=128), clip) - expected).max() > 1e-4


@pytest.mark.parametrize("s_m", range(5))
def test_context_is_what_the_gradient_of_one_column_reaches(s_m: int) -> None:
    torch.manual_seed(0)
    model = erann.Model(erann.Config(s_m=s_m, width=1), rows=16, classes=2).eval()
    middle = geometry(model).margin_frames // model.frame_multiple
    image = torch.randn(1, 1, 16, (2 * middle + 1) * model.frame_multiple, requires_grad=True)
    model.feature_map(image)[..., middle].square().sum().backward()
    assert image.grad is not None
    reached = image.grad.abs().sum((0, 1, 2)).nonzero().squeeze()
    first, last = middle * model.frame_multiple, (middle + 1) * model.frame_multiple - 1
    reach = max(first - int(reached[0]), int(reached[-1]) - last)
    assert model.context_frames - model.frame_multiple <= reach <= model.context_frames


def test_damage_at_the_end_of_a_long_file_is_told(wav: Callable[..., Path], tiny_tagger: Eager) -> None:
    waveform = sound(20 * RATE).waveform[0]
    path = wav("x.flac", waveform)
    path.write_bytes(path.read_bytes()[:-1000])
    tagger = in_blocks(tiny_tagger, 256)
    with pytest.raises(AudioError, match="damaged"):
        tagger.tag(path)
    waveform[-1] = np.nan
    with pytest.raises(AudioError, match="NaN"):
        tagger.tag(wav("x.wav", waveform, subtype="FLOAT"))


# The steps before it, with a network whose sums are plain

SMALL = [  # hops: as many frames as count, one more than that, many more
    logmel.Config(sample_rate_hz=1600, window_samples=48, hop_samples=hop, n_mels=3, fmax_hz=700.0) for hop in (13, 12, 10)
]
PLAIN = Geometry(frame_multiple=4, context_frames=6, block_frames=40)


def plain(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the rows over the 6 frames before, the 4 of a column and the 6 behind it; zeros beyond the image."""
    padded = np.pad(images[0, 0], ((0, 0), (6, 6)))
    sums = np.lib.stride_tricks.sliding_window_view(padded, 16, axis=1)[:, ::4].sum(-1)[None]
    return sums, -sums


def padded(waveform: np.ndarray, config: logmel.Config, frame_multiple: int = 1) -> np.ndarray:
    return np.pad(waveform, (0, config.padded_samples(len(waveform), frame_multiple) - len(waveform)))


LENGTHS = [1, 23, 24, 25, 1599, 1600, 1601, 3200, 7 * 1600 - 5, 9 * 1600 + 3, 16000]


@pytest.mark.parametrize("config", SMALL, ids=lambda config: f"hop {config.hop_samples}")
@pytest.mark.parametrize("samples", LENGTHS)
def test_any_cut_pools_like_one_pass(config: logmel.Config, samples: int) -> None:
    waveform = sound(samples, 1600).waveform[0]
    image = logmel.compute(padded(waveform, config, 4), config)
    sums = plain(image[None, None])[0]
    for seed, most in [(0, 3), (1, 100), (2, 2000), (3, 10**6)]:
        if most == 3 and samples > 1601:
            continue
        for block_frames in (4, 40, 256):
            lattice = dataclasses.replace(PLAIN, block_frames=block_frames)
            pooled = streaming.pooled(cut(waveform, seed, most), config, partial(logmel.frames, config=config), lattice, plain)
            assert pooled.shape == (1, 3) and pooled.dtype == np.float32
            np.testing.assert_allclose(pooled, sums.mean(-1) - sums.min(-1), rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("config", [CONFIG, *SMALL], ids=lambda config: f"hop {config.hop_samples}")
def test_frames_of_blocks_are_those_of_the_whole(config: logmel.Config) -> None:
    rate = config.sample_rate_hz
    for samples in (rate // 3, rate, 3 * rate + 1, 7 * rate - 1):
        waveform = sound(samples, rate).waveform[0]
        signal = streaming._Signal(cut(waveform, samples), config, 1)
        image = np.concatenate(list(streaming._images(signal, config, partial(logmel.frames, config=config))), 1)
        assert signal.samples == samples
        np.testing.assert_allclose(image, logmel.compute(padded(waveform, config), config), rtol=0, atol=1e-4)


def test_every_column_is_counted_once_and_no_piece_is_tiny() -> None:
    for length in range(8, 400, 4):
        images = cut(np.arange(length, dtype=np.float32)[None], length, 50)
        pieces = list(streaming._pieces(images, PLAIN))
        own = [piece.image[0, 0, 0, piece.first : piece.first + piece.own] for piece in pieces]
        assert np.array_equal(np.concatenate(own), np.arange(length))
        for piece in pieces:
            assert piece.image.flags.c_contiguous and piece.image.shape[3] <= 40 + 2 * 8
            before, behind = piece.first, piece.image.shape[3] - piece.first - piece.own
            assert before == 8 or (piece is pieces[0] and before == 0)
            assert behind == 8 or (piece is pieces[-1] and behind == 0)
        assert all(piece.own == 40 for piece in pieces[:-1]) and pieces[-1].own >= min(8, length)


def test_little_is_read_ahead_of_the_network() -> None:
    """Two pieces wait or are computed while a third is read, whatever the length."""
    config = SMALL[0]
    block, given, done, most = PLAIN.block_frames * config.hop_samples, 0, 0, 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal given, most
        for part in cut(sound(100 * 1600, 1600).waveform[0], most=100):
            given += len(part)
            most = max(most, given - done)
            yield part

    def columns(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal done
        result = plain(images)
        done += block
        return result

    streaming.pooled(blocks(), config, partial(logmel.frames, config=config), PLAIN, columns)
    margin = PLAIN.margin_frames * config.hop_samples
    kept = 1600 + config.window_samples + 100  # the end that may have to be reflected or cut off, and a block
    assert done > 50 * block and most <= 3 * block + margin + 2 * kept


def test_a_network_that_fails_stops_the_reading() -> None:
    given = []

    def blocks() -> Iterator[np.ndarray]:
        for part in cut(sound(100 * 1600, 1600).waveform[0], most=1000):
            given.append(len(part))
            yield part

    def columns(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise MemoryError("no more")

    with pytest.raises(MemoryError, match="no more"):
        streaming.pooled(blocks(), SMALL[0], partial(logmel.frames, config=SMALL[0]), PLAIN, columns)
    assert sum(given) < 10 * 1600


def test_a_file_is_read_while_it_is_computed(tmp_path: Path, tiny_tagger: Eager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long file only its beginning is read when it is heard."""
    path, read = tmp_path / "x.wav", []
    soundfile.write(path, sound(30 * RATE).waveform[0], RATE)
    original = soundfile.SoundFile.read

    def counted(*arguments: object, **options: object) -> np.ndarray:
        block = original(*arguments, **options)
        read.append(len(block))
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    tagger = in_blocks(tiny_tagger, 1024)
    heard = tagger.prepare_source(path)
    assert isinstance(heard, LongAudio) and sum(read) < 16 * RATE
    assert tagger.predict_long(heard).seconds == 30 and sum(read) == 30 * RATE


def test_the_duration_of_a_long_sound_is_that_of_its_file(wav: Callable[..., Path], tiny_tagger: Eager) -> None:
    path = wav("x.wav", sound(20 * 8000 + 1).waveform[0][: 20 * 8000 + 1], 8000)
    prediction = in_blocks(tiny_tagger, 1024).tag(path)
    assert prediction.seconds == reader.read(path).seconds == 20 + 1 / 8000


def test_a_long_sound_whose_logits_are_not_finite_has_no_scores(
    wav: Callable[..., Path], tiny_tagger: Eager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_tagger, "classify", lambda pooled: np.full((1, 4), np.inf, np.float32))
    with pytest.raises(EranntagError, match="not finite in float32"):
        in_blocks(tiny_tagger, 1024).tag(wav("x.wav", sound(20 * RATE).waveform[0], RATE))
