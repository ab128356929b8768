"""Distributed engines: `ray`, `spark`, and the `worker` that both start."""
