"""The adapter that a release is built with: its file, checked once, and what each step needs of it."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from app.core.errors import Invalid
from app.model import adapters
from app.model.backbone import Backbone
from app.model.bank_slots import AdapterWeights
from app.model.checkpoint import adapter_from_bytes, adapter_to_bytes
from app.model.methods import AdapterConfig
from app.model.residual import Residual, read
from app.model.transrec import TransRec
from app.serving.release import ADAPTER
from app.serving.source import Target
from app.store import registry
from app.store.db import Database


@dataclass(frozen=True)
class Adapted:
    """The target's adapter on its backbone; read from the database when it is first asked for.

    Whatever reads it raises `Invalid` where it is damaged or was trained on another backbone.
    """

    db: Database
    target: Target
    backbone: Backbone

    @cached_property
    def model(self) -> TransRec:
        """The channel's own model: the backbone's, for the bare one."""
        if self._file is None:
            return self.backbone.model
        weights, config = self._weights
        return adapters.load(self.backbone.model, config, weights)

    @cached_property
    def residual(self) -> Residual | None:
        """What it has learned of single items; without the model, which a small change does not need."""
        if self._file is None:
            return None
        weights, config = self._weights
        return read(weights, self.backbone.model.config.dim) if config.item_residual else None

    @property
    def item_side(self) -> AdapterWeights:
        """What the item encoder needs."""
        if self._file is None:
            return AdapterWeights("", None, {})
        weights, config = self._weights
        mine = {site: tensor for site, tensor in weights.items() if site.startswith(adapters.ITEM_SIDE)}
        return AdapterWeights(self.target.adapter_sha256, config, mine)

    def write_user_side(self, folder: Path) -> None:
        """Write what the user encoder needs: all that answering takes. Nothing, for the bare backbone."""
        if self._file is None:
            return
        weights, config = self._weights
        mine = {site: tensor for site, tensor in weights.items() if site.startswith(adapters.USER_SIDE)}
        (folder / ADAPTER).write_bytes(adapter_to_bytes(mine, config, self.backbone.fingerprint))

    @cached_property
    def _file(self) -> bytes | None:
        if not self.target.version:
            return None
        with self.db.read() as s:
            row = registry.get_adapter(s, self.target.channel_id, self.target.version, with_weights=True)
        if hashlib.sha256(row.weights).hexdigest() != row.sha256:
            raise Invalid(f"The weights of version {row.version} are damaged. Promote another version.")
        return bytes(row.weights)

    @cached_property
    def _weights(self) -> tuple[dict[str, Tensor], AdapterConfig]:
        weights, config, fingerprint = adapter_from_bytes(self._file or b"")
        if fingerprint != self.backbone.fingerprint:
            raise Invalid(
                f"Version {self.target.version} was trained on another backbone ({fingerprint[:12]}). "
                "Train it again on this one, or promote another version."
            )
        return weights, config
