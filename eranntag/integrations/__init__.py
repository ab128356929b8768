"""Clusters: `ray`, and the `worker` that Ray's actors and Spark's tasks (docs/scale.md) start."""
