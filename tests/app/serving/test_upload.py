import pytest
import torch

from app.core.errors import Invalid
from app.model.backbone import Backbone
from app.model.checkpoint import adapter_from_bytes, adapter_to_bytes
from app.serving.upload import accept_adapter
from tests.fakes import SMALL, adapter_bytes, adapter_weights


def test_a_good_adapter_is_accepted(backbone: Backbone) -> None:
    data, config = accept_adapter(backbone, adapter_bytes(backbone, 1))
    assert config == SMALL
    stored, _, fingerprint = adapter_from_bytes(data)
    assert fingerprint == backbone.fingerprint
    assert all(torch.equal(stored[k], v) for k, v in adapter_weights(backbone, 1).items())


def test_finite_weights_that_overflow_are_refused(backbone: Backbone) -> None:
    huge = {k: torch.full_like(v, 3e38) for k, v in adapter_weights(backbone, 1).items()}
    with pytest.raises(Invalid, match="overflow"):
        accept_adapter(backbone, adapter_to_bytes(huge, SMALL, backbone.fingerprint))
