"""PSLA's pipeline as settings: each of its switches against the paper's table or in a run, and `average` at its end."""

import dataclasses
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import miniature
import numpy as np
import pytest
import runs
import torch
from click.testing import Result
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from eranntag import recipes, registry
from eranntag.checkpoints import header, weights
from eranntag.errors import DataError, TrainingError
from eranntag.models import cnn14
from eranntag.recipes import audioset, audioset_balanced
from eranntag.training import averaging, cross_validation, loop, paper_comparison, state
from eranntag.training.augment import Augment
from eranntag.training.config import Settings, from_recipe
from eranntag.training.samplers import Weighted, WithPartners
from eranntag.training.schedules import SCHEDULES
from eranntag.training.splits import split_dataset
from eranntag.types import Batch, Checkpoint, Example, Recipe

PARTS = {"balanced": audioset_balanced.RECIPE, "full": audioset.RECIPE}
EPOCHS = {"balanced": (60, 208), "full": (30, 19_531)}  # and their iterations, of 100 clips each
CLIPS = {"balanced": 20_785, "full": 1_953_082}  # that the authors had


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.esc50(tmp_path_factory.mktemp("data") / "ESC-50-master")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AudioSet: 12 clips to train on, of which 4 are balanced, and 6 to test on."""
    return miniature.audioset(tmp_path_factory.mktemp("AudioSet"), missing=1)


def train(data: Path, out: Path, *options: object, recipe: str = "esc50") -> Result:
    short = ["--model", "erann-0-1", "--iterations", 2, "--batch", 2, "--evaluate-every", 2, *runs.TINY]
    return runs.command("train", recipe, "--data", data, "--out", out, *short, *options)


# The schedule


@pytest.mark.parametrize("part", PARTS)
def test_the_rate_is_halved_after_the_epochs_of_the_paper(part: str, oracle: Callable[[str], Any]) -> None:
    (rates,) = (value for name, value in oracle("schedules")["psla"].items() if name.startswith(f"{part}_epoch_lr"))
    settings, (epochs, iterations) = from_recipe(PARTS[part], "psla"), EPOCHS[part]
    assert settings.iterations == epochs * iterations and len(rates) == epochs
    assert iterations == math.ceil(CLIPS[part] / settings.batch)
    for epoch, rate in enumerate(rates):
        for iteration in (epoch * iterations, epoch * iterations + iterations // 2, (epoch + 1) * iterations - 1):
            found = SCHEDULES[settings.schedule](iteration, settings.iterations, settings.learning_rate)
            assert found == pytest.approx((rate, 0.95), rel=1e-12), epoch + 1


@pytest.mark.parametrize("iterations", [60, 61, 119, 1000])
def test_shorter_runs_have_the_same_epochs(iterations: int) -> None:
    rates = [SCHEDULES["psla-balanced"](iteration, iterations, 1.0)[0] for iteration in range(iterations)]
    assert sorted(set(rates)) == [0.5**n for n in (5, 4, 3, 2, 1, 0)] and rates == sorted(rates, reverse=True)
    assert abs(rates.count(1.0) - iterations * 35 / 60) < 1


def test_the_rate_rises_from_nothing_as_the_oracle_says(oracle: Callable[[str], Any]) -> None:
    settings = from_recipe(audioset_balanced.RECIPE, "psla")
    numbers = oracle("schedules")["psla"]
    assert settings.warm_up == numbers["warmup_iterations"]
    run: Any = SimpleNamespace(settings=settings)
    for iteration, rate in numbers["warmup_lr_at_iteration (base 1e-3)"].items():
        assert loop.Trainer.schedule(run, int(iteration)) == pytest.approx((rate, 0.95), abs=1e-12)
    run.settings = dataclasses.replace(settings, warm_up=0)
    assert loop.Trainer.schedule(run, 0) == (1e-3, 0.95)


# The recipes


@pytest.mark.parametrize("part", PARTS)
def test_the_protocol_is_that_of_the_papers_table(part: str) -> None:
    ours = from_recipe(PARTS[part], "psla").to_dict()
    expected = {
        "features": "fbank", "batch": 100, "crop_seconds": 10.0, "warm_up": 1000, "weight_decay": 5e-7, "mixup": "standard",
        "mixup_alpha": 10.0, "mixup_rate": 0.5, "mixup_partner": "uniform", "augment": ["time-frequency-mask"],
        "ema_decay": 0.0, "pretrained": True, "learning_rate": 1e-3 if part == "balanced" else 1e-4,
        "sampler": "shuffle" if part == "balanced" else "weighted",
    }  # fmt: skip
    assert {name: ours[name] for name in expected} == expected
    assert ours["evaluate_every"] == ours["keep_every"] == EPOCHS[part][1]


def test_other_families_keep_the_recipes_own_protocol() -> None:
    for recipe in PARTS.values():
        theirs = {field.name: field.default for field in dataclasses.fields(Settings)}
        for model in ("erann-2-5", "cnn14"):
            ours = vars(from_recipe(recipe, model))
            kept = ("mixup", "mixup_rate", "mixup_partner", "warm_up", "weight_decay", "keep_every", "pretrained", "augment")
            assert {name: ours[name] for name in kept} == {name: theirs[name] for name in kept}
            assert (ours["iterations"], ours["schedule"], ours["ema_decay"]) == (recipe.training.iterations, "one-cycle", 0.999)


@pytest.mark.parametrize("name", registry.names("eranntag.recipes"))
def test_what_is_different_for_a_family_are_settings_of_a_family(name: str) -> None:
    recipe = registry.get("eranntag.recipes", name).RECIPE
    assert set(recipe.families) <= set(registry.names("eranntag.models"))
    modules = [registry.get("eranntag.models", family) for family in recipe.families]
    for model in (*(module.to_name(module.Config()) for module in modules), "erann-1-3", "cnn14", "psla-resnet-50"):
        settings = from_recipe(recipe, model)
        Augment(settings.augment, settings.mixup, settings.mixup_alpha, 16_000, settings.mixup_rate)
        tuned = from_recipe(recipe, model, base="a base")
        assert {name: getattr(tuned, name) for name in recipe.fine_tuning} == recipe.fine_tuning
        assert not tuned.pretrained  # it begins with its base


def test_the_checkpoints_that_the_paper_averages_are_kept(oracle: Callable[[str], Any]) -> None:
    for part, (first, last) in oracle("schedules")["psla"]["weight_average_epochs"].items():
        settings = from_recipe(PARTS[part], "psla")
        ends = range(settings.keep_every, settings.iterations + 1, settings.keep_every)  # of the epochs, from 1
        assert (len(ends), ends[last - 1]) == (EPOCHS[part][0], settings.iterations) and first < last


def test_the_balanced_part_alone_is_trained_on(clips: Path, tmp_path: Path) -> None:
    whole, balanced = recipes.load("audioset", str(clips)), recipes.load("audioset_balanced", str(clips))
    assert Counter(example.split for example in whole.examples) == {"train": 12, "test": 6}
    assert Counter(example.split for example in balanced.examples) == {"train": 4, "test": 6}
    assert balanced.missing == () and len(whole.missing) == 1
    known = {example.path: example for example in whole.examples}
    assert all(known[example.path] == example for example in balanced.examples)
    (tmp_path / "unbalanced_train_segments.csv").write_text('x, 0.0, 10.0, "/m/09x0r"\n')
    with pytest.raises(DataError, match=r"audioset_balanced: none of eval_segments.csv, balanced_train_segments.csv in"):
        recipes.load("audioset_balanced", str(tmp_path))


PLAIN: dict[str, Any] = {"mixup": "none", "augment": ()}


@pytest.mark.parametrize(
    ("part", "changes", "value"),
    [
        ("balanced", {}, 0.3108),
        ("balanced", {"mixup": "none"}, 0.2818),
        ("balanced", PLAIN, 0.2385),
        ("balanced", PLAIN | {"pretrained": False}, 0.1570),
        ("balanced", PLAIN | {"pretrained": False, "model": "psla-resnet-50"}, 0.1635),
        ("full", {}, 0.4397),
        ("full", {"mixup": "none"}, 0.4265),
        ("full", PLAIN, 0.3721),
        ("full", PLAIN | {"sampler": "shuffle"}, 0.3939),
        ("full", PLAIN | {"sampler": "shuffle", "pretrained": False}, 0.3723),
        ("full", PLAIN | {"sampler": "shuffle", "pretrained": False, "model": "psla-resnet-50"}, 0.3790),
    ],
)
def test_each_step_of_the_paper_stands_beside_its_row(part: str, changes: dict[str, Any], value: float) -> None:
    """Tables II and IV: without pretraining there is no row that has balanced sampling."""
    recipe = PARTS[part]
    settings = from_recipe(recipe, **({"model": "psla"} | changes))
    found = paper_comparison.published(recipe, settings)
    assert found is not None and (found[0].value, found[1]) == (value, "")
    for other in ({"features": "logmel"}, {"mixup": "log-mel"}, {"model": "psla-single"}):
        assert paper_comparison.published(recipe, dataclasses.replace(settings, **other)) is None
    longer = paper_comparison.published(recipe, dataclasses.replace(settings, warm_up=7, mixup_rate=1.0))
    assert longer is not None and longer[1] == "warm_up 7, not 1000; mixup_rate 1.0, not 0.5"


def test_all_published_rows_can_be_trained() -> None:
    """No row that no setting leads to."""
    for recipe in PARTS.values():
        said = [(row.model, row.how) for row in recipe.paper]
        assert len(said) == len(set(said))
        for model, how in said:
            assert from_recipe(recipe, model).model == model and how.startswith("scratch")


# Mixup and sampling (Section 7 of the reference)


def test_first_clips_follow_the_weights_and_partners_are_any_clip(oracle: Callable[[str], Any]) -> None:
    numbers = oracle("balanced_sampling")
    targets = [tuple(np.flatnonzero(row).tolist()) for row in numbers["labels"]]
    alone, sampler, draws = Weighted(targets, 3), WithPartners(Weighted(targets, 3), len(targets), 3), 20_000
    drawn = np.array([sampler(position) for position in range(2 * draws)])
    assert drawn[::2].tolist() == [alone(position) for position in range(draws)]
    firsts, partners = (np.bincount(drawn[start::2], minlength=len(targets)) / draws for start in (0, 1))
    np.testing.assert_allclose(firsts, numbers["psla_probability"], atol=0.015)
    assert firsts[8] == 0  # a clip without labels is never first
    np.testing.assert_allclose(partners, 0.1, atol=0.01)
    pairs = np.bincount(drawn[::2] * 10 + drawn[1::2], minlength=100).reshape(10, 10) / draws
    np.testing.assert_allclose(pairs, np.outer(firsts, partners), atol=0.01)  # one says nothing of the other
    assert [sampler(position) for position in (9, 4, 9)] == [drawn[9], drawn[4], drawn[9]]


@pytest.mark.parametrize(
    ("mixup", "partner", "uniform"),
    [("standard", "uniform", True), ("none", "uniform", False), ("standard", "sampler", False)],
)
@pytest.mark.slow
def test_a_run_draws_its_partners_as_its_settings_say(
    mixup: str, partner: str, uniform: bool, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samplers = []

    def batches(sounds: Any, classes: int, sampler: Any, *options: Any) -> Any:
        samplers.append(sampler)
        raise TrainingError("enough")

    monkeypatch.setattr(loop, "Batches", batches)
    runs.error(train(data, tmp_path / "run", "--mixup", mixup, "--set", f"mixup_partner={partner}"))
    (sampler,) = samplers
    assert isinstance(sampler, WithPartners) == uniform


def mixtures(rate: float) -> tuple[torch.Tensor, torch.Tensor]:
    """4000 examples: waveforms that are 1 in the first clip and 0 in the other, their share; and the targets."""
    waveform, target = torch.zeros(8000, 4), torch.zeros(8000, 2)
    waveform[::2], target[::2, 0], target[1::2, 1] = 1, 1, 1
    rngs, clip_rngs = ([np.random.default_rng([1, n, k]) for k in range(count)] for n, count in ((0, 4000), (1, 8000)))
    augment = Augment((), "standard", 10.0, 16_000, rate)
    return augment.images(Batch(waveform, target), lambda given: given, clip_rngs, rngs)


def test_half_of_the_examples_are_mixed_and_those_as_beta_says() -> None:
    images, target = mixtures(0.5)
    share = target[:, 0]
    torch.testing.assert_close(target.sum(1), torch.ones(4000))
    torch.testing.assert_close(images, share[:, None].expand(-1, 4))  # lambda for sound and label
    alone = share == 1
    assert alone.float().mean().item() == pytest.approx(0.5, abs=0.03)
    mixed = share[~alone]
    assert mixed.mean().item() == pytest.approx(0.5, abs=0.01)
    assert mixed.var().item() == pytest.approx(1 / (4 * (2 * 10 + 1)), rel=0.1)  # of Beta(10, 10)
    always = mixtures(1.0)[1][:, 0]
    assert torch.equal(always[~alone], mixed) and not (always == 1).any()  # the rate changes no ratio


def test_a_mask_is_one_stripe_of_time_and_one_of_frequency() -> None:
    augment = Augment(("time-frequency-mask",), "none", 1.0, 16_000)
    mask = augment.mask(128, 1056, [np.random.default_rng(seed) for seed in range(500)])
    assert mask is not None and mask.shape == (500, 1, 128, 1056)
    for axis, below in ((2, 48), (3, 192)):
        kept = mask[:, 0].amax(4 - axis)  # (500, rows or frames)
        edges = torch.nn.functional.pad(kept, (1, 1), value=1).diff(dim=1).abs().sum(1)
        widths = (1 - kept).sum(1)
        assert set(edges.tolist()) == {0, 2} and widths.max() == below - 1
        assert widths.mean().item() == pytest.approx((below - 1) / 2, rel=0.06)
    both = Augment(("time-frequency-mask", "spec-augment"), "none", 1.0, 16_000)
    more = both.mask(128, 1056, [np.random.default_rng(seed) for seed in range(20)])
    assert more is not None and (more <= mask[:20]).all() and more.sum() < mask[:20].sum()


# A run


@pytest.fixture(scope="module")
def kept(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six iterations, of which every second is kept and every third evaluated."""
    out = tmp_path_factory.mktemp("runs") / "kept"
    options = ("--iterations", 6, "--evaluate-every", 3, "--lr", 1e-3, "--fold", 1, "--set", "ema_decay=0")
    result = train(data, out, *options, "--set", "keep_every=2")
    assert result.exit_code == 0, result.stderr
    return out


def of(out: Path, *iterations: int) -> list[Path]:
    return [out / f"iteration-{iteration:07}.safetensors" for iteration in iterations]


def test_every_second_iteration_is_kept_with_its_own_numbers(kept: Path) -> None:
    assert sorted(kept.glob("iteration-*")) == of(kept, 2, 4, 6)
    specs = [header.read_checkpoint(path) for path in of(kept, 2, 4, 6)]
    assert [spec.training["iteration"] for spec in specs] == [2, 4, 6]
    assert [spec.metrics.get("iteration") for spec in specs] == [None, None, 6]  # only those weights were measured
    last = load_file(kept / "last.safetensors")
    assert all(torch.equal(tensor, last[name]) for name, tensor in load_file(of(kept, 6)[0]).items())
    state = load_file(kept / "state.safetensors")
    for name in last:  # with a decay of 0 the average is the network
        assert torch.equal(state[f"model.{name}"], state[f"average.{name}"])


@pytest.mark.slow
def test_a_restart_removes_what_was_kept(data: Path, tmp_path: Path) -> None:
    """Else `average RUN/iteration-*` would mix two runs."""
    options = ("--set", "keep_every=1", "--mixup", "none")
    assert train(data, tmp_path, "--iterations", 2, *options).exit_code == 0
    assert len(list(tmp_path.glob("iteration-*"))) == 2
    assert train(data, tmp_path, "--iterations", 1, *options, "--restart").exit_code == 0
    assert list(tmp_path.glob("iteration-*")) == of(tmp_path, 1)


def test_the_average_is_the_plain_mean(kept: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "mean.safetensors"
    result = runs.command("average", *of(kept, 2, 4, 6), "-o", output)
    assert (result.exit_code, result.stdout) == (0, f"{output}\n"), result.stderr
    tensors, mean = [load_file(path) for path in of(kept, 2, 4, 6)], load_file(output)
    for name, tensor in mean.items():
        if tensor.is_floating_point():
            expected = sum(each[name].double() for each in tensors) / 3
            torch.testing.assert_close(tensor, expected.to(tensor.dtype), rtol=2**-10, atol=1e-7)
    moved = [name for name in mean if "running_var" in name and not torch.equal(tensors[0][name], mean[name])]
    assert moved  # BatchNorm's statistics too
    spec = header.read_checkpoint(output)
    assert (spec.metrics, spec.thresholds) == ({}, ())
    assert spec.training["averaged"] == [2, 4, 6] and spec.training["fold"] == 1 and "iteration" not in spec.training
    clip = next((data / "audio").iterdir())
    said = runs.command("predict", "-c", output, clip, "--format", "jsonl", "--device", "cpu", "--engine", "eager")
    assert json.loads(said.stdout)["tags"]


def test_the_mean_is_computed_in_double_precision(kept: Path) -> None:
    networks = [weights.load(path) for path in of(kept, 2, 4, 6)]
    for network, value in zip(networks, (1e8, 1.0, -1e8), strict=True):
        network.model.fc2.bias.data.fill_(value)
    mean = averaging.mean(networks)
    torch.testing.assert_close(mean.model.fc2.bias, torch.full_like(mean.model.fc2.bias, 1 / 3))


@pytest.mark.slow
def test_averages_of_different_runs_are_refused(kept: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "mean.safetensors"
    first = of(kept, 2)[0]
    other = weights.load(first)
    for changes, what in (
        ({"training": {**other.checkpoint.training, "fold": 2}}, "training"),
        ({"labels": other.checkpoint.labels[::-1]}, "labels"),
        ({"activation": "sigmoid"}, "activation"),
    ):
        changed = weights.load(first)
        changed.checkpoint = dataclasses.replace(changed.checkpoint, **changes)
        weights.save(changed, tmp_path / "other.safetensors")
        said = runs.error(runs.command("average", first, tmp_path / "other.safetensors", "-o", output), 2)
        assert f"differ in their {what}; only checkpoints of one run can be averaged" in said
    two = (first, tmp_path / "other.safetensors")
    assert "needs two checkpoints" in runs.error(runs.command("average", first, "-o", output), 2)
    assert "is named twice" in runs.error(runs.command("average", first, first, "-o", output), 2)
    assert "must end in .safetensors" in runs.error(runs.command("average", *two, "-o", tmp_path / "mean"), 2)
    assert not output.exists()
    output.write_text("mine")
    assert (
        "--force" in runs.error(runs.command("average", first, tmp_path / "other.safetensors", "-o", output), 2)
        and output.read_text() == "mine"
    )
    assert runs.command("average", first, *of(kept, 4), "-o", output, "--force").exit_code == 0


def test_adam_has_the_papers_values(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups, step = [], loop.Trainer.step

    def watched(run: loop.Trainer, *given: Any) -> torch.Tensor:
        value = step(run, *given)
        (group,) = run.state.optimizer.param_groups
        groups.append({name: group[name] for name in ("lr", "betas", "weight_decay")})
        assert type(run.state.optimizer) is torch.optim.Adam  # whose decay is the paper's: it is added to the gradient
        return value

    monkeypatch.setattr(loop.Trainer, "step", watched)
    options = [f"--set={name}={value}" for name, value in (("weight_decay", 5e-7), ("warm_up", 4))]
    assert train(data, tmp_path, "--schedule", "psla-balanced", "--lr", 1e-3, "--iterations", 5, *options).exit_code == 0
    rates = [0.0, 0.25e-3, 0.5e-3, 0.375e-3, 0.125e-3]  # epochs 0, 12, 24, 36 and 48 of 60: three quarters of 1/2, all of 1/8
    assert groups == [{"lr": rate, "betas": (0.95, 0.999), "weight_decay": 5e-7} for rate in rates]
    assert [row["lr"] for row in runs.history(tmp_path) if "lr" in row] == rates


def test_a_warm_up_that_no_run_would_survive_is_refused(data: Path, tmp_path: Path) -> None:
    said = runs.error(train(data, tmp_path, "--iterations", 5, "--set", "warm_up=5"), 2)
    assert said == "a warm_up of 5 iterations does not fit a run of 5; --set warm_up=N"


def test_what_is_trained_on_shrinks_by_the_weight_decay(data: Path, tmp_path: Path) -> None:
    """Adam's first step moves every parameter by the rate, against the sign of its gradient: a huge decay is that sign."""
    decayed = tmp_path / "decayed"
    assert train(data, decayed, "--iterations", 1, "--lr", 1e-4, "--set", "weight_decay=1e6", "--mixup", "none").exit_code == 0
    network = loop.initialization.network(*_begun("esc50", "erann-0-1"))
    state = load_file(decayed / "state.safetensors")
    for name, begun in network.model.named_parameters():
        large = begun.abs() > 2e-4
        moved = (state[f"model.{name}"] - begun)[large]
        torch.testing.assert_close(moved, -1e-4 * begun[large].sign(), rtol=1e-2, atol=1e-6)


def _begun(recipe: str, model: str) -> tuple[Recipe, Settings, None]:
    loaded = registry.get("eranntag.recipes", recipe).RECIPE
    return loaded, from_recipe(loaded, model), None


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("mixup_rate=0", "mixup_rate must be above 0 (--mixup none is without) and at most 1"),
        ("mixup_rate=1.5", "mixup_rate must be above 0"),
        ("mixup_rate=nan", "mixup_rate must be above 0"),
        ("mixup_partner=uniformly", "mixup_partner 'uniformly' is none of sampler, uniform; did you mean"),
        ("weight_decay=-1", "weight_decay must not be below 0"),
        ("warm_up=-1", "warm_up must not be below 0"),
        ("keep_every=-1", "keep_every must not be below 0"),
        ("pretrained=yes", "pretrained takes a value of type bool"),
        ("features=wavegram", "not NAME=VALUE with one of"),
        ("pretrained=true", "--set pretrained=true: erann-0-1 has no weights of another task to begin with"),
    ],
)
def test_switches_with_impossible_values_are_one_line(assignment: str, words: str, data: Path, tmp_path: Path) -> None:
    assert words.rstrip(";").partition("; did")[0] in runs.error(train(data, tmp_path / "run", "--set", assignment), 2)
    assert not (tmp_path / "run").exists()


def test_what_begins_with_a_base_begins_with_nothing_else(kept: Path, data: Path, tmp_path: Path) -> None:
    result = runs.command("finetune", kept / "last.safetensors", "esc50", "--data", data, "--out", tmp_path / "run",
                          "--set", "pretrained=true", *runs.TINY)  # fmt: skip
    assert "--set pretrained=true" in runs.error(result, 2)


def test_a_network_with_dropout_goes_on_to_the_bit(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch's own generator gives must not depend on where a run was stopped."""
    monkeypatch.setattr(cnn14, "from_name", lambda name: cnn14.Config(channels=2) if name == "cnn14" else None)
    monkeypatch.setattr(cnn14, "to_name", lambda config: "cnn14")
    options = ("--model", "cnn14", "--iterations", 4, "--set", "accumulate=2", "--evaluate-every", 4)
    assert train(data, tmp_path / "undisturbed", *options).exit_code == 0
    step = loop.Trainer.step

    def stopped(run: loop.Trainer, *given: Any) -> torch.Tensor:
        if run.state.iteration == 2:
            raise TrainingError("the power failed")
        return step(run, *given)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", -1)  # after every iteration
        patch.setattr(loop.Trainer, "step", stopped)
        assert runs.error(train(data, tmp_path / "stopped", *options)) == "the power failed"
    torch.manual_seed(12345)  # another process has another state
    assert train(data, tmp_path / "stopped", *options).exit_code == 0
    assert runs.history(tmp_path / "stopped") == runs.history(tmp_path / "undisturbed")
    ours, theirs = (load_file(tmp_path / name / "state.safetensors") for name in ("stopped", "undisturbed"))
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.slow
def test_dropout_is_another_in_every_iteration_and_part(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, loss = [], loop.Trainer.loss

    def watched(run: loop.Trainer, *given: Any) -> torch.Tensor:
        drawn.append(torch.rand(1).item())
        return loss(run, *given)

    monkeypatch.setattr(loop.Trainer, "loss", watched)
    options = ("--iterations", 3, "--set", "accumulate=2", "--batch", 4, "--mixup", "none")
    assert train(data, tmp_path / "a", *options).exit_code == 0
    assert train(data, tmp_path / "b", *options, "--seed", 1).exit_code == 0
    assert len(drawn) == len(set(drawn)) == 12


# Labels that were added


def additions(clips: Path, path: Path) -> tuple[Path, str]:
    """A table that gives one clip of the balanced part a Siren and what it has already; and that clip's name."""
    dataset = recipes.load("audioset_balanced", str(clips))
    example = next(each for each in dataset.examples if each.split == "train" and len(each.targets) == 1)
    had = dataset.recipe.labels[example.targets[0]]
    name = Path(str(example.path)).name.rpartition(".")[0]
    path.write_text(f'clip,added\n{name},"Siren;{had}"\n' if "," not in had else f"clip,added\n{name},Siren\n")
    return path, str(example.path)


def test_training_clips_alone_get_labels(clips: Path, tmp_path: Path) -> None:
    from eranntag.training.label_enhancement import additions as table

    path, name = additions(clips, tmp_path / "added.csv")
    dataset = recipes.load("audioset_balanced", str(clips))
    added = table.read_additions(path, dataset)
    plain = split_dataset(dataset, None, 0.0, 0)
    ours = cross_validation.enhanced(plain, added)
    siren = dataset.recipe.labels.index("Siren")
    for before, after in zip(plain.training, ours.training, strict=True):
        expected = {*before.targets, siren} if str(before.path) == name else set(before.targets)
        assert set(after.targets) == expected and list(after.targets) == sorted(expected)
        assert dataclasses.replace(after, targets=before.targets) == before
    assert (ours.held_out, ours.test) == (plain.held_out, plain.test)
    carved = split_dataset(dataset, None, 0.5, 0)
    measured = {str(each.path): (siren,) for each in carved.held_out}
    assert cross_validation.enhanced(carved, {each.path: (siren,) for each in carved.held_out}) == carved and measured


@pytest.mark.slow
def test_a_run_trains_on_the_added_labels(clips: Path, tmp_path: Path) -> None:
    path, _ = additions(clips, tmp_path / "added.csv")
    options = ("--iterations", 1, "--mixup", "none", "--batch", 4)
    results = {}
    for name, more in (("with", ("--labels", path)), ("without", ())):
        result = train(clips, tmp_path / name, *options, *more, recipe="audioset_balanced")
        assert result.exit_code == 0, result.stderr
        results[name] = header.read_checkpoint(tmp_path / name / "last.safetensors")
    assert results["with"].training["clips"] == results["without"].training["clips"]  # by which ensembles know its parts
    assert re.fullmatch(r"added\.csv [0-9a-f]{12}", results["with"].training["added_labels"])
    assert "added.csv" in results["with"].data and "added" not in results["without"].data
    losses = [runs.history(tmp_path / name)[0]["loss"] for name in results]
    assert losses[0] != losses[1]  # the four clips are those of one batch
    said = runs.error(train(clips, tmp_path / "with", *options, recipe="audioset_balanced"))
    assert "added_labels" in said and "--restart" in said  # it is another run without them


def test_labels_that_cannot_be_added_are_one_line(clips: Path, data: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone.csv"
    said = runs.error(train(clips, tmp_path / "run", "--labels", gone, recipe="audioset_balanced"))
    assert str(gone) in said
    path, _ = additions(clips, tmp_path / "added.csv")
    assert "esc50" in runs.error(train(data, tmp_path / "run", "--labels", path), 2)
    assert not (tmp_path / "run").exists()


# Where protocols end


def test_fine_tuning_takes_nothing_of_the_training_protocol() -> None:
    settings = from_recipe(audioset_balanced.RECIPE, "psla", "base 0")
    assert (settings.keep_every, settings.warm_up, settings.pretrained, settings.batch) == (0, 0, False, 32)
    assert settings.features == "fbank" and settings.iterations == audioset_balanced.RECIPE.fine_tuning["iterations"]


def test_a_run_of_an_older_version_goes_on(data: Path, tmp_path: Path) -> None:
    assert train(data, tmp_path).exit_code == 0
    path = tmp_path / "state.safetensors"
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        progress = json.loads(file.metadata()["run"])
    for name in ("features", "mixup_rate", "keep_every", "added_labels", "teacher", "teacher_weight"):
        del progress["settings"][name]
    del progress["sha256"]
    progress["sha256"] = state._digest(tensors, progress)
    save_file(tensors, path, metadata={"run": json.dumps(progress)})
    assert train(data, tmp_path).exit_code == 0
    assert "features 'logmel' there, 'mfcc' now" in runs.error(train(data, tmp_path, "--features", "mfcc"))


def test_a_part_of_a_data_set_was_trained_on_with_it() -> None:
    example, other = Example("a.wav", (1,)), Example("b.wav", (1,), split="test")
    whole = Checkpoint("x", "erann", {}, "logmel", {}, ("a",), "sigmoid", training={"recipe": "audioset"})
    assert recipes.was_trained_on(example, whole, audioset_balanced.RECIPE)
    assert not recipes.was_trained_on(other, whole, audioset_balanced.RECIPE)
    assert not recipes.was_trained_on(
        example, dataclasses.replace(whole, training={"recipe": "esc50"}), audioset_balanced.RECIPE
    )


@pytest.mark.slow
def test_the_mean_of_the_last_five_evaluations_is_kept(data: Path, tmp_path: Path) -> None:
    assert train(data, tmp_path, "--fold", 1, "--iterations", 6, "--evaluate-every", 1).exit_code == 0
    values = [row["accuracy"] for row in runs.history(tmp_path) if "accuracy" in row]
    metrics = header.read_checkpoint(tmp_path / "last.safetensors").metrics
    assert len(values) == 6 and metrics["last_5"] == pytest.approx(sum(values[1:]) / 5)
    assert train(data, tmp_path / "short", "--fold", 1).exit_code == 0
    assert "last_5" not in header.read_checkpoint(tmp_path / "short" / "last.safetensors").metrics


def test_names_of_the_papers_first_version_have_its_rows() -> None:
    row, odd = paper_comparison.published(audioset.RECIPE, from_recipe(audioset.RECIPE, "erann-8x4-6")) or (None, "")
    assert row is not None and row.model == "erann-2-6" and row.value == 0.448 and not odd
    assert paper_comparison.published(audioset.RECIPE, from_recipe(audioset.RECIPE, "erann-8x4-6", features="mfcc")) is None


@pytest.mark.parametrize(("rows", "most"), [(128, 15), (64, 7), (12, 1)])
def test_stripes_are_in_proportion_to_the_rows(rows: int, most: int) -> None:
    rngs = [np.random.default_rng(seed) for seed in range(200)]
    mask = Augment(["time-frequency-mask=1x16"], "none", 1.0, 44100).mask(rows, 64, rngs)
    assert mask is not None and (rows - mask[:, 0, :, 0].sum(1)).max() == most
