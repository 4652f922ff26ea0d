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

HOME = "var"
"""The home unless TRANSREC_HOME names another."""

KEY_FILE = "operator.key"
"""In the home: the key that the very first start made."""

CLIENT_VARIABLES = ("TRANSREC_URL", "TRANSREC_KEY", "TRANSREC_TENANT")
"""What the client and the command line read from the environment; no settings of the service."""

Modality = Literal["text", "image"]
"""What of an item the encoder of a channel reads; fixed when the channel is made."""

Sort = Literal[
    "name", "-name", "health", "-health", "items", "-items", "interactions", "-interactions",
    "hr10", "-hr10", "lift", "-lift", "recommendations", "-recommendations", "changed", "-changed",
]  # fmt: skip
"""The order of an overview of channels."""

_NAME = re.compile(NAME_PATTERN)


def is_name(name: str) -> bool:
    """Tell whether `name` may name a tenant or a channel."""
    # `$` also matches before a final newline, hence fullmatch.
    return _NAME.fullmatch(name) is not None
