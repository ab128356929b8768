"""Options that several commands share; a group of options is a frozen dataclass.

* `group`: a dataclass of options, and the decorator that adds it to a command.
* `common`: single options: checkpoint registry, data set, engine, device, JSON.
* `inputs`, `output`, `workers`: what is read, where results go, and which processes compute.
* `tagger`, `detector`, `labels`: which checkpoint runs and how, when a score is an event, and which labels are kept.
* `training`: the options of training runs. `plot`: pictures beside the results.
"""
