"""What is said to the model: families of wordings for four tasks, after P5 (Geng et al. 2022), in words of our own.

A wording is text with places in braces:

    {who}         `user_<number>`, or two plain words where the user is not known or shall not be named
    {bought}      items, oldest first
    {rated}       items with the user's ratings, oldest first
    {item}        the item in question
    {title}       its title
    {choices}     labels with items

The last wording of a task is never trained on: with `wording=unseen` it is the one that is asked with (P5's zero-shot
prompts). P5's families: sequential -> recommendation, rating -> preference, explanation without a hint word (its 3-1 to
3-3: the others put a word of the right answer into the question), candidate lists -> selection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

NOBODY = "this customer"

WORDINGS: Mapping[str, tuple[str, ...]] = {
    "recommendation": (
        "So far {who} has bought {bought} . What comes next ?",
        "Purchases of {who} , oldest first : {bought} . Name the item that follows .",
        "After {bought} , which item will {who} take ?",
        "{who} went from {bought} to",
        "Continue the list of {who} : {bought} and then ?",
    ),
    "preference": (
        "{who} rated {rated} . How many stars for {item} {title} ?",
        "Ratings by {who} : {rated} . Guess the rating of {item} called {title} .",
        "From one to five , how well will {who} like {item} {title} after {rated} ?",
        "Known opinions {rated} of {who} ; stars for {title} {item} :",
        "Given {rated} , tell what {who} would score {item} {title} .",
    ),
    "explanation": (
        "{who} rated {rated} . What will they write about {item} {title} ?",
        "Ratings by {who} : {rated} . Say in one sentence why {item} called {title} suits them or not .",
        "Explain {item} {title} to {who} , who gave {rated} .",
        "A remark of {who} on {title} {item} after {rated} :",
        "In the words of {who} with {rated} , comment on {item} {title} .",
    ),
    "selection": (
        "So far {who} has bought {bought} . List the labels of what they would take from {choices} .",
        "Choices : {choices} . Which of them fit {who} with {bought} ?",
        "{who} owns {bought} and looks at {choices} . Name every label that is bought .",
        "Out of {choices} , pick all for {who} after {bought} .",
        "Knowing {bought} , mark what {who} keeps of {choices} .",
    ),
}

Word = tuple[tuple[int, ...], str | None]  # its pieces, and the item that it mentions


@cache
def parts(wording: str) -> tuple[str, ...]:
    """Words and places of a wording."""
    return tuple(wording.split())


def filled(wording: str, places: Mapping[str, Sequence[Word]], text: Callable[[str], Sequence[Word]]) -> list[Word]:
    """The words of a prompt; an empty place leaves nothing."""
    words: list[Word] = []
    for part in parts(wording):
        words.extend(places[part[1:-1]] if part.startswith("{") else text(part))
    return words
