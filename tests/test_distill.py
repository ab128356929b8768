"""Distillation: soundscapes, a teacher that gets the same waveform, and a student that can be stopped at any moment."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
import torch
from safetensors.torch import load_file

from eranntag import recipes
from eranntag.audio import reader
from eranntag.checkpoints import header, weights
from eranntag.engines.eager import Eager
from eranntag.errors import DataError
from eranntag.training import agreement, distillation, soundscapes
from eranntag.training.data import WaveformCache
from eranntag.training.samplers import Shuffled
from eranntag.training.soundscapes import Plan, soundscape
from eranntag.types import Clip, Example

RATE = 44100
ALONE = Plan(several=0, narrow=0, noisy=0, reverberant=0, gain_db=(0, 0))


def tone(hz: float, samples: int = RATE, amplitude: float = 0.3) -> np.ndarray:
    return reader.to_int16(amplitude * np.sin(2 * np.pi * hz * np.arange(samples) / RATE))


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Soundscapes


def test_a_soundscape_is_a_function_of_its_generator() -> None:
    clips = [tone(440), tone(880, 2 * RATE), reader.to_int16(0.1 * generator().standard_normal(RATE))]
    every = Plan(several=1, three=1, narrow=1, noisy=1, reverberant=1)

    def draw(rng: np.random.Generator, number: int) -> np.ndarray:
        return clips[number % 3]

    one, again = (soundscape(draw, RATE, RATE, generator(5), every) for _ in range(2))
    assert np.array_equal(one, again) and one.dtype == np.float32 and one.shape == (RATE,)
    assert not np.array_equal(one, soundscape(draw, RATE, RATE, generator(6), every))
    loud = soundscape(
        lambda *_: tone(440, amplitude=0.99), RATE, RATE, generator(), dataclasses.replace(every, gain_db=(20, 20))
    )
    assert np.abs(loud).max() == pytest.approx(1)


def test_one_clip_is_a_crop_at_a_random_place() -> None:
    clip = tone(440, RATE // 2)
    plain = soundscape(lambda *_: clip, RATE, RATE, generator(), ALONE)
    first = int(np.flatnonzero(plain)[0])
    assert 0 < first < RATE // 2 + 2  # its first sample is 0
    np.testing.assert_allclose(plain[first - 1 :][: RATE // 2] * reader.FULL_SCALE, clip, atol=0.01)
    assert not plain[: first - 1].any() and not plain[first - 1 + RATE // 2 :].any()


def test_silent_crops_are_drawn_again() -> None:
    numbers: list[int] = []

    def draw(rng: np.random.Generator, number: int) -> np.ndarray:
        numbers.append(number)
        return tone(440) if number >= 6 else np.zeros(RATE, np.int16)

    assert soundscape(draw, RATE, RATE, generator(), ALONE).any() and numbers == [0, 3, 6]
    numbers.clear()
    assert not soundscape(lambda *_: np.zeros(RATE, np.int16), RATE, RATE, generator(), ALONE).any()  # nothing but silence


def test_mixtures_hold_all_their_clips() -> None:
    clips = [tone(500), tone(3000), tone(9000)]
    mixed = soundscape(lambda _, n: clips[n], RATE, RATE, generator(), dataclasses.replace(ALONE, several=1, three=1))
    spectrum = np.abs(np.fft.rfft(mixed)) / RATE
    peaks = spectrum[[500, 3000, 9000]]
    assert (peaks > 100 * np.median(spectrum)).all()
    assert 10 ** (-15.5 / 20) <= peaks[1] / peaks[0] <= 1.05


def test_what_changes_a_soundscape() -> None:
    clip = tone(6000) + tone(300)
    dull = soundscape(lambda *_: clip, RATE, RATE, generator(), dataclasses.replace(ALONE, narrow=1, cutoff_hz=(2000, 2001)))
    spectrum = np.abs(np.fft.rfft(dull))
    assert spectrum[6000] < 1e-3 * spectrum[300]
    noisy = soundscape(lambda *_: clip, RATE, RATE, generator(), dataclasses.replace(ALONE, noisy=1, snr_db=(20, 20)))
    plain = soundscape(lambda *_: clip, RATE, RATE, generator(), ALONE)
    ratio = np.square(noisy - plain).mean() / np.square(plain).mean()
    assert 10 * np.log10(ratio) == pytest.approx(-20, abs=0.5)
    click = np.zeros(RATE, np.float32)
    click[0] = 1
    room = soundscapes.reverberant(click, RATE, 0.5, generator())
    early, late = np.square(room[1 : RATE // 10]).sum(), np.square(room[RATE // 10 : RATE // 5]).sum()
    assert 10 * np.log10(late / early) == pytest.approx(-12, abs=1.5)  # 60 dB in 0.5 s


# The teacher and the batches


@pytest.fixture
def sounds(tmp_path: Path) -> list[Example]:
    paths = [runs.write(tmp_path / f"{index}.wav", runs.tone(200 + 100 * index)) for index in range(4)]
    return [Example(str(path), ()) for path in paths]


def test_the_teacher_labels_the_very_same_waveform(tiny_tagger: Eager, sounds: list[Example]) -> None:
    teacher = distillation.Teacher(tiny_tagger, embeds=True)
    batches = distillation.Soundscapes(WaveformCache(sounds, RATE), teacher, Shuffled([()] * 4, 0), RATE, 0, 4, Plan())
    drawn = batches.draw(3, slice(0, 4))
    waveforms = drawn.batch.waveform.numpy().astype(np.float32) / reader.FULL_SCALE
    for waveform, target, embedding in zip(waveforms, drawn.batch.target, drawn.batch.embedding, strict=True):
        clip = Clip(waveform[None], RATE)
        np.testing.assert_allclose(target, tiny_tagger.tag(clip).scores, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(embedding, tiny_tagger.embed(clip).vectors[0], rtol=1e-3, atol=1e-3)
    halves = [batches.draw(3, part) for part in (slice(0, 2), slice(2, 4))]  # two processes
    assert torch.equal(torch.cat([half.batch.waveform for half in halves]), drawn.batch.waveform)
    torch.testing.assert_close(torch.cat([half.batch.target for half in halves]), drawn.batch.target, rtol=1e-4, atol=1e-5)
    assert not torch.equal(batches.draw(4, slice(0, 4)).batch.waveform, drawn.batch.waveform)


@pytest.mark.slow
def test_openvino_answers_in_one_pass(tiny_tagger: Eager) -> None:
    pytest.importorskip("openvino")
    from eranntag.engines.openvino_compile import compile_network
    from eranntag.engines.openvino_tagger import OpenVINO
    from eranntag.engines.selection import VerifiedCheckpoint

    source = VerifiedCheckpoint(tiny_tagger.checkpoint, "", lambda: tiny_tagger.network)
    fast = OpenVINO(source, compile_network(source, "float32", False))
    prepared = fast.prepare(Clip(tone(440)[None].astype(np.float32) / reader.FULL_SCALE, RATE))[None]
    scores, embeddings = fast.scores_and_embeddings(prepared)
    assert np.array_equal(scores, fast.scores(prepared)) and np.array_equal(embeddings, fast.embeddings(prepared))


def test_the_embedding_distance_is_one_minus_the_cosine() -> None:
    one = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert distillation.embedding_distance(one, 5 * one).item() == pytest.approx(0, abs=1e-6)
    other = torch.tensor([[0.0, 2.0], [-1.0, -1.0]])
    assert distillation.embedding_distance(one, other).item() == pytest.approx((1 + 2) / 2)


# The measures


def test_agreement_of_equal_and_of_different_scores() -> None:
    answers = generator().random((20, 5)).astype(np.float32)
    same = agreement.between(answers, answers)
    assert (same["agreement_mAP"], same["top1"], same["kl"]) == (1.0, 1.0, pytest.approx(0, abs=1e-6))
    constant = np.full((20, 5), 0.5, np.float32)
    other = agreement.between(constant, answers)
    expected = (answers * np.log(2 * answers) + (1 - answers) * np.log(2 * (1 - answers))).sum(1).mean()
    assert other["kl"] == pytest.approx(expected, rel=1e-4)
    assert other["agreement_mAP"] == pytest.approx((answers >= 0.3).mean(0).mean()) and other["agreement_error"] > 0
    assert other["top1_error"] == pytest.approx(np.sqrt(other["top1"] * (1 - other["top1"]) / 20))


def test_the_teacher_agrees_with_itself(tiny_tagger: Eager, sounds: list[Example]) -> None:
    from eranntag.training.distributed import World
    from eranntag.training.validation import Validation

    measure = agreement.Agreement(Validation(WaveformCache(sounds, RATE), "mAP", World(), 1), tiny_tagger)
    found = measure.measure(tiny_tagger)
    assert (found["agreement_mAP"], found["top1"], found["physics"], found["clips"]) == (1.0, 1.0, 1.0, 4)


# The command


@pytest.fixture
def teacher(tiny_tagger: Eager, tmp_path: Path) -> Path:
    path = tmp_path / "teacher.safetensors"
    weights.save(tiny_tagger.network, path, half=False)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Six clips to train on and two that are held out."""
    rows = ["filename,split"]
    for index in range(8):
        name = f"sound{index}.wav"
        runs.write(tmp_path / name, runs.hiss(index) if index % 2 else runs.tone(200 + 150 * index))
        rows.append(f"{name},{'test' if index > 5 else 'train'}")
    (tmp_path / "sounds.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "sounds.csv"


def distilled(teacher: object, data: object, out: Path, *options: object) -> Any:
    short = ["--model", "erann-2-1", "--batch", 2, "--iterations", 4, "--evaluate-every", 2, *runs.TINY]
    return runs.command("distill", teacher, "--data", data, "--out", out, *short, *options)


def test_a_student_has_the_teachers_labels_and_no_projection(teacher: Path, table: Path, tmp_path: Path) -> None:
    result = distilled(teacher, table, tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    last = tmp_path / "run" / "last.safetensors"
    assert result.stdout == f"{last}\n"
    spec = header.read_checkpoint(last)
    assert spec.labels == header.read_checkpoint(teacher).labels and spec.activation == "sigmoid" and spec.model["s_m"] == 2
    assert spec.training["teacher"].startswith("tiny ") and spec.training["embedding_weight"] == 0.02
    assert "labels by tiny" in spec.title and not [name for name in load_file(last) if "projection" in name]
    rows = runs.history(tmp_path / "run")
    measured = [row for row in rows if "agreement_mAP" in row]
    assert [row["iteration"] for row in measured] == [2, 4]
    assert {"agreement_error", "top1", "top1_error", "kl", "physics", "clips"} <= measured[0].keys()
    assert measured[0]["clips"] == 2
    predicted = runs.command("predict", "-c", last, "--engine", "eager", "--format", "jsonl", table.parent / "sound0.wav")
    assert len(json.loads(predicted.stdout)["tags"]) == 4


@pytest.mark.kill
def test_a_stopped_run_ends_with_the_same_numbers(teacher: Path, table: Path, tmp_path: Path) -> None:
    assert distilled(teacher, table, tmp_path / "whole").exit_code == 0
    with runs.stopped_before(4):
        assert distilled(teacher, table, tmp_path / "cut").exit_code == 130
    result = distilled(teacher, table, tmp_path / "cut")
    assert result.exit_code == 0 and "going on after iteration 3" in result.stderr
    whole, cut = (load_file(tmp_path / name / "last.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert runs.history(tmp_path / "whole") == runs.history(tmp_path / "cut")


@pytest.mark.slow
def test_the_losses_fall_where_the_teacher_is_learned(teacher: Path, table: Path, tmp_path: Path) -> None:
    result = distilled(teacher, table, tmp_path / "run", "--iterations", 30, "--batch", 4, "--lr", 3e-3, "--evaluate-every", 30)
    assert result.exit_code == 0, result.stderr
    losses = [row["loss"] for row in runs.history(tmp_path / "run") if "loss" in row]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:3])


@pytest.mark.slow
def test_going_on_from_a_checkpoint(teacher: Path, table: Path, tmp_path: Path) -> None:
    """The teacher itself as the student: it has the labels, so its head is kept; another one gets a new head."""
    result = runs.command("distill", teacher, "--from", teacher, "--data", table, "--out", tmp_path / "kept",
                          "--iterations", 1, "--batch", 2, "--lr", 1e-12, "--embedding-weight", 0, *runs.TINY)  # fmt: skip
    assert result.exit_code == 0, result.stderr
    ours, theirs = load_file(tmp_path / "kept" / "last.safetensors"), load_file(teacher)
    torch.testing.assert_close(ours["fc2.weight"].float(), theirs["fc2.weight"], rtol=1e-3, atol=1e-6)
    assert header.read_checkpoint(tmp_path / "kept" / "last.safetensors").training["head"] == "keep"
    line = runs.error(distilled(teacher, table, tmp_path / "other", "--from", teacher, "--model", "erann-1-3"), code=2)
    assert line.startswith("--model erann-1-3: --from names a erann-2-1")


@pytest.mark.slow
def test_zero_shot_accuracy_selects(teacher: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = runs.esc50(tmp_path / "ESC-50-master")
    tiny = dataclasses.replace(recipes.load("esc50", str(data)).recipe, audioset_labels={"dog": ("dog",), "rain": ("rain",)})
    from eranntag.recipes import esc50

    monkeypatch.setattr(esc50, "RECIPE", tiny)
    options = ("--zero-shot", "esc50", "--zero-shot-data", data, "--zero-shot-fold", 1)
    result = distilled(teacher, table, tmp_path / "run", *options)
    assert result.exit_code == 0, result.stderr
    row = [row for row in runs.history(tmp_path / "run") if "zero_shot" in row][-1]
    assert row["zero_shot"] in (0.0, 0.5, 1.0) and row["zero_shot_error"] >= 0 and "zero_shot" in result.stderr
    assert header.read_checkpoint(tmp_path / "run" / "last.safetensors").metrics["metric"] == "zero_shot"


@pytest.mark.slow
def test_several_teachers_are_averaged(teacher: Path, table: Path, tmp_path: Path) -> None:
    both = runs.command("distill", teacher, teacher, "--data", table, "--out", tmp_path / "run", "--model", "erann-2-1",
                        "--iterations", 1, "--batch", 2, *runs.TINY)  # fmt: skip
    assert both.exit_code == 0, both.stderr
    assert header.read_checkpoint(tmp_path / "run" / "last.safetensors").training["embedding_weight"] == 0
    none = tmp_path / "none"
    line = runs.error(
        runs.command("distill", teacher, teacher, "--data", table, "--embedding-weight", 1, "--out", none), code=2
    )
    assert "an ensemble has no embedding" in line and not none.exists()


def test_data_without_labels_in_three_forms(table: Path, tmp_path: Path) -> None:
    listed = recipes.unlabeled(str(table))
    assert [each.split for each in listed.examples].count("test") == 2 and not listed.examples[0].targets
    assert len(recipes.unlabeled(str(table.parent)).examples) == 8
    esc50 = runs.esc50(tmp_path / "esc50")
    packed = runs.command("data", "pack", "esc50", "--data", esc50, tmp_path / "pack")
    assert packed.exit_code == 0, packed.stderr
    assert len(recipes.unlabeled(str(tmp_path / "pack")).examples) == 10
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "x.wav").write_bytes((table.parent / "sound0.wav").read_bytes())
    (tmp_path / "manifest.csv").write_text("path,source,file,split\nx.wav,game,inside/x.ogg,train\n")
    assert [(each.path, each.group) for each in recipes.unlabeled(str(tmp_path / "manifest.csv")).examples] == [
        (str(tmp_path / "audio" / "x.wav"), "game")
    ]
    (tmp_path / "odd.csv").write_text("name\nx.wav\n")
    (tmp_path / "split.csv").write_text(f"file,split\n{table.parent / 'sound0.wav'},often\n")
    (tmp_path / "gone.csv").write_text("path\nnowhere.wav\n")
    for place, message in (("odd.csv", "names no file"), ("split.csv", "'often' is none of"), ("gone.csv", "holds no sound")):
        with pytest.raises(DataError, match=message):
            recipes.unlabeled(str(tmp_path / place))
    with pytest.raises(DataError, match="does not exist"):
        recipes.unlabeled("nowhere")


def test_what_cannot_be_distilled(teacher: Path, table: Path, tmp_path: Path) -> None:
    line = runs.error(distilled(teacher, table, tmp_path / "run", "--augment", "speed"), code=2)
    assert line.startswith("--augment speed: the student alone would get it")
    (tmp_path / "all.csv").write_text(table.read_text().replace("test", "train"))
    line = runs.error(distilled(teacher, tmp_path / "all.csv", tmp_path / "run"))
    assert "nothing could be measured" in line and "column split" in line
    (tmp_path / "none.csv").write_text(table.read_text().replace("train", "test"))
    assert "all clips are held out" in runs.error(distilled(teacher, tmp_path / "none.csv", tmp_path / "run"))
    assert not (tmp_path / "run").exists()
