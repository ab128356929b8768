"""Speed and size, beside the papers' tables.

* `run`: the measurements of `eranntag bench`, in order.
* `report_page`: docs/benchmarks.md.
"""
