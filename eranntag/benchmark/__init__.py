"""Speed and memory, beside the papers' tables.

* `run`: all measurements of `eranntag bench`, by a `plan`, of each of the `subjects`.
* `tagging`: a checkpoint in this process. `cold_start`: in fresh processes. `peers`: other taggers.
* `training`: a training iteration. `frontends`: every front-end. `memory`: `predict` on many files and long ones.
* `timing`: how time is measured. `machine`: hardware and versions. `paper`: the published speeds.
* `report_page`: docs/benchmarks.md.
"""
