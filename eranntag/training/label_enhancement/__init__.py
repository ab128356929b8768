"""PSLA's label enhancement.

`ontology` (AudioSet's tree), `teacher` (its thresholds), `additions` (the file of labels), `enhance` (all of it).
"""
