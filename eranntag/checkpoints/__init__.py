"""Checkpoints: one safetensors file with the specification in its header.

* `loading`: a name, a path or a hub's address as a verified Tagger.
* `catalog`: the rows of checkpoints.toml.
* `weights`, `header`, `digest`: the weight file.
* `fetch`, `hub`, `web`, `transfer`: downloads; `limits`: of files that others wrote.
* `convert`: published weights in other forms; `export`: ONNX and OpenVINO IR.
"""
