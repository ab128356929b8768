"""Model families: image -> Output. One file each; the file name is the family's name.

A family module has

* `Config`: a frozen dataclass of hyper-parameters; `from_name(name) -> Config | None` and `to_name(config)`
  convert the paper's model names to configurations and back; `config_for_other_frontend(config)` returns the
  configuration for another front-end than the paper's;
* `FRONTEND`: the name of the paper's front-end, and the arguments of that front-end's `Config`;
* `HEADS`: the last layers that `Model.replace_head` can reinitialize, the default first;
* `Model(config, rows, classes)`: a `torch.nn.Module` with the members of `_contracts.Model`. It is a ColumnModel if it
  pools plainly over time, else it derives from WindowedModel; it may also be a PretrainedModel, StandardizingModel or
  OptimizableModel.
"""

from eranntag.models._contracts import (
    ColumnModel,
    Model,
    OptimizableModel,
    PretrainedModel,
    StandardizingModel,
    WindowedModel,
)
from eranntag.models._names import described, front_end, name_of, resolve

__all__ = [
    "ColumnModel",
    "Model",
    "OptimizableModel",
    "PretrainedModel",
    "StandardizingModel",
    "WindowedModel",
    "described",
    "front_end",
    "name_of",
    "resolve",
]
