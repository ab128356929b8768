"""Mixtures of events and backgrounds.

`plan` draws them, `mix` computes them, `write` makes the files, `presets` names protocols.
"""
