"""Floors: systems that anything worth its name must beat, one or more for every task, and two probes.

`constant` says the same of every item and must score at chance; `last_index_plus_one` guesses the neighbour in the
catalogue's order and must, too. Whoever beats a floor by nothing has learned what the floor knows.
"""

from unimp_baselines.floors.answers import FrequentExplanation, MeanImage, MeanRating, UserMean
from unimp_baselines.floors.choices import AllCandidates, FirstCandidate
from unimp_baselines.floors.popularity import Popularity
from unimp_baselines.floors.probes import Constant, LastIndexPlusOne, Random
from unimp_baselines.floors.repeat import RepeatLast

__all__ = [
    "AllCandidates",
    "Constant",
    "FirstCandidate",
    "FrequentExplanation",
    "LastIndexPlusOne",
    "MeanImage",
    "MeanRating",
    "Popularity",
    "Random",
    "RepeatLast",
    "UserMean",
]
