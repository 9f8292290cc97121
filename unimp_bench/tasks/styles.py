"""Prompt styles: the templates of what a language model reads, versioned.

`paper` follows UniMP's appendix A.2 (attributes of an item in one chunk that opens with `<image>`, the item's own name
among them); `official_code` follows the released code (the name after `<answer>`, one question for rating and
explanation).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unimp_bench.errors import ConfigError

PROMPTS_VERSION = 1


@dataclass(frozen=True)
class Style:
    """One set of templates. Parts in braces are filled; a part that is missing falls away with its blank.

    Of an item: body (attributes), title, name (`item_<index>`), label (`s_<place>` of a candidate), rate (of a history
    row), why (its explanation). Of an example: target, candidates, query.
    """

    entry: Mapping[str, str]  # task -> one history item
    candidate: str
    target: str
    ask: Mapping[str, str]  # task -> what follows the history
    opening: Mapping[str, str]  # task -> what comes before it, where anything does
    joint: bool  # rating and explanation are answered together


_PAPER_ITEM = "<image> {body} ID {name} <|endofchunk|>"
_CODE_ITEM = "<image> {body} <answer> {name} <|endofchunk|>"
_CODE_OPINION = "<image> {body} <answer> {rate} {why} <|endofchunk|>"
_CODE_JOINT = "{target} What is the rating and explanation for the item? <answer>"

STYLES: Mapping[str, Style] = {
    "paper": Style(
        entry={
            "recommendation": _PAPER_ITEM,
            "preference": "<image> {body} ID {name} {rate} <|endofchunk|>",
            "explanation": "<image> {body} ID {name} {rate} {why} <|endofchunk|>",
            "selection": _PAPER_ITEM,
            "search": _PAPER_ITEM,
            "image_generation": _PAPER_ITEM,
        },
        candidate="<image> {label} {body} ID {name} <|endofchunk|>",
        target="<image> {body} ID {name}",
        ask={
            "recommendation": "What's the next item that the user may like? <answer>",
            "preference": "Given {target} can you predict the preference level of the user to the product? <answer>",
            "explanation": "Given {target} can you explain to the user why the product might be suitable or "
            "unsuitable? <answer>",
            "selection": "Given {candidates} can you select all the appropriate items for the user? <answer>",
            "search": "Query: {query} Can you retrieve the items that aligns with both the user's history and the "
            "given query? <answer>",
            "image_generation": "Query: {query} Can you generate the product figure that the user may be interested "
            "in? <answer>",
        },
        opening={},
        joint=False,
    ),
    "official_code": Style(
        entry={
            "recommendation": _CODE_ITEM,
            "preference": _CODE_OPINION,
            "explanation": _CODE_OPINION,
            "selection": "<image> {body} <|endofchunk|>",
            "search": _CODE_ITEM,
            "image_generation": "<image> Title {title} <|endofchunk|>",
        },
        candidate="<image> Selection {label} {body} <|endofchunk|>",
        target="<image> {body}",
        ask={
            "recommendation": "What is the next item recommended to the user? <answer>",
            "preference": _CODE_JOINT,
            "explanation": _CODE_JOINT,
            "selection": "Select from: {candidates} Can you select the suitable item from above for the user? <answer>",
            "search": "Query: {query} What is the related item ID to the query based on the history? <answer>",
            "image_generation": "Query: {query} What is the generated image ID to the query based on the history? "
            "<answer>",
        },
        opening={"selection": "User history:"},
        joint=True,
    ),
}


def style_named(name: str) -> Style:
    """The style of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in STYLES:
        raise ConfigError(f"unknown prompt style '{name}'; known: {', '.join(STYLES)}")
    return STYLES[name]
