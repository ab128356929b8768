"""Samplers, crops and batches: every one a function of (seed, position)."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eranntag.errors import DataError
from eranntag.training.data import Batches, WaveformCache, crop
from eranntag.training.samplers import SAMPLERS, Balanced, Sampler, Shuffled, Weighted, weights
from eranntag.types import Example

WHOLE = slice(None)


def drawn(sampler: Sampler, count: int, start: int = 0) -> np.ndarray:
    return np.array([sampler(position) for position in range(start, start + count)])


def multi_label(oracle: Callable[[str], Any]) -> list[tuple[int, ...]]:
    return [tuple(np.flatnonzero(row)) for row in oracle("balanced_sampling")["labels"]]


# Samplers


def test_each_epoch_draws_every_clip_once_and_in_another_order() -> None:
    stream = drawn(Shuffled([(0,)] * 50, seed=3), 200).reshape(4, 50)
    assert (np.sort(stream, axis=1) == np.arange(50)).all()
    assert len({tuple(epoch) for epoch in stream}) == 4
    assert not np.array_equal(stream[0], drawn(Shuffled([(0,)] * 50, seed=4), 50))


@pytest.mark.parametrize("name", SAMPLERS)
def test_drawing_may_start_anywhere(name: str) -> None:
    targets = [(0,), (1,), (0, 2), (2,), (0,), (0,), (1,)]
    stream = drawn(SAMPLERS[name](targets, 3), 100)
    for start in range(0, 93, 5):
        assert np.array_equal(drawn(SAMPLERS[name](targets, 3), 7, start), stream[start : start + 7])
    assert not np.array_equal(stream, drawn(SAMPLERS[name](targets, 4), 100))


def test_the_class_queue_is_the_oracles(oracle: Callable[[str], Any]) -> None:
    """With the oracle's fixed orders instead of random ones: of the classes lap by lap, and clips in their order."""
    expected = oracle("balanced_sampling")["panns_queue"]
    laps = [[label for label in order if label != 4] for order in expected["class_orders"]]  # class 4 has no clip

    def order(size: int, seed: int, what: int, *key: int) -> np.ndarray:
        return np.array(laps[key[0] % len(laps)]) if what == 2 else np.arange(size)

    sampler = Balanced(multi_label(oracle), 0, order)
    samples = [sample for _, sample in expected["draws_class_and_sample"]]
    assert drawn(sampler, len(samples)).tolist() == samples
    assert drawn(sampler, 20).reshape(5, 4).tolist() == expected["batches_of_4"]


def test_the_class_queue_shows_classes_equally_often_and_all_their_clips() -> None:
    targets = [(0,)] * 97 + [(1,), (1,), (2,)] + [()]
    counts = Counter(drawn(Balanced(targets, 0), 3 * 97).tolist())
    assert sum(counts[index] for index in range(97)) == counts[99] == counts[97] + counts[98] == 97
    assert {counts[index] for index in range(97)} == {1} and abs(counts[97] - counts[98]) <= 1
    assert counts[100] == 0


def test_the_class_queue_shuffles_a_class_again_once_all_its_clips_were_drawn() -> None:
    laps = drawn(Balanced([(0,)] * 20, seed=3), 60).reshape(3, 20)
    assert (np.sort(laps, axis=1) == np.arange(20)).all()
    assert len({tuple(lap) for lap in laps}) == 3


def test_weights_are_the_oracles(oracle: Callable[[str], Any]) -> None:
    np.testing.assert_allclose(weights(multi_label(oracle)), oracle("balanced_sampling")["psla_weight"], rtol=1e-12)


def test_weighted_draws_have_the_oracles_frequencies(oracle: Callable[[str], Any]) -> None:
    probability = np.array(oracle("balanced_sampling")["psla_probability"])
    draws = 20_000
    counts = np.bincount(drawn(Weighted(multi_label(oracle), 1), draws), minlength=10)
    spread = np.sqrt(draws * probability * (1 - probability))
    assert (np.abs(counts - draws * probability) <= 4 * spread).all() and counts[8] == 0


# Crops and batches


def test_crops_are_sections_of_the_clip_at_every_offset() -> None:
    rng, clip = np.random.default_rng(0), np.arange(13)
    starts: list[int] = []
    for _ in range(500):
        section = crop(clip, 9, rng)
        assert section.tolist() == list(range(section[0], section[0] + 9))
        starts.append(int(section[0]))
    assert set(starts) == {0, 1, 2, 3, 4}
    assert np.bincount(starts).min() > 60  # of 100 each


def test_a_short_clip_gets_zeros_at_its_end_and_costs_one_draw_too() -> None:
    rng, same = np.random.default_rng(0), np.random.default_rng(0)
    assert crop(np.array([1, 2, 3], np.int16), 5, rng).tolist() == [1, 2, 3, 0, 0]
    assert crop(np.array([1, 2, 3], np.int16), 3, rng).tolist() == [1, 2, 3]
    same.random(2)
    assert rng.random() == same.random()


class Memory(WaveformCache):
    """Clips that need no file."""

    def __init__(self, waveforms: list[np.ndarray], examples: list[Example]) -> None:
        super().__init__(examples, 44100)
        self.kept = dict(enumerate(waveforms))


def batches(seed: int = 0, clips_per_example: int = 1) -> Batches:
    """Ten clips; clip i is i + 1 everywhere, and its class is i % 4, but clip 9 has two classes."""
    waveforms = [np.full(30 + 5 * i, i + 1, np.int16) for i in range(10)]
    examples = [Example(str(i), (i % 4,)) for i in range(9)] + [Example("9", (0, 3))]
    sampler = Shuffled([example.targets for example in examples], seed)
    return Batches(Memory(waveforms, examples), 4, sampler, 30, seed, 4, clips_per_example)


def test_a_batch_keeps_clips_and_targets_together() -> None:
    seen = []
    for iteration in range(5):
        batch = batches().draw(iteration, WHOLE).batch
        assert batch.waveform.shape == (4, 30) and batch.waveform.dtype == torch.int16
        for waveform, target in zip(batch.waveform, batch.target, strict=True):
            clip = waveform[0].item() - 1
            assert waveform.unique().numel() == 1
            assert target.nonzero()[:, 0].tolist() == ([0, 3] if clip == 9 else [clip % 4])
            assert target.max() == 1
            seen.append(clip)
    assert sorted(seen) == sorted([*range(10), *range(10)])


def test_a_share_of_a_batch_is_that_part_of_it() -> None:
    """Clips, crops, and what the generators give next: two processes draw what one would."""
    whole = batches(1, 2).draw(3, WHOLE)
    for share in (slice(0, 2), slice(2, 4), slice(1, 2)):
        part = batches(1, 2).draw(3, share)
        clips = slice(2 * share.start, 2 * share.stop)
        assert torch.equal(part.batch.waveform, whole.batch.waveform[clips])
        assert torch.equal(part.batch.target, whole.batch.target[clips])
        assert len(part.clip_rngs) == 2 * len(part.rngs) == len(part.batch.waveform)
        again = batches(1, 2).draw(3, WHOLE)
        assert [rng.random() for rng in part.clip_rngs] == [rng.random() for rng in again.clip_rngs[clips]]
        assert [rng.random() for rng in part.rngs] == [rng.random() for rng in again.rngs[share]]


def test_batches_are_a_function_of_seed_and_iteration() -> None:
    expected = [batches(1).draw(iteration, WHOLE).batch for iteration in range(4)]
    other = batches(1)
    for iteration in (3, 1):  # in any order
        assert torch.equal(other.draw(iteration, WHOLE).batch.waveform, expected[iteration].waveform)
    assert not torch.equal(batches(2).draw(0, WHOLE).batch.waveform, expected[0].waveform)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_stream_is_the_draws_in_order(workers: int) -> None:
    shares = [slice(0, 2), slice(2, 4)]
    expected = [batches().draw(iteration, share).batch.waveform for iteration in range(2, 7) for share in shares]
    streamed = [part.batch.waveform for part in batches().stream(2, 7, shares, workers)]
    assert len(streamed) == len(expected) and all(map(torch.equal, streamed, expected))
    assert list(batches().stream(7, 7, shares, workers)) == []


# WaveformCache


@pytest.fixture
def examples(wav: Callable[..., Path]) -> list[Example]:
    levels = [0.0, 0.25, -0.5, 1.5, -1.5]
    return [Example(str(wav(f"{i}.wav", np.full((100, 2), v), 8000, subtype="FLOAT")), (0,)) for i, v in enumerate(levels)]


def test_clips_are_decoded_to_16_bits(examples: list[Example]) -> None:
    sounds = WaveformCache(examples, 8000)
    waveforms = [sounds.get(index) for index in range(5)]
    assert all(waveform is not None and waveform.dtype == np.int16 and len(waveform) == 100 for waveform in waveforms)
    assert [set(waveform.tolist()) for waveform in waveforms if waveform is not None] == [
        {0}, {8192}, {-16384}, {32767}, {-32768},
    ]  # fmt: skip


def test_clips_are_kept_while_there_is_room(examples: list[Example]) -> None:
    sounds = WaveformCache(examples, 8000, keep_bytes=450)  # two clips of 200 bytes
    first = sounds.get(0)
    assert first is sounds.get(0)
    for index in range(5):
        sounds.get(index)
    assert sorted(sounds.kept) == [0, 1]
    Path(str(examples[0].path)).unlink()
    assert sounds.get(0) is first


def test_a_broken_clip_is_told_once_and_the_next_one_stands_in(examples: list[Example]) -> None:
    told: list[tuple[str, str]] = []
    for index in (1, 2):
        Path(str(examples[index].path)).write_text("no sound")
    sounds = WaveformCache(examples, 8000, broken=lambda *what: told.append(what))
    for _ in range(2):
        index, samples = sounds.next_decodable(1)
        assert index == 3 and set(samples.tolist()) == {32767}
    assert sounds.get(2) is None
    assert [source for source, _ in told] == [examples[1].path, examples[2].path]
    assert all(reason.startswith("not a readable audio file") for _, reason in told)


def test_a_data_set_of_broken_clips_is_an_error(examples: list[Example]) -> None:
    for example in examples:
        Path(str(example.path)).unlink()
    with pytest.raises(DataError, match=r"none of the 5 clips can be decoded.*0\.wav"):
        WaveformCache(examples, 8000).next_decodable(3)
