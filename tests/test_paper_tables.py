"""The published numbers of the recipes, as the papers print them."""

import pytest

from eranntag import registry
from eranntag.recipes import mixtures
from eranntag.types import Published

# (recipe, table, how it was trained) -> model -> value; the sources are those of the reference specification
ERANN = "ERANN v2, Table "
PSLA = "PSLA, Table "
NOTHING = "no balanced sampling, no mixup, no masking"
PRINTED = {
    ("audioset", ERANN + "3", "scratch, no mixup"): {"erann-2-5": 0.430},
    ("audioset", ERANN + "3", "scratch, standard mixup"): {"erann-2-5": 0.443},
    ("audioset", ERANN + "3", "scratch, log-mel mixup"): {"erann-2-5": 0.439},
    ("audioset", ERANN + "3", "scratch, no SpecAugment"): {"erann-2-5": 0.441},
    ("audioset", ERANN + "4", "scratch"): {
        "erann-2-4": 0.430,
        "erann-2-5": 0.446,
        "erann-0-6": 0.447,
        "erann-1-6": 0.450,
        "erann-2-6": 0.448,
        "erann-3-6": 0.436,
    },
    ("audioset", PSLA + "II", f"scratch, no ImageNet, {NOTHING}"): {"psla": 0.3723, "psla-resnet-50": 0.3790},
    ("audioset", PSLA + "IV", f"scratch, {NOTHING}"): {"psla": 0.3939},
    ("audioset", PSLA + "IV", "scratch, no mixup, no masking"): {"psla": 0.3721},
    ("audioset", PSLA + "IV", "scratch, no mixup"): {"psla": 0.4265},
    ("audioset", PSLA + "IV", "scratch"): {"psla": 0.4397},
    ("audioset_balanced", PSLA + "II", "scratch, no ImageNet, no mixup, no masking"): {
        "psla": 0.1570,
        "psla-resnet-50": 0.1635,
    },
    ("audioset_balanced", PSLA + "IV", "scratch, no mixup, no masking"): {"psla": 0.2385},
    ("audioset_balanced", PSLA + "IV", "scratch, no mixup"): {"psla": 0.2818},
    ("audioset_balanced", PSLA + "IV", "scratch"): {"psla": 0.3108},
    ("audioset_balanced", PSLA + "VIII, types I and II", "scratch, enhanced labels"): {"psla": 0.3162},
    ("esc50", ERANN + "6", "scratch"): {
        "erann-0-3": 0.882,
        "erann-1-3": 0.892,
        "erann-0-4": 0.892,
        "erann-1-4": 0.891,
        "erann-2-4": 0.880,
        "erann-2-5": 0.879,
    },
    ("esc50", ERANN + "6", "fine-tuned"): {
        "erann-2-4": 0.949,
        "erann-2-5": 0.961,
        "erann-0-6": 0.953,
        "erann-1-6": 0.954,
        "erann-2-6": 0.959,
    },
    ("urbansound8k", ERANN + "8", "scratch"): {
        "erann-0-3": 0.823,
        "erann-1-3": 0.829,
        "erann-0-4": 0.826,
        "erann-1-4": 0.835,
        "erann-2-4": 0.826,
        "erann-2-5": 0.813,
    },
    ("urbansound8k", ERANN + "8", "fine-tuned"): {
        "erann-2-4": 0.897,
        "erann-2-5": 0.903,
        "erann-0-6": 0.904,
        "erann-1-6": 0.906,
        "erann-2-6": 0.908,
    },
    ("ravdess", ERANN + "9", "scratch, no pitch shift"): {"erann-1-3": 0.669, "erann-0-4": 0.705},
    ("ravdess", ERANN + "9", "scratch"): {
        "erann-1-3": 0.731,
        "erann-0-4": 0.748,
        "erann-1-4": 0.741,
        "erann-2-4": 0.722,
        "erann-2-5": 0.720,
    },
    ("ravdess", ERANN + "9", "fine-tuned"): {
        "erann-2-4": 0.730,
        "erann-2-5": 0.737,
        "erann-0-6": 0.743,
        "erann-1-6": 0.735,
        "erann-2-6": 0.734,
    },
}
# 2APAE's Tables IV and V: micro precision, macro precision and AUC at each level; one AUC is misprinted
MIXTURES = {
    20: {
        ("gap", "IV", "scratch"): (0.5067, 0.6127, 0.9338),
        ("gmp", "IV", "scratch"): (0.5390, 0.5186, 0.8497),
        ("gwrp", "IV", "scratch"): (0.7018, 0.7522, 0.9362),
        ("atrous", "IV", "scratch"): (0.7391, 0.7586, 0.9279),
        ("2apae", "IV", "scratch"): (0.7829, 0.7645, 0.9390),
        ("2apae", "V", "scratch, alpha 0"): (0.7772, 0.7648, 0.9389),
        ("2apae", "V", "scratch, alpha 0.01"): (0.7637, 0.7464, 0.9333),
    },
    10: {
        ("gap", "IV", "scratch"): (0.4291, 0.5390),
        ("gmp", "IV", "scratch"): (0.5263, 0.5023, 0.8422),
        ("gwrp", "IV", "scratch"): (0.6538, 0.7129, 0.9265),
        ("atrous", "IV", "scratch"): (0.6740, 0.7404, 0.9211),
        ("2apae", "IV", "scratch"): (0.7603, 0.7486, 0.9343),
        ("2apae", "V", "scratch, alpha 0"): (0.7430, 0.7383, 0.9299),
        ("2apae", "V", "scratch, alpha 0.01"): (0.7428, 0.7278, 0.9277),
    },
    0: {
        ("gap", "IV", "scratch"): (0.3295, 0.4093, 0.8694),
        ("gmp", "IV", "scratch"): (0.4640, 0.4441, 0.8189),
        ("gwrp", "IV", "scratch"): (0.5285, 0.6084, 0.8985),
        ("atrous", "IV", "scratch"): (0.5714, 0.6341, 0.9014),
        ("2apae", "IV", "scratch"): (0.6986, 0.6892, 0.9177),
        ("2apae", "V", "scratch, alpha 0"): (0.6937, 0.6807, 0.9144),
        ("2apae", "V", "scratch, alpha 0.01"): (0.6792, 0.6689, 0.9114),
    },
}


def test_the_recipes_have_the_printed_numbers_and_no_others() -> None:
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for name in registry.names("eranntag.recipes"):
        for row in registry.get("eranntag.recipes", name).RECIPE.paper:
            assert row.metric == ""
            found.setdefault((name, row.table, row.how), {})[row.model] = row.value
    assert found == PRINTED


@pytest.mark.parametrize("snr_db", MIXTURES)
def test_mixtures_have_the_printed_numbers_of_their_level(snr_db: int) -> None:
    found: dict[tuple[str, str, str], tuple[float, ...]] = {}
    for row in mixtures.PAPER[snr_db]:
        key = row.model, row.table.removeprefix("2APAE, Table "), row.how
        assert row.metric == ("", "mAP", "mAUC")[len(found.get(key, ()))]
        found[key] = (*found.get(key, ()), row.value)
    assert found == MIXTURES[snr_db]


def test_a_row_holds_the_settings_that_its_words_mean() -> None:
    rows: dict[str, Published] = {}
    for name in ("audioset", "ravdess", "esc50", "audioset_balanced"):
        rows |= {row.how: row for row in registry.get("eranntag.recipes", name).RECIPE.paper}
    assert rows["scratch"].changes == {} and not rows["scratch"].fine_tuned and rows["fine-tuned"].fine_tuned
    assert rows["scratch, no pitch shift"].changes == {"augment": ("spec-augment",)}
    assert rows["scratch, enhanced labels"].changes == {"added_labels": True}
    everything = {"pretrained": False, "sampler": "shuffle", "mixup": "none", "augment": ()}
    assert rows[f"scratch, no ImageNet, {NOTHING}"].changes == everything
