"""What a user may choose about UniMP: every ablation of the paper is one value here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from unimp.errors import UnimpError
from unimp.recipe import passes

STRATEGIES = ("multi_task+efficient", "multi_task+full", "multi_task", "continue")


@dataclass
class Options:
    """Choices; None takes the preset's value (`Budget`).

    Args:
        preset: sizes, `tiny`, `small`, `paper` or `mpt-1b`.
        vision: `off` leaves out pictures and `<image>` altogether.
        fusion: `cross_attention`; `none` gives one pooled visual vector to `<image>` (the paper's "w/o
            cross-attention"); `early`, `late`.
        exclusive: ids of the history see their own item's picture only, else all pictures so far.
        overview: questions and answers see all pictures of their history, else the last one alone; None: where
            `exclusive` is off.
        context_target: what of a history is learned besides the answer: `id` (released code), `attributes` (paper),
            `both`, `none`.
        gamma: exponent of the focal factor; 0 is plain cross-entropy.
        norm: how token losses are averaged (`losses.NORMS`).
        strategy: `multi_task`, then nothing, all weights for each task (`+full`), or only output rows of new ids, for
            each task that answers with these (`+efficient`: all but explanation); `continue` adds task after task.
        learn: tasks that are learned, comma-separated; `all` that the dataset has.
        history: most items of a history that are read.
        earlier: most items before those, of which id, picture and rating alone are read; the paper reads none.
        ratings, whys: whether history items show rating and explanation.
        train_rows: `new` or `all`.
        item_ids: `atomic`, or `semantic` for residual-quantised content codes.
        item_rows: `free` as in the paper, or `content` (`item_rows.py`).
        neighbours: whether recommendations and searches count what customers bought close to a history, with weights
            settled on validation (`neighbours.py`); the paper's do not, nor does retrieval for pictures.
        new_domain: how a held-out domain is met: `finetune_embeddings`, `finetune_all`, `zero_shot_content`.
        rating: what is answered as a rating: the expected value or the likeliest whole one.
        settle: scale expected ratings, choose the threshold of selection and weights of neighbours on validation
            (`decisions.py`); else the plain expected value is answered, the labels that are written, and the model's
            own ranking.
        joint_answers: rating and explanation are one answer to one question, as in the released code.
        beams: beams of an explanation; 1 is greedy.
        recommendation_weight: task weight of recommendation; the released code takes 2.
        dropout: share of the body's activations that training drops, of rows as they are read and of what each layer
            adds to them; for bodies that learn from nothing (`tiny`, `small`).
        effort: factor on every number of epochs and steps; below one epoch, a share of it. Below 1, fewer examples
            settle decisions as well.
        text_weights, vision_weights, flamingo, image_codes: published weights by folder or hub name; None trains small
            parts here. The last may go on, as `some/model::vqvae::256::unit`: its subfolder, the pixels a side of its
            pictures (256 if not said), and that it reads values in [0, 1], not [-1, 1]. A picture may take as many
            codes as three of them find a place beside each other, 597 in 2,048 ids.
        pool: side of the windows over which the tower's patches are averaged before they are kept: 4 keeps 16 of the
            256 of ViT-L/14.
        bf16: where products of training are bfloat16: `never`, on a `gpu`, or on CPUs with Intel's matrix units (`amx`)
            as well; answers are bfloat16 on a GPU alone.
        checkpointing: compute activations again instead of keeping them: less memory, a third more work.
        pretrained: folder of parts that `pretrain` made; None makes them.
        adapt_epochs: epochs on a held-out domain.
    """

    preset: Literal["tiny", "small", "paper", "mpt-1b"] = "tiny"
    vision: Literal["on", "off"] = "on"
    fusion: Literal["cross_attention", "none", "early", "late"] = "cross_attention"
    exclusive: bool = True
    overview: bool | None = None
    context_target: Literal["id", "attributes", "both", "none"] = "id"
    gamma: float = 2.0
    norm: Literal["tokens", "weights", "answers"] = "tokens"
    strategy: Literal["multi_task+efficient", "multi_task+full", "multi_task", "continue"] = "multi_task+efficient"
    learn: str = "all"
    history: int | None = None
    earlier: int | None = None
    ratings: bool = True
    whys: bool = False
    train_rows: Literal["new", "all"] | None = None
    item_ids: Literal["atomic", "semantic"] = "atomic"
    item_rows: Literal["free", "content"] | None = None
    neighbours: bool | None = None
    new_domain: Literal["finetune_embeddings", "finetune_all", "zero_shot_content"] = "finetune_all"
    epochs: int | None = None
    lr: float | None = None
    rating: Literal["expected", "likeliest"] = "expected"
    settle: bool = True
    joint_answers: bool = False
    beams: int = 1
    recommendation_weight: float = 1.0
    dropout: float = 0.0
    effort: float = 1.0
    text_weights: str | None = None
    vision_weights: str | None = None
    flamingo: str | None = None
    image_codes: str | None = None
    pool: int = 1
    bf16: Literal["never", "gpu", "amx"] | None = None
    checkpointing: bool = False
    pretrained: str | None = None
    adapt_epochs: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        least = {"gamma": 0, "beams": 1, "pool": 1, "history": 1, "earlier": 0, "epochs": 1, "adapt_epochs": 1}
        for name, low in least.items():
            if (value := getattr(self, name)) is not None and not low <= value < math.inf:
                raise UnimpError(f"{name}={value}; wanted {low} or more")
        for name in ("effort", "lr", "recommendation_weight"):
            if (value := getattr(self, name)) is not None and not 0 < value < math.inf:
                raise UnimpError(f"{name}={value}; wanted more than 0")
        if not 0 <= self.dropout < 1:
            raise UnimpError(f"dropout={self.dropout}; wanted 0 or more and less than 1")
        if self.dropout and (not self.budget.scratch or self.text_weights is not None):
            raise UnimpError(
                f"dropout={self.dropout} is for bodies that learn from nothing: tiny or small, no text_weights"
            )

    @property
    def budget(self) -> Budget:
        """The preset's numbers."""
        return BUDGETS[self.preset]

    def times(self, count: int) -> int:
        """A number of steps or examples under `effort`, at least one."""
        return max(1, round(count * self.effort))

    def passes(self, epochs: int) -> dict[str, Any]:
        """A number of epochs under `effort`, as fields of a recipe."""
        return passes(epochs * self.effort)

    @property
    def wants_neighbours(self) -> bool:
        """Whether neighbours may count, by choice or preset."""
        return self.neighbours if self.neighbours is not None else self.budget.neighbours

    @property
    def half(self) -> str:
        """Where products of training are bfloat16, by choice or preset."""
        return self.bf16 if self.bf16 is not None else self.budget.bf16

    @property
    def model_fusion(self) -> str:
        """The fusion in the model's own terms (`config.FUSIONS`)."""
        if self.vision == "off":
            return "none"
        return "pooled" if self.fusion == "none" else self.fusion


@dataclass(frozen=True)
class Budget:
    """How long and how fast a preset learns. `scratch`: no published weights, so the body is trained along."""

    scratch: bool
    history: int
    epochs: int
    lr: float
    tokens: int  # ids a batch
    questions: Mapping[str, int]  # a user and epoch; 0 is after every item
    users: Mapping[str, float] = field(default_factory=dict)  # share of users who are asked a task in an epoch
    shortened: float = 0.0  # share of searches that are asked with their last words alone (`Plan`)
    train_rows: Literal["new", "all"] = "all"
    item_rows: Literal["free", "content"] = "free"
    neighbours: bool = False
    vocabulary: int = 1500  # ids of a tokenizer that is trained here
    language_epochs: int = 1
    language_lr: float = 2e-3
    caption_epochs: int = 6
    search_epochs: int = 0
    earlier: int = 0
    history_epochs: int = 10
    history_lr: float = 1.5e-3
    image_epochs: int = 6
    image_steps: int = 1  # at least: few customers are no reason to know less of what codes mean
    image_drawings: int = 1  # sets of questions, with which image epochs take turns; one set is soon known by heart
    tower_steps: int = 1000
    bf16: Literal["never", "gpu", "amx"] = "gpu"  # of products in training (`precision.py`)
    threads: int = 0  # of training and answering (`threads.py`); 0 leaves them
    image_tokens: str = "tiny"
    accumulate: int = 1
    adapt_epochs: int = 6

    def stage(self, options: Options) -> dict[str, Any]:
        """Epochs and rate of the multi-task stage under the options."""
        return {
            **options.passes(options.epochs if options.epochs is not None else self.epochs),
            "lr": options.lr if options.lr is not None else self.lr,
        }


_ONE_EACH = {
    "recommendation": 1,
    "search": 1,
    "preference": 1,
    "explanation": 1,
    "selection": 1,
    "image_generation": 1,
}
_PAPER = Budget(
    scratch=False,
    history=5,
    epochs=10,
    lr=2e-4,
    tokens=8192,
    questions=_ONE_EACH,
    accumulate=2,
    image_tokens="paper",
)
BUDGETS: Mapping[str, Budget] = {
    "tiny": Budget(
        scratch=True,
        item_rows="content",
        neighbours=True,
        search_epochs=10,
        threads=1,
        history=5,
        earlier=20,
        epochs=5,
        adapt_epochs=2,
        image_epochs=6,
        image_steps=540,
        image_drawings=3,
        lr=1.5e-3,
        tokens=2048,  # few users a step: from nothing, the number of steps matters more than their size
        questions={
            "recommendation": 0,
            "search": 3,
            "preference": 2,
            "explanation": 1,
            "selection": 1,
            "image_generation": 1,
        },
        shortened=0.3,
        users={"selection": 0.1},  # rows of their own, two fifths of all ids if everybody were asked
    ),
    "small": Budget(
        scratch=True,
        item_rows="content",
        neighbours=True,
        search_epochs=10,
        history=5,
        earlier=45,
        epochs=5,  # more are learned by heart: of eight, validation searches on `hm` get worse after the fifth
        lr=1e-3,
        tokens=4096,  # 16,384 give a small shop too few steps to learn anything: 82 in two passes over 2,000 customers
        questions={
            "recommendation": 0,
            "search": 0,
            "preference": 0,
            "explanation": 0,
            "selection": 1,
            "image_generation": 2,
        },
        image_steps=540,
        image_drawings=3,
        shortened=0.3,
        bf16="amx",  # 1.4 times as many ids a second (`benchmarks/half_products.py`)
        vocabulary=8000,
        tower_steps=4000,
        image_tokens="small",
    ),
    "paper": _PAPER,
    "mpt-1b": replace(_PAPER, lr=1e-4),
}
