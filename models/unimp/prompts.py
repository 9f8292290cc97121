"""The words around items and answers, in the two styles of the benchmark: the paper's appendix A.2, the released code.

`{target}`, `{candidates}` and `{query}` are where items and queries go. `official_code` asks for rating and explanation
in one question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Words:
    """One style: what is asked for each task, and the word before an item's own name."""

    ask: Mapping[str, str]
    name: str = "ID"
    rating: str = "Rating"
    why: str = "Review"


PAPER = Words(
    ask={
        "recommendation": "What's the next item that the user may like?",
        "search": "Query: {query} Can you retrieve the items that aligns with both the user's history and the given "
        "query?",
        "preference": "Given {target} can you predict the preference level of the user to the product?",
        "explanation": "Given {target} can you explain to the user why the product might be suitable or unsuitable?",
        "selection": "Given {candidates} can you select all the appropriate items for the user?",
        "image_generation": "Query: {query} Can you generate the product figure that the user may be interested in?",
    }
)
OFFICIAL_CODE = Words(
    ask={
        "recommendation": "What is the next item recommended to the user?",
        "search": "Query: {query} What is the related item ID to the query based on the history?",
        "preference": "{target} What is the rating and explanation for the item?",
        "explanation": "{target} What is the rating and explanation for the item?",
        "selection": "Select from: {candidates} Can you select the suitable item from above for the user?",
        "image_generation": "Query: {query} What is the generated image ID to the query based on the history?",
    }
)
_BOTH = {task: OFFICIAL_CODE.ask[task] for task in ("preference", "explanation")}
JOINT = replace(PAPER, ask={**PAPER.ask, **_BOTH})  # the paper's words but for one question of rating and explanation
STYLES: Mapping[str, Words] = {"paper": PAPER, "official_code": OFFICIAL_CODE}
