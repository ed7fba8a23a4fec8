"""Train the screen of a classifier, and measure what its use loses and spares."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from virnucpro.calling.classifier import Classifier
from virnucpro.calling.screen import cellular_genes, screen_inputs
from virnucpro.data.arrays import Floats
from virnucpro.training.evaluation import CLASSES, FALSE_POSITIVE_RATES, class_of_length, threshold_at
from virnucpro.training.recipe import Labelled, fit, log_odds_of

ALL = "all"  # class of fragments of any length that is called


def fit_screen(
    labelled: Labelled, classifier: Classifier, by_encoder: Floats, before: Floats, seed: int
) -> tuple[Classifier, pd.DataFrame]:
    """Fit a screen, whose networks also learn from the networks of the classifier, and use it on all fragments.

    Args:
        labelled: Fragments, with a column `sequence` in the table of proteins.
        classifier: The classifier that was fitted to these fragments.
        by_encoder, before: Result of `log_odds_of` for the classifier.

    Returns:
        The screen, and the fragments with the columns of `measure_screen`.
    """
    proteins = labelled.proteins
    labelled = labelled._replace(inputs=screen_inputs(proteins["sequence"].tolist()))
    fitted = fit(labelled, seed, by_encoder[labelled.known])
    screen = fitted.classifier(classifier.requirements)
    by_screen, _ = log_odds_of(labelled, fitted, screen)
    is_cellular = cellular_genes(screen, proteins, by_screen, labelled.fragments["length"])
    after = classifier.contig_log_odds(labelled.evidence(np.where(is_cellular, by_screen, by_encoder)))
    is_screened = proteins["contig"][is_cellular].unique()
    after = np.where(labelled.fragments.index.isin(is_screened), after, before)
    sums = proteins.assign(spared=proteins["residues"] * is_cellular).groupby("contig")[["residues", "spared"]].sum()
    sums = sums.reindex(labelled.fragments.index, fill_value=0)
    return screen, labelled.fragments.assign(before=before, after=after, **sums)


def measure_screen(fragments: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Return what a screen loses and spares, one row for each split and class of lengths.

    Args:
        fragments: Columns `viral` (0 or 1), `length`, `fold` (-1 in test groups), `before` and `after` (log-odds
            without and with the screen), `residues` (of all genes) and `spared` (of genes that are not embedded).

    Returns:
        Columns:

        - `split`, `lengths`, `viral`: Split, class of lengths, and number of viral fragments.
        - `auroc`, `auroc_screened`: AUROC without and with the screen.
        - `lost`: Proportion of viral fragments that are found at a false-positive rate of 1.7 % without the screen, and
          fall below the same threshold with it.
        - `spared_cellular`, `spared_viral`: Proportion of residues that are not embedded.
    """
    rows = []
    classes = class_of_length(fragments["length"])
    for split, is_split in (("cross-validation", fragments["fold"] >= 0), ("test", fragments["fold"] < 0)):
        for lengths in (ALL, *CLASSES):
            is_class = classes.notna() if lengths == ALL else classes == lengths
            found = fragments[is_split & is_class]
            if found["viral"].nunique() == 2:
                rows.append({"split": split, "lengths": lengths} | _measure(found))
    return rows


def _measure(fragments: pd.DataFrame) -> dict[Hashable, Any]:
    viral = fragments["viral"].to_numpy()
    before, after = (fragments[name].to_numpy() for name in ("before", "after"))
    threshold = threshold_at(FALSE_POSITIVE_RATES[0], before, viral)
    sums = fragments.groupby("viral")[["residues", "spared"]].sum()
    spared = (sums["spared"] / sums["residues"].clip(lower=1)).round(4)
    return {
        "viral": int(viral.sum()),
        "auroc": round(float(roc_auc_score(viral, before)), 4),
        "auroc_screened": round(float(roc_auc_score(viral, after)), 4),
        "lost": round(float(((before >= threshold) & (after < threshold))[viral == 1].mean()), 4),
        "spared_cellular": float(spared[0]),
        "spared_viral": float(spared[1]),
    }
