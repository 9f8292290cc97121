"""The ceiling of every metric on the synthetic shop, from its truth.

`oracle` knows every customer's true type, never the drawn target; `oracle_history` knows the shop but not the customer
and infers the type from the visible history alone (exact Bayes over all types); `oracle_unordered` knows the type but
not what was bought last, as systems that learn from a set of purchases do not.

None learns anything. For every task they give the answer that is best in expectation: probabilities for rankings, the
conditional mean for ratings, the sentence of highest expected ROUGE-L, the subset of highest expected F1. For pictures,
whose metric compares distributions, they draw an item from the true distribution.

Same-day purchases stand in keyed order, so the "last" item that an oracle goes by is the build's, not the shop's.
"""

from unimp_baselines.oracle.runners import Oracle, OracleHistory, OracleUnordered

__all__ = ["Oracle", "OracleHistory", "OracleUnordered"]
