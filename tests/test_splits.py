"""Who trains and who is held out: whole recordings, every class on the training side, the same each time."""

import dataclasses
from collections import Counter

import pytest

from eranntag.errors import DataError, UsageError
from eranntag.recipes import esc50
from eranntag.training.splits import split_dataset, split_off_validation
from eranntag.types import Dataset, Example

RECIPE = dataclasses.replace(esc50.RECIPE, name="some", folds=(1, 2, 3))


def clips(classes: int = 4, groups: int = 10, clips_each: int = 3) -> list[Example]:
    """Every class has `groups` recordings of its own, each cut into `clips_each` clips."""
    return [
        Example(f"{label}-{group}-{clip}.wav", (label,), group=f"{label}-{group}")
        for label in range(classes)
        for group in range(groups)
        for clip in range(clips_each)
    ]


def actors(count: int = 18, classes: int = 8) -> list[Example]:
    """As in RAVDESS: everybody speaks in every class."""
    return [
        Example(f"{actor}-{label}.wav", (label,), group=f"{actor:02}") for actor in range(count) for label in range(classes)
    ]


def groups(examples: list[Example]) -> set[str]:
    return {example.group for example in examples}


def labels(examples: list[Example]) -> Counter[int]:
    return Counter(label for example in examples for label in example.targets)


def several_labels() -> list[Example]:
    """Classes are independent, some clips have none, and groups have several clips."""
    return [
        Example(f"{at}.wav", tuple(label for label in range(3) if at % (label + 2) == 0), group=f"g{at // 2}")
        for at in range(60)
    ]


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("examples", [clips(), actors(), several_labels()], ids=["clips", "actors", "several labels"])
def test_carving_divides_all_clips_by_whole_groups_and_keeps_every_class_in_training(
    examples: list[Example], share: float
) -> None:
    training, validation = split_off_validation(examples, share, seed=0)
    assert validation and sorted(training + validation, key=examples.index) == examples
    assert len(training) + len(validation) == len(examples)
    assert not groups(training) & groups(validation)
    assert labels(training).keys() == labels(examples).keys()
    assert [*training] == sorted(training, key=examples.index), "the order of the clips decides what is drawn"


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.5])
def test_carving_takes_about_the_share_of_every_class(share: float) -> None:
    examples = clips(classes=5, groups=20, clips_each=2)
    counts = labels(split_off_validation(examples, share, seed=3)[1])
    assert counts == dict.fromkeys(range(5), round(40 * share))


def test_actors_who_are_in_all_classes_do_not_all_land_in_validation() -> None:
    training, validation = split_off_validation(actors(), 0.2, seed=0)
    assert len(groups(validation)) == 4 and len(groups(training)) == 14
    assert set(labels(validation).values()) == {4}


def test_carving_is_decided_by_the_seed_alone() -> None:
    examples = clips()
    assert split_off_validation(examples, 0.2, seed=1) == split_off_validation(examples, 0.2, seed=1)
    others = {frozenset(groups(split_off_validation(examples, 0.2, seed)[1])) for seed in range(10)}
    assert len(others) == 10
    backwards = split_off_validation(examples[::-1], 0.2, seed=1)
    assert groups(backwards[1]) == groups(split_off_validation(examples, 0.2, seed=1)[1])


def test_clips_without_a_group_are_recordings_of_their_own() -> None:
    examples = [Example(f"{at}.wav", (at % 2,)) for at in range(40)]
    training, validation = split_off_validation(examples, 0.25, seed=0)
    assert labels(validation) == {0: 5, 1: 5} and labels(training) == {0: 15, 1: 15}


def test_a_class_with_one_recording_stays_in_training() -> None:
    rare = [Example(f"rare-{clip}.wav", (9,), group="rare") for clip in range(5)]
    training, validation = split_off_validation(clips() + rare, 0.2, seed=0)
    assert set(rare) <= set(training) and set(labels(validation)) == {0, 1, 2, 3}


def test_a_class_with_two_recordings_gives_one() -> None:
    training, validation = split_off_validation(clips(classes=3, groups=2), 0.2, seed=0)
    assert labels(training) == labels(validation) == {0: 3, 1: 3, 2: 3}


def test_clips_without_labels_are_divided_too() -> None:
    unlabelled = [Example(f"nothing-{at}.wav", ()) for at in range(10)]
    training, validation = split_off_validation(clips() + unlabelled, 0.2, seed=0)
    assert len(set(unlabelled) & set(validation)) == 2 and len(set(unlabelled) & set(training)) == 8


# split_dataset


def folded(count: int = 3) -> Dataset:
    return Dataset(RECIPE, tuple(dataclasses.replace(example, fold=at % count + 1) for at, example in enumerate(clips())))


def parted(*parts: str) -> Dataset:
    recipe = dataclasses.replace(RECIPE, folds=())
    examples = (dataclasses.replace(example, split=parts[at % len(parts)]) for at, example in enumerate(clips()))
    return Dataset(recipe, tuple(examples))


def test_a_fold_is_held_out_as_the_papers_do() -> None:
    splits = split_dataset(folded(), fold=2)
    assert {example.fold for example in splits.held_out} == {2} and splits.test == []
    assert {example.fold for example in splits.training} == {1, 3}
    assert len(splits.training) + len(splits.held_out) == len(folded().examples)


def test_without_a_fold_all_clips_are_trained_on() -> None:
    splits = split_dataset(folded())
    assert (splits.training, splits.held_out, splits.test) == (list(folded().examples), [], [])


def test_with_a_validation_share_the_fold_decides_nothing() -> None:
    """Folds of whole recordings here, so that the groups are not divided by the folds already."""
    dataset = Dataset(RECIPE, tuple(dataclasses.replace(e, fold=int(e.group[-1]) % 3 + 1) for e in clips()))
    splits = split_dataset(dataset, fold=2, validation=0.2, seed=5)
    assert {example.fold for example in splits.test} == {2}
    assert {example.fold for example in splits.training + splits.held_out} == {1, 3}
    assert not groups(splits.training) & groups(splits.held_out) and splits.held_out
    assert (splits.training, splits.held_out) == split_off_validation(
        [example for example in dataset.examples if example.fold != 2], 0.2, seed=5
    )
    assert split_dataset(dataset, 2, 0.2, seed=6).held_out != splits.held_out


def test_without_a_fold_the_share_is_carved_from_all() -> None:
    splits = split_dataset(folded(), validation=0.2)
    assert (splits.training, splits.held_out) == split_off_validation(list(folded().examples), 0.2, seed=0)
    assert splits.test == []


def test_the_test_part_is_held_out_unless_something_else_is() -> None:
    dataset = parted("train", "train", "test")
    splits = split_dataset(dataset)
    assert {example.split for example in splits.held_out} == {"test"} and splits.test == []
    splits = split_dataset(dataset, validation=0.2)
    assert {example.split for example in splits.test} == {"test"}
    assert {example.split for example in splits.training + splits.held_out} == {"train"}


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_a_validation_part_of_the_data_s_own_is_taken_before_any_share(share: float) -> None:
    splits = split_dataset(parted("train", "validation", "test"), validation=share)
    parts = [{example.split for example in part} for part in (splits.training, splits.held_out, splits.test)]
    assert parts == [{"train"}, {"validation"}, {"test"}]
    assert split_dataset(parted("train", "validation"), validation=share).test == []


def test_a_share_that_nothing_can_be_carved_for_does_not_turn_to_the_test_clips() -> None:
    """One recording a class: to choose by the test clips is what the share was to prevent."""
    examples = [Example(f"{label}-{split}.wav", (label,), split=split) for label in range(3) for split in ("train", "test")]
    splits = split_dataset(Dataset(dataclasses.replace(RECIPE, folds=()), tuple(examples)), validation=0.2)
    assert [len(part) for part in (splits.training, splits.held_out, splits.test)] == [3, 0, 3]


def test_a_fold_that_the_recipe_lacks_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="some has the folds 1, 2, 3, not 4"):
        split_dataset(folded(), fold=4)
    with pytest.raises(UsageError, match="some has no folds"):
        split_dataset(parted("train"), fold=1)


def test_no_clips_to_train_on_is_said() -> None:
    with pytest.raises(DataError, match="some: no clips are left to train on without fold 1"):
        split_dataset(folded(1), fold=1)
    with pytest.raises(DataError, match="some: no clips are left to train on"):
        split_dataset(parted("test"))
    zero = Dataset(dataclasses.replace(RECIPE, folds=(0,)), tuple(dataclasses.replace(e, fold=0) for e in clips()))
    with pytest.raises(DataError, match="without fold 0"):
        split_dataset(zero, fold=0)


def test_a_fold_without_clips_is_said() -> None:
    """Such as when only some of a data set's folders were downloaded: a run would measure nothing."""
    with pytest.raises(DataError, match="some: none of the clips there belongs to fold 3"):
        split_dataset(folded(2), fold=3)
