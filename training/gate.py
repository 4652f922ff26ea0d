"""The quality gate: an adapter that is worse than what users would get without it is not published."""

from dataclasses import dataclass

from training.evaluate import Evaluation


@dataclass(frozen=True)
class Verdict:
    """Whether the adapter may be champion, and why not."""

    passed: bool
    reason: str


def gate(candidate: Evaluation, popularity: Evaluation, champion: Evaluation) -> Verdict:
    """Validation HR@10 not below popularity's and not below the champion's on the same users.

    Validation, because selecting on the test split would make the reported figure a lie.
    """
    own = candidate.overall.hr10
    for name, other in (("popularity", popularity), ("the champion", champion)):
        if own < other.overall.hr10:
            return Verdict(
                False,
                f"Validation HR@10 {own:.4f} is below {name}'s {other.overall.hr10:.4f}. The adapter is kept "
                "as a version but not promoted. Import more interactions, or train longer.",
            )
    return Verdict(True, "not below popularity and not below the champion")
