"""Leak checks on a built dataset: each a named question with pass, fail or a figure; a build stops on a fail.

Unusual: the checks read the sealed files as well as the visible ones and trust no statistic of the build; what they
find is counted anew from the files, by streaming.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from unimp_bench.audit.checks_examples import (
    answers_complete,
    image_placeholders,
    no_shared_picture,
    search_single_query,
    selection_withheld,
    target_not_in_history,
)
from unimp_bench.audit.checks_order import (
    ascending_by_id,
    below_core,
    candidate_order,
    item_index_independent,
    last_index_plus_one,
    later_training_events,
)
from unimp_bench.audit.checks_prompt import target_not_in_prompt
from unimp_bench.audit.checks_split import (
    answers_in_valid,
    new_users_absent,
    no_target_in_training,
    one_split,
    visible_is_train,
)
from unimp_bench.audit.findings import Check, Evidence
from unimp_bench.dataset import Dataset
from unimp_bench.errors import AuditError
from unimp_bench.progress import Progress, Silent

__all__ = ["CHECKS", "Check", "audit", "require"]

CHECKS: tuple[Callable[[Evidence], Check], ...] = (
    no_target_in_training,
    answers_in_valid,
    new_users_absent,
    visible_is_train,
    one_split,
    answers_complete,
    target_not_in_history,
    target_not_in_prompt,
    image_placeholders,
    candidate_order,
    no_shared_picture,
    selection_withheld,
    search_single_query,
    item_index_independent,
    last_index_plus_one,
    ascending_by_id,
    below_core,
    later_training_events,
)


def audit(dataset: Dataset, progress: Progress | None = None) -> list[Check]:
    """Run every check on a dataset whose files are written; its manifest may still be in memory only.

    Raises:
        IncompleteError: a file of the dataset is absent or not whole.
    """
    progress = progress or Silent()
    evidence = Evidence(dataset)
    progress.start(f"audit {dataset.name}", len(CHECKS), "checks")
    found = []
    for check in CHECKS:
        found.append(check(evidence))
        progress.advance()
    progress.finish()
    return found


def require(checks: Sequence[Check], dataset: str = "the dataset") -> None:
    """Let a build go on only if no check failed.

    Raises:
        AuditError: names the failed checks and what the first one found.
    """
    failed = [check for check in checks if check.status == "fail"]
    if failed:
        names = ", ".join(check.name for check in failed)
        raise AuditError(
            f"{dataset} failed {len(failed)} of {len(checks)} leak checks ({names}); first: {failed[0].name}: "
            f"{failed[0].detail}; nothing built from it can be trusted, mend its source or options and build again"
        )
