"""Figures as printed in Wei et al., ICLR 2024, tables 1-10, one row a system.

They are rough orderings: `feasibility.py` shows that many rows cannot come from one list of hits. Facts only; which
runner stands for a printed name is our reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Values = tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """One printed line: the paper's name for it, the runner that stands for it (None: none can), its figures."""

    label: str
    runner: str | None
    values: Values
    variant: str = "clean"
    parameters: Mapping[str, str] | None = None


@dataclass(frozen=True)
class PaperTable:
    """One printed table, or one part of it that has metrics of its own."""

    name: str
    title: str
    task: str
    cohort: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        """The number of the table of which this is all or a part."""
        return int("".join(c for c in self.name if c.isdigit()))


_AT3 = ("hr@3", "ndcg@3", "mrr@3")
_AT5 = ("hr@5", "ndcg@5", "mrr@5")
_SPLIT = "the paper: leave-one-out; its released code: an 80/10/10 split of users whose test users are unseen"
_RANK = "full catalogue; here seen items are masked for every system alike"


def _rows(*lines: tuple[str, str | None, Values]) -> tuple[Row, ...]:
    return tuple(Row(*line) for line in lines)


def _alone(label: str, values: Values, variant: str = "clean", **parameters: str) -> Row:
    """A row of an ablation: the model without neighbours, which are ours and make up for what a row leaves out."""
    return Row(label, "unimp", values, variant, {"neighbours": "false", **parameters})


_TABLES = (
    PaperTable(
        "table1",
        "recommendation",
        "recommendation",
        "in_domain",
        (*_AT3, *_AT5),
        _rows(
            ("MF", "mf", (0.0105, 0.0077, 0.0065, 0.0165, 0.0093, 0.0078)),
            ("MACR", "macr", (0.0110, 0.0080, 0.0068, 0.0170, 0.0105, 0.0091)),
            ("LightGCN", "lightgcn", (0.0142, 0.0103, 0.0088, 0.0206, 0.0129, 0.0094)),
            ("UltraGCN", "ultragcn", (0.0151, 0.0111, 0.0095, 0.0215, 0.0134, 0.0102)),
            ("HGN", "hgn", (0.0167, 0.0113, 0.0113, 0.0231, 0.0153, 0.0117)),
            ("GRU4Rec", "gru4rec", (0.0132, 0.0101, 0.0086, 0.0201, 0.0128, 0.0096)),
            ("SASRec", "sasrec", (0.0189, 0.0124, 0.0102, 0.0276, 0.0175, 0.0126)),
            ("S3-Rec", "s3rec", (0.0205, 0.0149, 0.0133, 0.0311, 0.0193, 0.0156)),
            ("BERT4Rec", "bert4rec", (0.0121, 0.0092, 0.0079, 0.0198, 0.0127, 0.0105)),
            ("UniSRec", "unisrec", (0.0201, 0.0146, 0.0135, 0.0281, 0.0191, 0.0158)),
            ("P5", "p5", (0.0086, 0.0056, 0.0042, 0.0124, 0.0074, 0.0061)),
            ("VIP5+", "vip5", (0.0175, 0.0125, 0.0108, 0.0262, 0.0163, 0.0127)),
            ("VBPR", "vbpr", (0.0114, 0.0084, 0.0071, 0.0181, 0.0102, 0.0086)),
            ("CausalRec", "causalrec", (0.0143, 0.0105, 0.0088, 0.0229, 0.0146, 0.0121)),
            ("MMGCL", "mmgcl", (0.0151, 0.0112, 0.0095, 0.0241, 0.0159, 0.0130)),
            ("MMSSL", "mmssl", (0.0181, 0.0132, 0.0112, 0.0281, 0.0194, 0.0164)),
            ("UniMP", "unimp", (0.0248, 0.0194, 0.0176, 0.0337, 0.0231, 0.0196)),
        ),
        (_SPLIT, _RANK, "UniMP's row is multi-task training followed by fine-tuning of the output layer alone"),
    ),
    PaperTable(
        "table2a",
        "explanation",
        "explanation",
        "in_domain",
        ("unigram_precision", "rouge_1", "meteor", "bert_score"),
        _rows(
            ("P5", "p5", (0.0822, 0.0624, 0.0321, 0.723)),
            ("VIP5+", "vip5", (0.0967, 0.0723, 0.0383, 0.756)),
            ("MRG", "mrg", (0.1101, 0.0754, 0.0466, 0.812)),
            ("UniMP", "unimp", (0.1423, 0.1080, 0.0678, 0.853)),
        ),
        (
            "'BLEU' is the corpus unigram precision of the released code, without brevity penalty",
            "the paper does not say which ROUGE; ROUGE-1 stands here",
        ),
    ),
    PaperTable(
        "table2b",
        "preference prediction",
        "preference",
        "in_domain",
        ("mae", "rmse"),
        _rows(
            ("P5", "p5", (1.1234, 1.8756)),
            ("VIP5+", "vip5", (0.9452, 1.5537)),
            ("SANCL", "sancl", (0.9122, 1.5781)),
            ("UniMP", "unimp", (0.7049, 1.1651)),
        ),
        ("the released code counts a rating that cannot be read as 3.0; here it scores as the worst possible",),
    ),
    PaperTable(
        "table2c",
        "multi-modal selection",
        "selection",
        "in_domain",
        ("recall", "precision", "f1"),
        _rows(
            ("P5", "p5", (0.6882, 0.6111, 0.6326)),
            ("VIP5+", "vip5", (0.7625, 0.6952, 0.7044)),
            ("S3-Rec", "s3rec", (0.7056, 0.6443, 0.6572)),
            ("MMSSL", "mmssl", (0.7431, 0.6721, 0.6955)),
            ("UniMP", "unimp", (0.9665, 0.8877, 0.9111)),
        ),
        ("with the released code's three candidates, answering all of them earns F1 0.62; here there are five",),
    ),
    PaperTable(
        "table2d",
        "multi-modal search",
        "search",
        "in_domain",
        _AT5,
        _rows(
            ("BM25", "bm25", (0.0513, 0.0378, 0.0314)),
            ("HEM", "hem", (0.0654, 0.0474, 0.0368)),
            ("ZAM", "zam", (0.0842, 0.0615, 0.0542)),
            ("RTM", "rtm", (0.0981, 0.0706, 0.0587)),
            ("UniMP", "unimp", (0.1769, 0.1309, 0.1158)),
        ),
        ("the released code asks with the raw category path; here `ai2017` queries unless the dataset says otherwise",),
    ),
    PaperTable(
        "table3",
        "ablation",
        "recommendation",
        "in_domain",
        _AT5,
        (
            _alone("w/o Vision", (0.0284, 0.0205, 0.0169), vision="off"),
            _alone("w/o Fine-grained", (0.0257, 0.0192, 0.0161), fusion="none"),
            _alone("w/o Context & Rew", (0.0311, 0.0214, 0.0184), context_target="none", gamma="0"),
            _alone("w/o Context", (0.0318, 0.0225, 0.0188), context_target="none"),
            _alone("w/o Rew", (0.0302, 0.0212, 0.0178), gamma="0"),
            _alone("UniMP", (0.0337, 0.0231, 0.0196)),
        ),
        (_SPLIT,),
    ),
    PaperTable(
        "table4a",
        "new users",
        "recommendation",
        "new_user",
        _AT5,
        _rows(
            ("P5", "p5", (0.0119, 0.0079, 0.0062)),
            ("VIP5", "vip5", (0.0217, 0.0143, 0.0124)),
            ("S3-Rec", "s3rec", (0.0228, 0.0140, 0.0123)),
            ("UniSRec", "unisrec", (0.0245, 0.0152, 0.0131)),
            ("UniMP", "unimp", (0.0364, 0.0263, 0.0228)),
        ),
        ("10 % of the users held out, tested on their last interaction; the paper names no adaptation step",),
    ),
    PaperTable(
        "table4b",
        "new domain (Office)",
        "recommendation",
        "new_domain",
        _AT5,
        _rows(
            ("P5", "p5", (0.0141, 0.0081, 0.0062)),
            ("VIP5", "vip5", (0.0235, 0.0167, 0.0148)),
            ("S3-Rec", "s3rec", (0.0226, 0.0152, 0.0128)),
            ("UniSRec", "unisrec", (0.0278, 0.0184, 0.0175)),
            ("UniMP", "unimp", (0.0433, 0.0289, 0.0242)),
        ),
        ("the released code fine-tunes both embedding matrices on the new domain's users, 40 epochs: not zero-shot",),
    ),
    PaperTable(
        "table6",
        "noise",
        "recommendation",
        "in_domain",
        _AT5,
        (
            Row("S3-Rec with NT", "s3rec", (0.0275, 0.0158, 0.0133), "NT-0.2"),
            Row("S3-Rec", "s3rec", (0.0311, 0.0193, 0.0156)),
            Row("MMSSL with NV", "mmssl", (0.0253, 0.0171, 0.0144), "NV-0.2"),
            Row("MMSSL", "mmssl", (0.0281, 0.0194, 0.0164)),
            _alone("UniMP with NT", (0.0332, 0.0228, 0.0194), "NT-0.2"),
            _alone("UniMP with NV", (0.0328, 0.0226, 0.0192), "NV-0.2"),
            _alone("UniMP", (0.0337, 0.0231, 0.0196)),
        ),
        ("the paper does not say whether noise is in training, in test or in both; here in test",),
    ),
    PaperTable(
        "table7rec",
        "learning strategy, recommendation",
        "recommendation",
        "in_domain",
        _AT5,
        (
            _alone("Continue", (0.0197, 0.0162, 0.0134), strategy="continue"),
            _alone("Multi-task", (0.0293, 0.0220, 0.0196), strategy="multi_task"),
            _alone("Multi-task + Full", (0.0325, 0.0227, 0.0189), strategy="multi_task+full"),
            _alone("Multi-task + Efficient", (0.0337, 0.0231, 0.0196)),
        ),
    ),
    PaperTable(
        "table7search",
        "learning strategy, search",
        "search",
        "in_domain",
        _AT5,
        (
            _alone("Continue", (0.0876, 0.0672, 0.0583), strategy="continue"),
            _alone("Multi-task", (0.1632, 0.1232, 0.1105), strategy="multi_task"),
            _alone("Multi-task + Full", (0.1654, 0.1254, 0.1121), strategy="multi_task+full"),
            _alone("Multi-task + Efficient", (0.1769, 0.1309, 0.1158)),
        ),
    ),
    PaperTable(
        "table8",
        "fusion",
        "recommendation",
        "in_domain",
        _AT5,
        (
            Row("VIP5", "vip5", (0.0262, 0.0163, 0.0127)),
            _alone("w/o Exclusive Attention", (0.0244, 0.0165, 0.0132), exclusive="false"),
            _alone("w/o Cross-attention", (0.0257, 0.0192, 0.0161), fusion="none"),
            _alone("Early Fusion", (0.0271, 0.0185, 0.0135), fusion="early"),
            _alone("Late Fusion", (0.0274, 0.0193, 0.0156), fusion="late"),
            _alone("UniMP", (0.0337, 0.0231, 0.0196)),
        ),
    ),
    PaperTable(
        "table9",
        "H&M",
        "recommendation",
        "in_domain",
        _AT5,
        _rows(
            ("P5", "p5", (0.0101, 0.0063, 0.0046)),
            ("VIP5", "vip5", (0.0122, 0.0118, 0.0093)),
            ("S3-Rec", "s3rec", (0.0185, 0.0121, 0.0102)),
            ("UniSRec", "unisrec", (0.0196, 0.0139, 0.0107)),
            ("UniMP", "unimp", (0.0313, 0.0206, 0.0172)),
        ),
        (
            "the released script rebuilds users' sequences in the order of a set and loses time: no target",
            "Netflix is absent: no released script makes its files; bring ratings, titles and posters through "
            "`unimp-bench build files --interactions F --items F --images DIR`",
            "run it on a dataset built by `unimp-bench build hm`",
        ),
    ),
    PaperTable(
        "table10",
        "language models",
        "recommendation",
        "in_domain",
        _AT5,
        (
            Row("UniMP-Small (MPT-1B)", "unimp", (0.0315, 0.0216, 0.0179), parameters={"preset": "mpt-1b"}),
            Row("UniMP (RedPajama 3B)", "unimp", (0.0337, 0.0231, 0.0196), parameters={"preset": "paper"}),
        ),
        (
            "both presets want published weights; small against tiny, which are made here, is "
            "`python benchmarks/ablations.py --larger` in a checkout",
        ),
    ),
)

PAPER_TABLES: Mapping[str, tuple[PaperTable, ...]] = {
    f"table{number}": tuple(table for table in _TABLES if table.number == number)
    for number in (1, 2, 3, 4, 6, 7, 8, 9, 10)
}
