"""UniMP: one vision-language model for personalization (Wei et al., ICLR 2024), without its benchmark.

A history of items, each a picture and a few attributes, becomes one sequence; a language model reads it, sees every
item's picture through gated cross-attention, and answers six tasks with text, ratings, item ids or picture codes.
"""

__version__ = "0.1.0"
