"""How a Tagger is executed: `eager` (torch as it trains), `torch` (made fast), `openvino`.

* `selection`: which engine executes a checkpoint here.
* `verify`: whether a faster form computes the scores of float32.
"""
