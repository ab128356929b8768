"""From a waveform to scores.

* `tagger`: Tagger, the front-end, network and labels of one checkpoint; `ensemble`: several with its interface.
* `pipeline`: many files, decoded ahead and scored in batches; `workers`: by several processes; `sources`: what the user named.
* `detector`: events; `embedding` and `similarity`: vectors; `streaming`: long sounds in bounded memory.
"""
