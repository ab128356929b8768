"""How to train on data of one's own, which no paper describes: the values are this project's choice.

Own data sets are small, often unbalanced, and most often fine-tuned on, so runs are short and every class is drawn equally
often. The papers' average of the weights, 0.999, would still hold two thirds of its start after 400 iterations: 0.99 here.
"""

from eranntag.types import Recipe, TrainingConfig

OWN = Recipe(
    name="",
    title="",
    licence="",
    labels=(),
    activation="softmax",
    folds=(),
    metric="accuracy",
    training=TrainingConfig(
        crop_seconds=4.0,
        iterations=2_000,
        learning_rate=2e-4,
        evaluate_every=50,
        ema_decay=0.99,
        sampler="balanced",
    ),
    fine_tuning={"iterations": 400, "learning_rate": 1e-4, "evaluate_every": 25},
)
