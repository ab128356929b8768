"""Results as files.

* `formats`, `event_formats`: JSON, JSON lines, CSV; Audacity, Raven, WebVTT.
* `schema`, `parquet`: typed columns; `matrix`: embeddings.
* `journal`, and the outputs that are resumed by it: `resumable_file`, `resumable_folder`, `parquet`.
* `merge`: several outputs as one.
"""
