"""How good a Tagger is.

* `tagging`: accuracy, mAP, mAUC, d', F1 and thresholds on a recipe's clips.
* `sed`: segment- and event-based F1 of detected events.
* `metrics`: the numbers alone, from arrays.
* `label_map`: scores of a checkpoint's labels as scores of a recipe's classes.
"""
