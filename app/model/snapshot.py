"""Vectors of encoded texts as bytes, so that no process encodes a text that another one has encoded.

safetensors with `digests` uint8 (n, 16), the head of the sha256 of each lower-cased text, and `vectors`
float32 (n, d). It belongs to one adapter on one backbone, which whoever stores it keeps track of.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from app.core.errors import Invalid

DIGEST_BYTES = 16


def text_digest(text: str) -> bytes:
    """The text's name in a snapshot: lower-cased first, as the tokenizer does."""
    return hashlib.sha256(text.lower().encode()).digest()[:DIGEST_BYTES]


def snapshot_to_bytes(texts: Sequence[str], vectors: NDArray[np.float32]) -> bytes:
    """Texts (n) and their vectors (n, d) -> bytes."""
    packed = b"".join(text_digest(text) for text in texts)
    digests = np.frombuffer(packed, dtype=np.uint8).reshape(len(texts), DIGEST_BYTES)
    return save({"digests": digests, "vectors": np.ascontiguousarray(vectors, dtype=np.float32)})


def snapshot_from_bytes(data: bytes) -> Mapping[bytes, NDArray[np.float32]]:
    """Bytes -> vector (d,) by text digest; raises `Invalid` when they are no snapshot."""
    try:
        arrays = load(data)
        digests, vectors = arrays["digests"], arrays["vectors"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise Invalid("The stored vectors cannot be read. They will be encoded again.") from error
    whole = digests.ndim == vectors.ndim == 2 and len(digests) == len(vectors)
    if not whole or vectors.dtype != np.float32 or not np.isfinite(vectors).all():
        raise Invalid("The stored vectors are damaged. They will be encoded again.")
    return {digest.tobytes(): vector for digest, vector in zip(digests, vectors, strict=True)}
