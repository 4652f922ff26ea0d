"""Names that processes share through Redis, the rule for names of tenants and channels, modalities."""

import re
from typing import Literal

QUEUE_TRAINING = "transrec-training"
"""RQ queue of training jobs: a message carries the id of a row of `training_jobs`."""

WAKE_RELEASES = "transrec:wake:releases"
"""Pub/sub channel: "something changed, look at the generations". The database stays the truth."""

HISTORIES = "transrec:history"
"""How the keys of cached histories begin: `{HISTORIES}:{channel id}:{user id}`."""

HISTORY_VERSIONS = "transrec:history-version"
"""How the keys of the counters begin that say whether a history is the newest: `app.store.history_cache`."""

FORGET_HISTORIES = "transrec:forget:histories"
"""Pub/sub channel: "these users' histories have changed", JSON [[channel id, user id], ...]."""

RATES = "transrec:rate"
"""How the keys begin under which tenants' requests are counted; they last a second."""

PAGES = "transrec:page"
"""How the keys of pages' states begin: `{PAGES}:{channel id}:{recommendation id}`."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
"""What a tenant or a channel may be called."""

Modality = Literal["text", "image"]
"""What of an item the encoder of a channel reads; fixed when the channel is made."""

_NAME = re.compile(NAME_PATTERN)


def is_name(name: str) -> bool:
    """Tell whether `name` may name a tenant or a channel."""
    # `$` also matches before a final newline, hence fullmatch.
    return _NAME.fullmatch(name) is not None
