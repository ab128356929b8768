"""Data sets as files.

* `shards`, `shard_writer`: tar shards, read and written.
* `pack`: a recipe's clips as shards.
* `mixing`: events mixed into backgrounds, with strong labels.
"""
