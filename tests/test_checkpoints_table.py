"""checkpoints.toml states numbers: here they are computed again. And what a user's own registry may get wrong."""

import shlex
from pathlib import Path

import click
import pytest
import torch

from eranntag import models, registry
from eranntag.checkpoints import header, local_path, sha256, table
from eranntag.cli.train import command as train
from eranntag.errors import CheckpointError, UsageError
from eranntag.features.logmel import Config
from eranntag.network import _Unfilled
from eranntag.recipes import audioset, audioset_balanced, esc50
from eranntag.types import Recipe

TABLE = table.read()
ROWS = [pytest.param(row, id=name) for name, row in TABLE.rows.items()]
EMBEDDED = [row for row in TABLE.rows.values() if row.weights.startswith("embedded:")]
ERANN = "arXiv:2106.01621v2"
TABLE_4 = {  # ERANN v2, Table 4: mAP on AudioSet
    "erann-2-4": 0.430,
    "erann-2-5": 0.446,
    "erann-0-6": 0.447,
    "erann-1-6": 0.450,
    "erann-2-6": 0.448,
    "erann-3-6": 0.436,
}
GOOD = 'title = "Mine"\narchitecture = "erann-1-3"\nclasses = 7\n'


@pytest.mark.parametrize("row", ROWS)
def test_parameters_are_those_of_the_architecture(row: table.Row) -> None:
    family, config = models.resolve(row.architecture)
    with torch.device("meta"), _Unfilled():
        model = registry.get("eranntag.models", family).Model(config, Config().rows, row.classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == row.parameters


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_weights_or_a_command_that_trains_them(row: table.Row) -> None:
    if row.weights:
        return
    program, subcommand, *args = shlex.split(row.command)
    assert (program, subcommand) == ("eranntag", "train")
    with click.Context(train) as context:
        train.parse_args(context, args)
    assert context.params["model"] == row.architecture


def test_the_papers_audioset_models_are_rows_with_the_papers_map() -> None:
    rows = {row.architecture: row.paper for row in TABLE.rows.values() if row.classes == 527 and row.source == ERANN}
    assert {name: paper["value"] for name, paper in rows.items()} == TABLE_4
    assert {(paper["metric"], paper["table"]) for paper in rows.values()} == {("mAP", "Table 4")}


@pytest.mark.parametrize("recipe", [esc50.RECIPE, audioset.RECIPE, audioset_balanced.RECIPE], ids=lambda recipe: recipe.name)
def test_the_papers_models_are_rows_with_the_recipes_numbers(recipe: Recipe) -> None:
    rows = [row for row in TABLE.rows.values() if row.command.startswith(f"eranntag train {recipe.name} ") and row.paper]
    published = {row.model: row.value for row in recipe.paper if row.how == "scratch"}
    assert {row.architecture: row.paper["value"] for row in rows} == published
    assert all(row.command.startswith(f"eranntag train {recipe.name} --model {row.architecture}") for row in rows)
    assert all(row.classes == len(recipe.labels) for row in rows)


def test_embedded_files_have_the_size_and_the_hash_of_their_row() -> None:
    for row in EMBEDDED:
        assert local_path(row).stat().st_size == row.size_bytes
        assert sha256(local_path(row)) == row.sha256


def test_embedded_files_have_the_architecture_and_the_licence_of_their_row() -> None:
    for row in EMBEDDED:
        spec = header.read(local_path(row))
        family, config = models.resolve(row.architecture)
        assert (spec.family, registry.get("eranntag.models", family).Config(**spec.model)) == (family, config)
        assert len(spec.labels) == row.classes
        assert row.licence and spec.licence == row.licence


def test_the_default_is_a_row_with_embedded_weights() -> None:
    """Fails until the trained checkpoint is in the package."""
    assert TABLE.default in [row.name for row in EMBEDDED]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f'[checkpoints.mine]\n{GOOD}wieghts = "x"', "mine: unknown key 'wieghts'; did you mean 'weights'?"),
        (f'[checkpoints.mine]\n{GOOD}name = "other"', "mine: unknown key 'name'"),
        ('[checkpoints.mine]\ntitle = "Mine"\nclasses = 7', "mine: architecture is missing"),
        ("[checkpoints.mine]", "mine: title is missing"),
        ("[checkpoints.mine", "not a TOML file"),
        ("\xff".encode("latin-1"), "not a TOML file"),
        ("[checkpoints]\nmine = 3", "checkpoints must be tables, written [checkpoints.NAME]"),
        ("checkpoints = [1]", "checkpoints must be tables"),
        (f'[checkpoints.mine]\n{GOOD}weights = "hf:me/mine@main/x"', "mine: weights on a hub need their sha256"),
        (
            f'[checkpoints.mine]\n{GOOD}weights = "hf:me/mine@main/x"\nsha256 = "12"',
            "mine: sha256 must be 64 hexadecimal digits",
        ),
        (f"[checkpoints.mine]\n{GOOD}weights = 5", "mine: weights"),
        (f'[checkpoints.mine]\n{GOOD}metrics = "good"', "mine: metrics"),
        ('[checkpoints.mine]\ntitle = "Mine"\narchitecture = "erann-1-3"\nclasses = "seven"', "mine: classes"),
    ],
    ids=lambda value: value if isinstance(value, str) and ":" in value and "\n" not in value else "",
)
def test_a_wrong_registry_is_one_clear_line(content: str | bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointError) as caught:
        table.read(str(path))
    assert str(caught.value).startswith(f"{path}: {words}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.toml", "."])
def test_a_registry_that_cannot_be_read_is_one_clear_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the registry cannot be read"):
        table.read(str(tmp_path / name))


def test_rows_of_a_users_registry_come_first(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(f'[checkpoints.mine]\n{GOOD}[checkpoints.erann-1-6-audioset]\n{GOOD}weights = "x.safetensors"')
    read = table.read(str(path))
    assert read.rows.keys() == {*TABLE.rows, "mine"}
    assert read.row("erann-1-6-audioset").title == "Mine"
    assert local_path(read.row("erann-1-6-audioset")) == tmp_path / "x.safetensors"
    assert read.default == TABLE.default


def test_a_users_registry_may_name_another_default(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(f'default = "mine"\n[checkpoints.mine]\n{GOOD}')
    assert table.read(str(tmp_path / "own.toml")).default == "mine"


def test_an_unknown_name_gets_the_nearest_one_suggested() -> None:
    with pytest.raises(UsageError, match="did you mean 'erann-2-4-audioset'"):
        TABLE.row("erann-2-4-audiset")
    with pytest.raises(UsageError, match="lists the names"):
        TABLE.row("x")
