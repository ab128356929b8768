"""Results as files.

* `formats`, `event_formats`: JSON, JSON lines, CSV; Audacity, Raven, WebVTT.
* `schema`, `parquet`: typed columns; `matrix`: embeddings.
* `resumable_file`, `resumable_folder`, `journal`: outputs that survive a kill; `merge`: several outputs as one.
"""
