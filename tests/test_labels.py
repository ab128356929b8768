"""Label enhancement: the oracle's numbers, AudioSet's real ontology, the files that carry scores and additions, the command."""

import csv
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from eranntag import recipes
from eranntag.checkpoints import weights
from eranntag.cli import cli
from eranntag.errors import DataError, UsageError
from eranntag.evaluation import metrics
from eranntag.inference.network import Network
from eranntag.recipes import _audioset, audioset, esc50
from eranntag.recipes.csv import RECIPE as CSV
from eranntag.training.label_enhancement import additions, enhance as labels, ontology, teacher
from eranntag.training.label_enhancement.ontology import Neighbors, Ontology
from eranntag.training.label_enhancement.teacher import Scores
from eranntag.types import Checkpoint, Dataset, Example, Failure, Prediction, Recipe, ShardEntry

LABELS = ("animal", "dog", "rain; heavy", 'the "siren"', "door, slamming")
RECIPE = dataclasses.replace(CSV, name="tiny", labels=LABELS, activation="sigmoid", metric="mAP", folds=(1, 2))


def written(path: Path, nodes: Any) -> Path:
    path.write_text(json.dumps(nodes), encoding="utf-8")
    return path


def node(name: str, *children: str, abstract: bool = False) -> dict[str, Any]:
    return {"id": name, "name": name, "child_ids": list(children), "restrictions": ["abstract"] * abstract}


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Ontology]:
    """`tree(node, ...)`: the ontology of these nodes."""
    return lambda *nodes: ontology.read(written(tmp_path / "tree.json", list(nodes)))


# Algorithm 2


@pytest.fixture(scope="module")
def toy(oracle: Callable[[str], Any]) -> dict[str, Any]:
    content: dict[str, Any] = oracle("label_enhancement")
    index = {label: at for at, label in enumerate(content["classes"])}
    content["targets"] = [tuple(sorted(index[label] for label in clip)) for clip in content["labels"]]
    content["scores"] = np.array(content["teacher_scores"])
    return content


@pytest.fixture
def toy_tree(toy: dict[str, Any], tree: Callable[..., Ontology]) -> Ontology:
    return tree(*(node(name, *each["children"], abstract=each["abstract"]) for name, each in toy["ontology"].items()))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("block", [1, 3, 10, 4096])
@pytest.mark.parametrize(
    ("kind", "ancestors", "expected"),
    [
        ("children", "all", "type_I_direct_children"),
        ("parents", "all", "type_II_all_ancestors_abstract_nodes_break_the_chain"),
        ("parents", "through-abstract", "type_II_all_ancestors_through_abstract_nodes"),
        ("parents", "direct", "type_II_direct_parents_only"),
        ("both", "all", "type_I_and_II_union (ancestors variant)"),
        ("both", "direct", "type_I_and_II_union (direct parents, Algorithm 2 literal)"),
    ],
)
def test_the_oracles_labels(
    toy: dict[str, Any], toy_tree: Ontology, kind: str, ancestors: str, expected: str, block: int, dtype: str
) -> None:
    names, scores = toy["classes"], toy["scores"].astype(dtype)
    related = ontology.neighbors(toy_tree, names, kind, ancestors).related
    pairs = labels.additions(scores, toy["targets"], labels.thresholds(scores, toy["targets"]), related, block)
    result = metrics.multi_hot(toy["targets"], len(names))
    assert not result[tuple(pairs.T)].any()  # only labels that are not there yet
    result[tuple(pairs.T)] = True
    assert [[names[at] for at in np.flatnonzero(row)] for row in result] == toy[expected]


def test_the_oracles_thresholds_and_counts(toy: dict[str, Any], toy_tree: Ontology) -> None:
    clips = [Example(str(place), targets) for place, targets in enumerate(toy["targets"])]
    recipe = dataclasses.replace(RECIPE, labels=tuple(toy["classes"]))
    counts = {}
    for name, kind in (("type_I", "children"), ("type_II_ancestors", "parents"), ("union", "both")):
        relation = ontology.neighbors(toy_tree, recipe.labels, kind)
        result = labels.enhance(Scores(toy["scores"], ()), clips, recipe, relation)
        counts[name] = len(result.pairs)
        np.testing.assert_allclose(result.thresholds, toy["thresholds_mean_positive_score"], rtol=1e-12)
        assert result.positives.tolist() == toy["class_counts"]
    assert counts == toy["labels_added"]
    assert relation.absent == () and result.percent == pytest.approx(100 * 10 / 12)
    assert result.to_dict()["classes_affected"] == 7
    assert [row["label"] for row in result.per_class if not row["added"]] == ["child"]


def one(scores: list[list[float]], targets: list[tuple[int, ...]], **options: Any) -> list[list[int]]:
    """What is added where all classes are neighbors."""
    values = np.array(scores, np.float32)
    least = labels.thresholds(values, targets, **options)
    pairs: list[list[int]] = labels.additions(values, targets, least, ~np.eye(values.shape[1], dtype=bool)).tolist()
    return pairs


def test_a_score_must_exceed_the_threshold() -> None:
    """Class 1 has the threshold 0.5: exactly that is not enough."""
    above = float(np.nextafter(np.float32(0.5), np.float32(1)))
    assert one([[0, 0.5], [0, 0.5], [0, above]], [(1,), (0,), (0,)]) == [[2, 1]]


def test_what_was_added_leads_to_nothing_more(tree: Callable[..., Ontology]) -> None:
    """A chain a > b > c: the clip labelled a may get b, but c only if it had been labelled b."""
    related = ontology.neighbors(tree(node("a", "b"), node("b", "c"), node("c")), ("a", "b", "c"), "children").related
    scores = np.array([[1, 1, 1], [0, 0.5, 0], [0, 0, 0.5]])
    targets = [(0,), (1,), (2,)]
    assert labels.additions(scores, targets, labels.thresholds(scores, targets), related).tolist() == [[0, 1]]


def test_a_class_without_positives_has_no_threshold_and_is_never_added() -> None:
    scores = [[0.5, 0.9, 1.0], [0.5, 0.8, 1.0]]
    targets = [(0,), (1,)]
    np.testing.assert_equal(labels.thresholds(np.array(scores), targets), [0.5, 0.8, np.nan])
    assert one(scores, targets) == [[0, 1]]


@pytest.mark.parametrize(
    ("which", "expected"), [("mean", 0.35), ("median", 0.25), (50, 0.25), (25, 0.175), (0, 0.1), (10, 0.13)]
)
def test_other_thresholds(which: str | float, expected: float) -> None:
    scores = np.array([[0.1], [0.2], [0.3], [0.8], [0.99]])
    assert labels.thresholds(scores, [(0,)] * 4 + [()], which) == pytest.approx([expected])


def test_a_lower_threshold_adds_more() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random((200, 6)).tolist()
    targets = [tuple(np.flatnonzero(row).tolist()) for row in generator.random((200, 6)) < 0.2]
    counts = [len(one(scores, targets, which=which)) for which in (75, "median", 25, 10, 5)]
    assert counts == sorted(set(counts))


def test_clips_that_were_not_heard_neither_count_nor_change() -> None:
    scores = Scores(np.array([[0.2, 0.8], [np.nan, np.nan], [0.6, 0.9]], np.float32), (Failure("b", "no sound"),))
    clips = [Example("a", (1,)), Example("b", (0, 1)), Example("c", (0,))]
    recipe = dataclasses.replace(RECIPE, labels=("x", "y"))
    result = labels.enhance(scores, clips, recipe, Neighbors(~np.eye(2, dtype=bool)))
    np.testing.assert_allclose(result.thresholds, [0.6, 0.8], rtol=1e-6)
    assert (result.clips, result.positives.tolist(), result.pairs.tolist()) == (2, [1, 1], [[2, 1]])
    assert "left as they are: 1 unreadable clips" in result.summary()


def test_half_precision_scores_are_compared_without_being_rounded_again() -> None:
    scores = np.array([[0, 0.3], [0, 0.7], [0, 0.5]], np.float16)
    related = ~np.eye(2, dtype=bool)
    targets = [(0, 1), (0, 1), (0,)]
    middle = labels.thresholds(scores, targets)  # of the two as float16 holds them: 0.50006...
    assert middle[1] == np.float64(scores[:2, 1].astype(np.float64).mean())
    assert labels.additions(scores, targets, middle, related).tolist() == []


# The ontology


@pytest.fixture(scope="module")
def official(data_root: Path) -> Ontology:
    path = data_root / "audioset" / "ontology.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    return ontology.read(path)


def named(graph: Ontology, found: Iterable[str]) -> set[str]:
    return {graph.names[each] for each in found}


def test_audiosets_classes_are_found_by_their_identifiers(official: Ontology) -> None:
    assert len(official.names) == 632 and len(official.abstract) == 23
    found = ontology.nodes(official, audioset.RECIPE.labels)
    assert found == tuple(audioset.CLASSES)
    renamed = dataclasses.replace(official, names={each: "" for each in official.names})
    assert ontology.nodes(renamed, audioset.RECIPE.labels) == found


def test_part_of_audiosets_classes_are_found_by_name(official: Ontology) -> None:
    assert ontology.nodes(official, ("Dog", "Bow-wow", "purr")) == ("/m/0bt9lr", "/m/07rc7d9", None)
    assert ontology.neighbors(official, ("Dog", "purr")).absent == ("purr",)


def test_audiosets_abstract_nodes_break_the_chain(official: Ontology) -> None:
    abstract = named(official, official.abstract)
    assert {"Human sounds", "Human voice", "Music genre", "Source-ambiguous sounds"} <= abstract
    assert not {"Speech", "Domestic sounds, home sounds", "Background noise"} & abstract
    identity = {name: each for each, name in official.names.items()}

    def ancestors(name: str, which: str) -> set[str]:
        return named(official, official.ancestors(identity[name], which))

    assert ancestors("Dog", "all") == {"Domestic animals, pets", "Animal"}
    assert ancestors("Dog", "direct") == {"Domestic animals, pets"}
    assert ancestors("Female speech, woman speaking", "all") == {"Speech"}
    assert ancestors("Female speech, woman speaking", "through-abstract") == {"Speech", "Human voice", "Human sounds"}


def test_a_node_of_audioset_has_several_parents(official: Ontology) -> None:
    growling = next(each for each, name in official.names.items() if name == "Growling")
    parents = {"Dog", "Cat", "Roaring cats (lions, tigers)", "Canidae, dogs, wolves"}
    assert named(official, official.parents[growling]) == parents
    above = parents | {"Domestic animals, pets", "Wild animals", "Animal"}
    assert named(official, official.ancestors(growling, "all")) == above


def test_what_audiosets_clips_may_be_given(official: Ontology) -> None:
    """Every pair of a class and its child is one of a class and its parent the other way round."""
    relations = {
        (kind, which): ontology.neighbors(official, audioset.RECIPE.labels, kind, which)
        for kind in ("both", "children", "parents")
        for which in ("all", "direct", "through-abstract")
    }
    assert all(each.related.shape == (527, 527) and each.absent == () for each in relations.values())
    children, direct = relations["children", "all"].related, relations["parents", "direct"].related
    np.testing.assert_array_equal(children, direct.T)
    assert (relations["parents", "all"].related >= direct).all()
    assert (relations["parents", "through-abstract"].related >= relations["parents", "all"].related).all()
    np.testing.assert_array_equal(relations["both", "all"].related, children | relations["parents", "all"].related)
    assert not any(each.related.diagonal().any() for each in relations.values())
    dog, bark = _audioset.INDEX["/m/0bt9lr"], _audioset.INDEX["/m/05tny_"]
    assert children[dog, bark] and direct[bark, dog] and not children[bark, dog]


def test_a_chain_goes_on_through_nodes_that_are_no_classes(tree: Callable[..., Ontology]) -> None:
    graph = tree(node("animal", "pet"), node("pet", "dog"), node("dog"))
    assert ontology.neighbors(graph, ("dog", "animal"), "parents").related.tolist() == [[False, True], [False, False]]
    assert not ontology.neighbors(graph, ("dog", "animal"), "parents", "direct").related.any()
    assert not ontology.neighbors(graph, ("dog", "animal"), "children").related.any()


@pytest.mark.parametrize(
    ("nodes", "error"),
    [
        ([node("a", "b"), node("b", "c"), node("c", "a")], "ancestor: (a > b > c > a|b > c > a > b|c > a > b > c)"),
        ([node("a", "a")], "its own ancestor: a > a"),
        ([node("a", "z")], "a has the child 'z', which is no node there"),
        ([node("a"), node("a")], r"node 2 \(a\): the id 'a' was there before"),
        ([{"id": "a"}], "node 1 has no id and name"),
        (["a"], "node 1 has no id and name"),
        ([{**node("a"), "child_ids": "b"}], r"node 1 \(a\): child_ids and restrictions must be lists"),
        ([{**node("a"), "restrictions": [1]}], "must be lists of text"),
        ({"a": []}, "is no list of nodes"),
        ([], "is no list of nodes"),
    ],
)  # fmt: skip
def test_odd_ontologies_are_refused(nodes: Any, error: str, tmp_path: Path) -> None:
    path = written(tmp_path / "odd.json", nodes)
    with pytest.raises(DataError, match=f"^{path}: .*{error}"):
        ontology.read(path)


def test_files_that_are_no_ontologies_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("dog")
    with pytest.raises(DataError, match="is not JSON"):
        ontology.read(tmp_path / "text")
    with pytest.raises(DataError, match=r"cannot be read \(No such file"):
        ontology.read(tmp_path / "none")


def test_ontologies_that_do_not_fit_the_classes_are_refused(tree: Callable[..., Ontology]) -> None:
    with pytest.raises(DataError, match="none of the 2 classes is there, such as Dog"):
        ontology.nodes(tree(node("dog")), ("Dog", "Cat"))
    with pytest.raises(DataError, match="dog is the name of two nodes, dog and other"):
        ontology.nodes(tree(node("dog"), {"id": "other", "name": "dog"}), ("dog",))
    with pytest.raises(DataError, match="animal is abstract there, but a class"):
        ontology.nodes(tree(node("animal", "dog", abstract=True), node("dog")), ("dog", "animal"))


# The table of additions


def dataset(*names: str, recipe: Recipe = RECIPE, **fields: Any) -> Dataset:
    """Clips of `names` with the class 1 and none, by turns; the last is a test clip."""
    examples = [Example(name, (1,) if place % 2 == 0 else (), **fields) for place, name in enumerate(names)]
    return Dataset(recipe, (*examples[:-1], dataclasses.replace(examples[-1], split="test")))


def enhanced(pairs: list[tuple[int, int]], recipe: Recipe = RECIPE) -> labels.Enhancement:
    nothing = np.zeros(len(recipe.labels), int)
    return labels.Enhancement(recipe, 4, Neighbors(np.eye(5, dtype=bool)), nothing, nothing, np.array(pairs))


AWKWARD = ("a/--x_30.0-40.0.wav", 'b/say "hi", you; #1.wav', "b/c\nd.wav", "b/\udcff.wav", "b/#é.wav", "b/test.wav")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    data, path = dataset(*AWKWARD), tmp_path / "added.csv"
    pairs = [(0, 0), (1, 2), (1, 3), (2, 0), (2, 1), (2, 2), (2, 3), (2, 4), (3, 4), (4, 2)]
    names = additions.clip_names(data.examples)
    origin = {"teacher": 'a "b", c\nd', "fold": None}
    additions.write(path, [names[example.path] for example in data.examples], enhanced(pairs), origin)
    added: dict[str, set[int]] = {}
    for clip, target in pairs:
        added.setdefault(AWKWARD[clip], set()).add(target)
    assert {path: set(targets) for path, targets in additions.read_additions(path, data).items()} == added
    assert path.read_bytes().startswith(b'# eranntag labels enhance\r\n# teacher: a "b", c\\x0ad\r\nclip,added\r\n')


def test_people_can_read_and_write_it(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text('clip,added\n\na,"dog;door, slamming"\nb,animal\n', encoding="utf-8-sig")
    data = dataset("x/a.wav", "x/b.flac", "x/c.ogg")
    assert additions.read_additions(tmp_path / "own.csv", data) == {"x/a.wav": (1, 4), "x/b.flac": (0,)}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("clip,added\na,cat\n", " line 2: 'cat' is no class of tiny$"),
        ("# x\n# y\nclip,added\nb,dog\na,\"animal;dogg\"\n", " line 5: 'dogg' is no class of tiny; did you mean 'dog'"),
        ("clip,added\nz,dog\n", " line 2: tiny has no clip 'z' there"),
        ("clip,added\na.wav,dog\n", " line 2: tiny has no clip 'a.wav' there"),
        ("clip,added\nt,dog\n", " line 2: 't' is a test clip"),
        ("clip,added\nb,dog\na,dog\nb,animal\n", " line 4: 'b' was there before"),
        ("clip,added\nb\n", " line 2: is not a clip and its labels"),
        ("clip,added\nb,dog,animal\n", " line 2: is not a clip and its labels"),
        ("clip,added\nb,\n", " line 2: is not a clip and its labels"),
        ('clip,added\nb,"dog\n', " line 2 is not a row of CSV"),
        ("a,dog\n", ": is no table of additions: its first line must be clip,added"),
        ("", ": is no table of additions"),
    ],
)  # fmt: skip
def test_tables_that_do_not_fit_are_refused(text: str, error: str, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=f"^{path}{error}"):
        additions.read_additions(path, dataset("a.wav", "b.wav", "t.wav"))


def test_more_refusals(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        additions.read_additions(tmp_path / "none.csv", dataset("a.wav", "b.wav"))
    with pytest.raises(UsageError, match="esc50: a clip has exactly one class there"):
        additions.read_additions(tmp_path / "none.csv", dataset("a.wav", "b.wav", recipe=esc50.RECIPE))


def test_a_clip_has_the_same_name_in_any_folder_and_in_a_pack() -> None:
    files = ("/data/a/1.wav", "/data/b/1.wav", "/data/b/2.v1.wav", "/data/b/-_3.wav")
    here = additions.clip_names([Example(path, ()) for path in files])
    assert list(here.values()) == ["a/1", "b/1", "2.v1", "-_3"]
    moved = [Example(f"/elsewhere{path.removesuffix('.wav')}.flac", ()) for path in files]
    packed = [Example(ShardEntry("x.tar", 512 * place, 9, path.removeprefix("/data/")), ()) for place, path in enumerate(files)]
    for examples in (moved, packed):
        assert list(additions.clip_names(examples).values()) == list(here.values())


def test_clips_that_no_name_tells_apart_are_refused() -> None:
    for twice in (("/a/1.wav", "/a/1.flac"), ("/a/1.wav", "/a/1.wav")):
        with pytest.raises(DataError, match=r"two clips have the name /?a/1 \(without"):
            additions.clip_names([Example(path, ()) for path in twice])


# The teacher


KEY = teacher.key_of("abc", RECIPE, ["x", "y", "z"])


def rows() -> Iterator[np.ndarray | Failure]:
    yield np.arange(5, dtype=np.float32) / 5
    yield Failure("y", "no sound")
    yield np.full(5, 0.1, np.float32)


def test_kept_scores_are_those_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "scores.npy"
    for scores in (teacher.gather(rows(), (3, 5)), teacher.gather(rows(), (3, 5), path, KEY), teacher.kept(path, KEY)):
        np.testing.assert_array_equal(scores.values, [np.arange(5, dtype=np.float32) / 5, [np.nan] * 5, [np.float32(0.1)] * 5])
        assert scores.failures == (Failure("y", "no sound"),) and scores.values.dtype == np.float32
    np.testing.assert_array_equal(np.load(path), scores.values)  # whoever knows .npy can read it


@pytest.mark.parametrize(
    ("key", "what"),
    [
        (teacher.key_of("abd", RECIPE, ["x", "y", "z"]), "by another teacher"),
        (teacher.key_of("abc", dataclasses.replace(RECIPE, labels=LABELS[::-1]), ["x", "y", "z"]), "of other classes"),
        (teacher.key_of("abc", RECIPE, ["x", "z", "y"]), "of other clips"),
        (teacher.key_of("abc", RECIPE, ["x", "y"]), "of other clips"),
    ],
)
def test_scores_of_something_else_are_refused(key: dict[str, str], what: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.npy"
    teacher.gather(rows(), (3, 5), path, KEY)
    with pytest.raises(DataError, match=f"^{path}: holds scores {what}; delete it"):
        teacher.kept(path, key)


def test_files_that_hold_no_scores_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.npy"
    teacher.gather(rows(), (3, 5), path, KEY)
    whole = path.read_bytes()
    np.save(tmp_path / "other.npy", np.zeros(3))
    flipped, transposed = bytes([whole[131] ^ 1]), whole.replace(b"False", b"True ")
    other = (tmp_path / "other.npy").read_bytes()
    for content in (b"", b"dog", whole[:150], whole[:-9], whole[:131] + flipped + whole[132:], transposed, other):
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"^{path}: holds no teacher's scores"):
            teacher.kept(path, KEY)


def test_an_interrupted_pass_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> Iterator[np.ndarray | Failure]:
        yield np.zeros(5, np.float32)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        teacher.gather(interrupted(), (3, 5), tmp_path / "scores.npy", KEY)
    with pytest.raises(DataError, match="no clip could be read; the first: y: no sound"):
        teacher.gather([Failure("y", "no sound")], (1, 5), tmp_path / "scores.npy", KEY)
    assert list(tmp_path.iterdir()) == []


def test_only_training_clips_of_other_folds_are_heard() -> None:
    clips = (Example("a", (), 1), Example("b", (), 2), Example("c", (), 1, "validation"), Example("d", (), 1, "test"))
    data = Dataset(RECIPE, clips)
    assert [clip.path for clip in teacher.training_clips(data)] == ["a", "b"]
    assert [clip.path for clip in teacher.training_clips(data, 1)] == ["b"]
    with pytest.raises(UsageError, match="has the folds 1, 2, not 3"):
        teacher.training_clips(data, 3)
    with pytest.raises(DataError, match="no clips to train on"):
        teacher.training_clips(Dataset(RECIPE, clips[2:]))


def test_a_teacher_that_knows_the_fold_that_is_left_out_is_named(tiny_checkpoint: Checkpoint) -> None:
    data = Dataset(RECIPE, (Example("a", (), 1), Example("b", (), 2)))
    run = {"recipe": RECIPE.name, "fold": 1}
    knows = dataclasses.replace(tiny_checkpoint, data=RECIPE.title, training=run)
    assert teacher.doubts(knows, data, 1) == () == teacher.doubts(knows, data)
    assert "trained on 1 clips of fold 2" in teacher.doubts(knows, data, 2)[0]


# What comes back of labels that were removed


def forget(
    targets: list[tuple[int, ...]], share: float, candidates: Iterable[int], seed: int
) -> tuple[list[tuple[int, ...]], set[tuple[int, int]]]:
    """The targets without a random share of the labels of `candidates`, and the (clip, class) pairs that were removed."""
    generator, chosen = np.random.default_rng(seed), set(candidates)
    there = [(clip, target) for clip, theirs in enumerate(targets) for target in theirs if target in chosen]
    removed = {pair for pair in there if generator.random() < share}
    return [tuple(t for t in theirs if (clip, t) not in removed) for clip, theirs in enumerate(targets)], removed


def test_removed_labels_come_back(tree: Callable[..., Ontology]) -> None:
    """50 sounds in 5 groups, as in ESC-50: a clip has its sound and its group, and loses its group with probability 0.3. The
    teacher's logit is 2 for what is there, -4 for what is not, with deviation 1: about half of the groups that are there score
    above their mean, and almost none that are not."""
    groups = [f"group {at}" for at in range(5)]
    sounds = [f"sound {at}" for at in range(50)]
    graph = tree(*(node(g, *sounds[10 * at : 10 * at + 10]) for at, g in enumerate(groups)), *map(node, sounds))
    truth = [(clip % 5, 5 + 10 * (clip % 5) + clip // 5 % 10) for clip in range(2000)]
    noise = np.random.default_rng(1).normal(size=(2000, 55))
    scores = 1 / (1 + np.exp(-noise - np.where(metrics.multi_hot(truth, 55), 2, -4)))
    left, removed = forget(truth, 0.3, range(5), seed=2)
    related = ontology.neighbors(graph, groups + sounds, "parents").related
    found = {}
    for which in ("mean", 25, 10):
        pairs = {tuple(p) for p in labels.additions(scores, left, labels.thresholds(scores, left, which), related).tolist()}
        assert pairs <= removed  # the only parent of a sound is its group: nothing wrong can be added here
        found[which] = len(pairs) / len(removed)
    assert 0.5 < found["mean"] < 0.7  # the mean of a skewed distribution is below its median
    assert found[25] == pytest.approx(0.75, abs=0.05) and found[10] == pytest.approx(0.9, abs=0.04)
    children = ontology.neighbors(graph, groups + sounds, "children").related
    wrong = labels.additions(scores, left, labels.thresholds(scores, left), children)
    assert len(wrong) <= 2  # no sound was removed


# The command


TREE = [node("animal", "dog"), node("dog"), node("rain", "door, slamming"), node("siren"), node("door, slamming")]
CLIPS = {  # file: its labels, fold
    "a": ("animal", 1),
    "b": ("dog", 1),
    "c": ("animal;dog", 1),
    "d": ("rain;siren", 2),
    "e": ("door, slamming;rain", 2),
}
CLASSES = ("animal", "dog", "door, slamming", "rain", "siren")
SAID = {  # the teacher's, in the order of CLASSES: b is an animal, and its score 0.8 beats (0.6 + 0.7) / 2
    "a": (0.6, 0.1, 0.1, 0.1, 0.1),
    "b": (0.8, 0.9, 0.1, 0.1, 0.1),
    "c": (0.7, 0.5, 0.1, 0.1, 0.1),
    "d": (0.1, 0.1, 0.9, 0.4, 0.9),
    "e": (0.1, 0.1, 0.8, 0.6, 0.1),
}


@pytest.fixture
def place(tmp_path: Path, wav: Callable[..., Path], tiny_checkpoint: Checkpoint) -> Path:
    """A data set in `data/labels.csv`, its ontology, a teacher."""
    (tmp_path / "data").mkdir()
    with open(tmp_path / "data" / "labels.csv", "w", newline="") as file:
        rows = [("file", "labels", "fold"), *((f"{name}.wav", *row) for name, row in CLIPS.items())]
        csv.writer(file).writerows(rows)
    for name in CLIPS:
        wav(f"data/{name}.wav", np.random.default_rng(ord(name)).normal(0, 0.1, 8000), 16000)
    written(tmp_path / "ontology.json", TREE)
    weights.save(Network(dataclasses.replace(tiny_checkpoint, labels=CLASSES[::-1])), tmp_path / "teacher.safetensors")
    return tmp_path


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The teacher says what SAID says; the clips that it heard."""
    names: list[str] = []

    def said(tagger: Any, sources: Iterable[str], batch: int | None) -> Iterator[Prediction | Failure]:
        for source in sources:
            names.append(Path(source).stem)
            scores = np.array(SAID[names[-1]][::-1], np.float32)
            broken = Path(source).stat().st_size == 0
            yield Failure(source, "no sound") if broken else Prediction(tagger.labels, scores, 1.0, source)

    monkeypatch.setattr(teacher, "predict", said)
    return names


def enhance(place: Path, *options: str | Path) -> Result:
    given = ["csv", "--data", place / "data", "-c", place / "teacher.safetensors", "--ontology", place / "ontology.json"]
    return CliRunner().invoke(cli, ["labels", "enhance", *map(str, [*given, "--device", "cpu", "--engine", "eager", *options])])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_dry_run_shows_and_writes_nothing(place: Path, heard: list[str]) -> None:
    before = files(place)
    result = enhance(place)
    assert (result.exit_code, result.stderr) == (0, "eranntag: nothing is written without --write FILE.csv\n")
    first, _, heading, *rows = result.stdout.splitlines()
    assert first == "2 labels to add to 2 of 5 training clips: 25.0 % of the 8 there are, 2 of 5 classes affected"
    assert heading.split() == ["class", "positives", "threshold", "added", "%"]
    assert [row.split()[-4:] for row in rows] == [
        ["2", "0.6500", "1", "50.0"],
        ["2", "0.7000", "0", "0.0"],
        ["1", "0.8000", "1", "100.0"],
        ["2", "0.5000", "0", "0.0"],
        ["1", "0.9000", "0", "0.0"],
    ]
    assert files(place) == before


def test_the_additions_are_written_and_change_the_data_only_with_them(place: Path, heard: list[str]) -> None:
    out = place / "added.csv"
    result = enhance(place, "--write", out)
    assert (result.exit_code, result.stderr) == (0, f"eranntag: {out} is written\n")
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines[-3:] == ["clip,added", "b,animal", 'd,"door, slamming"']
    assert "# recipe: csv" in lines and "# threshold: mean" in lines and "# type: both" in lines
    data = recipes.load("csv", str(place / "data"))
    added = {Path(str(path)).stem: targets for path, targets in additions.read_additions(out, data).items()}
    assert added == {"b": (0,), "d": (2,)}
    assert enhance(place, "--write", out, "--type", "parents").exit_code == 0  # an older one may be replaced
    assert "d," not in out.read_text(encoding="utf-8")


def test_json_says_the_same(place: Path, heard: list[str]) -> None:
    content = json.loads(enhance(place, "--json", "--threshold", "5", "--ancestors", "direct").stdout)
    assert (content["added"], content["classes_affected"], content["threshold"]) == (2, 2, 5)
    assert content["per_class"][0] == {
        "label": "animal", "positives": 2, "threshold": pytest.approx(0.605), "added": 1, "percent": 50
    }  # fmt: skip


def test_a_fold_is_left_out(place: Path, heard: list[str]) -> None:
    content = json.loads(enhance(place, "--json", "--fold", "2").stdout)
    assert (heard, content["clips"], content["added"], content["fold"]) == (["a", "b", "c"], 3, 1, 2)
    assert content["per_class"][3] == {"label": "rain", "positives": 0, "threshold": None, "added": 0, "percent": None}


def test_one_pass_serves_several_variants(place: Path, heard: list[str]) -> None:
    scores = place / "scores.npy"
    first = enhance(place, "--scores", scores)
    assert heard == list(CLIPS) and first.stdout == enhance(place).stdout
    heard.clear()
    assert enhance(place, "--scores", scores).stdout == first.stdout
    assert "1 labels to add" in enhance(place, "--scores", scores, "--type", "parents").stdout
    assert heard == []
    other = enhance(place, "--scores", scores, "--fold", "1")
    assert (other.exit_code, heard) == (1, [])
    assert other.stderr == f"eranntag: error: {scores}: holds scores of other clips; delete it, or name another file\n"


def test_a_broken_clip_is_named_and_the_exit_code_tells(place: Path, heard: list[str]) -> None:
    (place / "data" / "d.wav").write_bytes(b"")
    for _ in range(2):  # heard, then kept
        result = enhance(place, "--scores", place / "scores.npy", "--write", place / "added.csv")
        assert result.stderr.splitlines()[0] == f"eranntag: {place / 'data' / 'd.wav'}: no sound"
        assert "left as they are: 1 unreadable clips" in result.stdout
        assert result.exit_code == 3 and (place / "added.csv").is_file()
    assert len(heard) == 5


@pytest.mark.parametrize(
    ("options", "error", "code"),
    [
        (("--threshold", "best"), "'best' is neither mean, median nor a percentile", 2),
        (("--threshold", "101"), "'101' is neither", 2),
        (("--threshold", "nan"), "'nan' is neither", 2),
        (("--write", "{place}/none/added.csv"), "must be a file in a folder that exists", 2),
        (("--scores", "{place}"), "must be a file in a folder that exists", 2),
        (("--write", "{place}/data/labels.csv"), "is there, and is no table of additions", 2),
        (("--scores", "{place}/ontology.json"), "holds no teacher's scores", 1),
        (("--ontology", "{place}/teacher.safetensors"), "is not JSON", 1),
        (("-c", "erann-2-2-esc50"), "has 50 classes of its own, not those of csv: only one of them has", 2),
    ],
)
def test_wrong_use_is_one_line_before_any_work(
    place: Path, heard: list[str], options: tuple[str, ...], error: str, code: int
) -> None:
    before = files(place)
    result = enhance(place, *(option.format(place=place) for option in options))
    assert (result.exit_code, result.stdout, heard, files(place)) == (code, "", [], before)
    assert error in result.stderr and len(result.stderr.splitlines()) == 1


def test_data_of_one_class_a_clip_is_refused(place: Path) -> None:
    (place / "data" / "labels.csv").write_text("file,label\na.wav,animal\nb.wav,dog\n")
    result = enhance(place)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("eranntag: error: csv: a clip has exactly one class there, so none can be added")


def test_a_real_teacher_hears_real_files(place: Path) -> None:
    result = enhance(place, "--scores", place / "scores.npy", "--json")
    assert result.exit_code == 0, result.output
    scores = np.load(place / "scores.npy")
    assert scores.shape == (5, 5) and ((scores >= 0) & (scores <= 1)).all()
    clip, model = str(place / "data" / "d.wav"), str(place / "teacher.safetensors")
    options = ("--format", "json", "--device", "cpu", "--engine", "eager", "--top", "5")
    said = json.loads(CliRunner().invoke(cli, ["predict", "-c", model, clip, *options]).stdout)
    tags = {tag["label"]: tag["score"] for tag in said["results"][0]["tags"]}
    np.testing.assert_allclose(scores[3], [tags[label] for label in CLASSES], atol=2e-6)
