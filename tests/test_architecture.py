"""The rules of docs/architecture.md: who may import whom, and what a plug-in file must hold."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import torch

import eranntag
from eranntag import models, registry
from eranntag.errors import DataError, UsageError
from eranntag.inference.activations import ACTIVATIONS
from eranntag.training.augment.options import MIXUPS, parse
from eranntag.training.samplers import SAMPLERS
from eranntag.training.schedules import SCHEDULES
from eranntag.types import Output, Recipe

PACKAGE = Path(eranntag.__file__).parent
TABLE = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
ROW = {unit: int(row) for row, units in re.findall(r"^ ?(\d+)  (\w.*)$", TABLE, re.MULTILINE) for unit in units.split()}
PLUG_INS = ("features", "models", "recipes")  # folders whose files are alternatives
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for path in MODULES]


@cache
def imported(path: Path) -> tuple[str, ...]:
    """Full names that a file imports anywhere: under TYPE_CHECKING and in functions too, and by name through calls
    such as `registry.get("eranntag.features", ...)`. `eranntag.load` counts as what it stands for."""
    return tuple(_imported(ast.parse(path.read_text(encoding="utf-8"))))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name != "eranntag")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            yield from (_home(f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "eranntag":
            if not node.attr.startswith("__"):
                yield _home(f"eranntag.{node.attr}")
        elif isinstance(node, ast.Call):
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            yield from (text for text in texts if re.fullmatch(r"eranntag(\.\w+)+", text))


def _home(name: str) -> str:
    """`eranntag.Clip` is `eranntag.types.Clip`."""
    package, _, attribute = name.rpartition(".")
    return f"eranntag.{eranntag._HOMES[attribute]}" if package == "eranntag" and attribute in eranntag._HOMES else name


def unit(name: str) -> str:
    """The part of a module's name that has a row: `eranntag.models.erann` -> `models`."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and not parts[1].startswith("__") else parts[-1] if len(parts) > 1 else "__init__"


def test_every_module_has_a_row() -> None:
    assert {unit(name) for name in NAMES} - ROW.keys() == set()


def test_modules_import_only_from_lower_rows() -> None:
    wrong = [
        f"{name} (row {ROW[unit(name)]}) imports {other} (row {ROW[unit(other)]})"
        for name, path in zip(NAMES, MODULES, strict=True)
        for other in imported(path)
        if other.startswith("eranntag.") and unit(other) not in (unit(name), "__version__")
        if ROW[unit(other)] >= ROW[unit(name)] and unit(name) != "__main__"
    ]
    assert not wrong, "\n".join(wrong)


def test_no_room_imports_the_private_modules_of_another() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, path in zip(NAMES, MODULES, strict=True)
        for other in imported(path)
        if other.startswith("eranntag.") and unit(other) != unit(name) != "__main__"
        if any(part.startswith("_") and not part.startswith("__") for part in other.split("."))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PLUG_INS)
def test_plug_ins_do_not_import_each_other(package: str) -> None:
    siblings = {path.stem for path in (PACKAGE / package).glob("*.py") if not path.stem.startswith("_")}
    for path in (PACKAGE / package).glob("*.py"):
        for name in imported(path):
            parts = name.split(".")
            if parts[:2] == ["eranntag", package] and len(parts) > 2 and parts[2] != path.stem:
                assert parts[2] not in siblings, f"{path.name} imports {name}"


@pytest.mark.parametrize(("library", "owner"), [("click", "cli"), ("rich", "cli.display"), ("matplotlib", "visualization")])
def test_click_rich_and_matplotlib_have_one_owner_each(library: str, owner: str) -> None:
    modules = zip(NAMES, MODULES, strict=True)
    users = [name for name, path in modules if any(each.split(".")[0] == library for each in imported(path))]
    assert users and all(f"{name}.".startswith(f"eranntag.{owner}.") for name in users)


def test_the_import_finder_sees_hidden_imports(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "from typing import TYPE_CHECKING\nimport eranntag\n"
        "if TYPE_CHECKING:\n    from eranntag.inference.tagger import Tagger\n"
        "def f():\n    import eranntag.cli\n    from eranntag import audio, load\n"
        "    registry.get('eranntag.models', 'erann')\n    return eranntag.read, eranntag.__file__\n"
    )
    assert [name for name in sorted(imported(path)) if name.startswith("eranntag")] == [
        "eranntag.audio", "eranntag.audio.reader", "eranntag.checkpoints.loading", "eranntag.cli",
        "eranntag.inference.tagger.Tagger", "eranntag.models",
    ]  # fmt: skip


def test_light_modules_import_nothing_heavy_at_the_top() -> None:
    """`--help`, usage errors and the table of checkpoints must be instant."""
    units = ("__init__", "__main__", "types", "errors", "registry", "files", "cli")
    modules = ("eranntag.results.formats", "eranntag.inference.sources", "eranntag.checkpoints.catalog")
    for name, path in zip(NAMES, MODULES, strict=True):
        late = name.startswith("eranntag.cli.display.") or name == "eranntag.cli._diagnostics"  # imported by a running command
        if name in modules or (unit(name) in units and not late):
            top = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if not isinstance(node, ast.If)]
            heavy = {"torch", "numpy", "rich", "soundfile", "safetensors", "eranntag.inference.tagger", "eranntag.audio.reader"}
            found = {
                name
                for node in top
                if isinstance(node, ast.Import | ast.ImportFrom)
                for name in _imported(node)
                if heavy & {name.split(".")[0], ".".join(name.split(".")[:2])}
            }
            assert not found, f"{path} imports {found}"


# Contracts of the registries


def front_ends() -> tuple[str, ...]:
    return registry.names("eranntag.features")


def families() -> tuple[str, ...]:
    return registry.names("eranntag.models")


def recipes() -> tuple[str, ...]:
    return registry.names("eranntag.recipes")


def is_frozen(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen


def test_a_registry_is_its_folder() -> None:
    for package in PLUG_INS:
        files = {path.stem for path in (PACKAGE / package).glob("*.py")}
        assert set(registry.names(f"eranntag.{package}")) == {name for name in files if not name.startswith("_")}
        assert registry.names(f"eranntag.{package}")


@pytest.mark.parametrize("name", front_ends())
def test_a_front_end_keeps_its_contract(name: str) -> None:
    module = registry.get("eranntag.features", name)
    assert module.__doc__ and is_frozen(module.Config) and module.IN_WORDS
    config = module.Config()
    frontend = module.Frontend(config)
    for samples, multiple in ((1, 1), (config.sample_rate_hz, 16), (3 * config.sample_rate_hz, 128)):
        padded = config.padded_samples(samples, multiple)
        assert padded >= samples and config.padded_samples(padded, multiple) >= padded
        with torch.autocast("cpu", torch.bfloat16):
            image = frontend(0.1 * torch.randn(2, padded))
        assert image.shape[:3] == (2, 1, config.rows) and image.dtype == torch.float32
        assert image.shape[3] % multiple == 0 and image.shape[3] > 0
        assert torch.isfinite(image).all()


@pytest.mark.parametrize("name", families())
def test_a_model_family_keeps_its_contract(name: str) -> None:
    module = registry.get("eranntag.models", name)
    assert module.__doc__ and is_frozen(module.Config)
    assert module.from_name("no such architecture") is None
    config = module.Config()
    assert module.from_name(module.to_name(config)) == config
    assert models.resolve(module.to_name(config)) == (name, config)
    with torch.device("meta"):
        model = module.Model(config, 128, 5).eval()
        image = torch.empty(2, 1, 128, 2 * model.frame_multiple)
        for output in (model(image), model(image, mask=torch.ones_like(image))):
            assert isinstance(output, Output) and output.clip_logits.shape == (2, 5)
        model.replace_head(7)
        assert model(image).clip_logits.shape == (2, 7)


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_keeps_its_contract(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = registry.get("eranntag.recipes", name)
    recipe = module.RECIPE
    assert module.__doc__ and isinstance(recipe, Recipe) and recipe.name == name and recipe.title
    if recipe.labels:  # else the data has the last word on them
        assert len(set(recipe.labels)) == len(recipe.labels) > 1 and all(isinstance(label, str) for label in recipe.labels)
        assert recipe.licence
    else:
        assert recipe.folds == () and recipe.paper == ()
    assert len(set(recipe.folds)) == len(recipe.folds) and all(isinstance(fold, int) for fold in recipe.folds)
    assert recipe.activation in ACTIVATIONS
    assert recipe.metric in {"softmax": ("accuracy",), "sigmoid": ("mAP", "micro_AP")}[recipe.activation]
    config = recipe.training
    assert config.schedule in SCHEDULES and config.sampler in SAMPLERS and config.mixup in MIXUPS
    assert set(parse(config.augment)) == set(config.augment)
    assert min(config.iterations, config.batch, config.learning_rate, config.evaluate_every, config.mixup_alpha) > 0
    assert set(recipe.fine_tuning) == {"iterations", "learning_rate", "evaluate_every"} and min(recipe.fine_tuning.values()) > 0
    assert config.crop_seconds > 0 and recipe.min_seconds >= 1 and 0 < config.ema_decay < 1
    assert len({(result.model, result.how, result.metric) for result in recipe.paper}) == len(recipe.paper)
    for result in recipe.paper:
        assert models.resolve(result.model) and 0 < result.value < 1 and result.table
        assert result.how.split(",")[0] in ("scratch", "fine-tuned")
    monkeypatch.delenv("ERANNTAG_DATA", raising=False)
    for data in (None, "", str(tmp_path), str(tmp_path / "missing")):
        with pytest.raises(DataError, match=f"^{name}: .*--data.*ERANNTAG_DATA"):
            module.read(data)


def test_an_unknown_plug_in_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"no 'logmell' among the features.*did you mean 'logmel'"):
        registry.get("eranntag.features", "logmell")
    for hidden in ("_filters", "__init__", "..types", ""):
        with pytest.raises(UsageError):
            registry.get("eranntag.features", hidden)


def test_the_public_names_are_there() -> None:
    for name in eranntag.__all__:
        assert getattr(eranntag, name) is not None
        if name in eranntag._HOMES:
            assert getattr(eranntag, name) is getattr(import_module(f"eranntag.{eranntag._HOMES[name]}"), name)
    assert set(eranntag._HOMES) == set(eranntag.__all__) - {"__version__"}
    with pytest.raises(AttributeError, match="nonsense"):
        getattr(eranntag, "nonsense")  # noqa: B009
