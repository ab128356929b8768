"""What is printed; the only users of rich.

* `terminal`: the only ways to standard output and standard error. `progress`: spinners and bars.
* `documents`: results on their way into a document; `predictions`, `events`, `embeddings` and `parquet` are its styles.
* `benchmark`, `checkpoints`, `ensemble`, `evaluation`, `labels`, `training`: tables and lines of the commands of these names.
"""
