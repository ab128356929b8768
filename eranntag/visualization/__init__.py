"""Pictures: `figures` of clips, runs and evaluations, and the self-contained page of the `gallery`."""
