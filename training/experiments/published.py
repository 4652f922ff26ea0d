"""The figures that the paper prints (Fu et al., WSDM 2024, tables 2 to 6), in percent.

Its figures 3 and 6 are drawings without numbers. Keys are the panels and series of `plan`.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One cell: HR@10 and, where printed, NDCG@10, in percent."""

    hr10: float
    ndcg10: float | None = None


Row = Mapping[str, Published]  # by series
Encoder = str  # what the paper used as item encoder


def _row(series: tuple[str, ...], hr10: tuple[float, ...], ndcg10: tuple[float, ...]) -> Row:
    return {s: Published(h, n) for s, h, n in zip(series, hr10, ndcg10, strict=True)}


def _hr(series: tuple[str, ...], hr10: tuple[float, ...]) -> Row:
    return {s: Published(h) for s, h in zip(series, hr10, strict=True)}


_T2 = ("FTA", "AdaT")
_T3 = ("Houlsby", "Pfeiffer", "Compacter", "K-Adapter", "Prompt tuning", "LN-tuning")
_T4 = ("Adapter", "Adapter Ei", "Adapter Eu")
_T5 = ("MHA+FFN (Houlsby)", "MHA (Pfeiffer)", "FFN", "MHA++", "FFN++")
_T6 = ("Serial w/ LN", "Serial w/o LN", "Parallel w/ LN", "Parallel w/o LN")

RESULTS: Mapping[str, Mapping[str, Mapping[Encoder, Row]]] = {
    "table2": {
        "SASRec text": {
            "BERT": _row(_T2, (32.83, 32.52), (17.33, 17.44)),
            "RoBERTa": _row(_T2, (32.02, 33.14), (16.95, 17.54)),
        },
        "CPC text": {
            "BERT": _row(_T2, (29.56, 30.07), (15.81, 16.12)),
            "RoBERTa": _row(_T2, (29.90, 30.64), (15.86, 16.20)),
        },
        "SASRec image": {
            "ViT": _row(_T2, (29.00, 27.66), (25.61, 24.36)),
            "MAE": _row(_T2, (28.10, 25.67), (22.92, 21.99)),
        },
        "CPC image": {
            "ViT": _row(_T2, (26.56, 25.29), (22.09, 21.49)),
            "MAE": _row(_T2, (27.50, 25.18), (23.51, 21.83)),
        },
    },
    "table3": {
        "SASRec text": {
            "BERT": _row(
                _T3, (32.52, 31.49, 29.56, 31.30, 20.42, 15.85), (17.44, 16.62, 15.32, 16.71, 11.02, 7.89)
            )
        },
        "CPC text": {
            "BERT": _row(
                _T3, (30.07, 29.32, 26.40, 28.49, 20.31, 15.81), (16.12, 15.37, 13.73, 15.01, 10.42, 8.65)
            )
        },
        "SASRec image": {
            "ViT": _row(
                _T3, (27.66, 27.34, 21.77, 22.17, 22.10, 19.89), (24.36, 21.45, 14.81, 13.65, 15.72, 13.49)
            )
        },
        "CPC image": {
            "ViT": _row(
                _T3, (25.29, 24.63, 18.91, 18.05, 19.43, 18.79), (21.49, 21.37, 11.86, 11.36, 13.99, 13.00)
            )
        },
    },
    "table4": {
        "SASRec text": {"BERT": _row(_T4, (32.75, 32.45, 3.17), (17.40, 17.50, 1.58))},
        "CPC text": {"BERT": _row(_T4, (30.07, 29.56, 17.49), (16.12, 16.02, 9.34))},
        "SASRec image": {"ViT": _row(_T4, (27.89, 15.79, 5.78), (24.67, 10.51, 1.75))},
        "CPC image": {"ViT": _row(_T4, (25.48, 23.37, 9.57), (21.73, 19.32, 6.57))},
    },
    "table5": {
        "SASRec text": {"BERT": _hr(_T5, (32.52, 31.49, 31.72, 31.71, 31.58))},
        "SASRec image": {"ViT": _hr(_T5, (27.66, 27.34, 27.01, 27.49, 27.05))},
    },
    "table6": {
        "SASRec text": {"BERT": _hr(_T6, (32.52, 32.75, 32.70, 31.88))},
        "CPC text": {"BERT": _hr(_T6, (30.07, 29.62, 30.28, 29.66))},
        "SASRec image": {"ViT": _hr(_T6, (27.66, 27.89, 26.63, 27.39))},
        "CPC image": {"ViT": _hr(_T6, (25.30, 25.48, 24.92, 24.92))},
    },
}

# Table 2's last column as printed, HR@10 and NDCG@10; it is not always that of the rounded figures above.
DIFFERENCES: Mapping[str, Mapping[Encoder, Mapping[str, str]]] = {
    "SASRec text": {
        "BERT": {"hr10": "-0.94%", "ndcg10": "+0.63%"},
        "RoBERTa": {"hr10": "+3.38%", "ndcg10": "+3.36%"},
    },
    "CPC text": {
        "BERT": {"hr10": "+1.69%", "ndcg10": "+1.92%"},
        "RoBERTa": {"hr10": "+2.42%", "ndcg10": "+2.10%"},
    },
    "SASRec image": {
        "ViT": {"hr10": "-4.59%", "ndcg10": "-4.88%"},
        "MAE": {"hr10": "-8.61%", "ndcg10": "-4.05%"},
    },
    "CPC image": {
        "ViT": {"hr10": "-4.78%", "ndcg10": "-2.72%"},
        "MAE": {"hr10": "-8.44%", "ndcg10": "-7.14%"},
    },
}

# Trainable parameters as printed: a share of full fine-tuning, of the table's first column, or a count.
TRAINABLE: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "table2": {
        "BERT": {"FTA": "100%", "AdaT": "2.23%"},
        "RoBERTa": {"FTA": "100%", "AdaT": "1.95%"},
        "ViT": {"FTA": "100%", "AdaT": "2.82%"},
        "MAE": {"FTA": "100%", "AdaT": "2.82%"},
    },
    "table3": {
        "BERT": dict(zip(_T3, ("2.23%", "1.13%", "0.09%", "8.69%", "0.03%", "0.04%"), strict=True)),
        "ViT": dict(zip(_T3, ("2.82%", "1.43%", "0.12%", "11.03%", "0.07%", "0.05%"), strict=True)),
    },
    "table4": {
        encoder: dict(zip(_T4, ("100%", "99.64%", "0.36%"), strict=True)) for encoder in ("BERT", "ViT")
    },
    "table5": {
        encoder: dict(
            zip(_T5, ("2,426,816", "1,232,928", "1,232,928", "2,417,472", "2,417,472"), strict=True)
        )
        for encoder in ("BERT", "ViT")
    },
}
