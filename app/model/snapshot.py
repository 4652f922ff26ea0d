"""Vectors of encoded contents as bytes, so that no process encodes what another one has encoded.

safetensors with `digests` uint8 (n, 16), the head of the sha256 of each lower-cased text or of each image's
bytes, and `vectors` float32 (n, d). It belongs to one adapter on one backbone, which whoever stores it keeps
track of.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from app.core.errors import Invalid

DIGEST_BYTES = 16


def content_digest(content: str | bytes) -> bytes:
    """A content's name in a snapshot; texts are lower-cased first, as the tokenizer does."""
    data = content.lower().encode() if isinstance(content, str) else content
    return hashlib.sha256(data).digest()[:DIGEST_BYTES]


def snapshot_to_bytes(names: Sequence[bytes], vectors: NDArray[np.float32]) -> bytes:
    """Content digests (n) and their vectors (n, d) -> bytes."""
    digests = np.frombuffer(b"".join(names), dtype=np.uint8).reshape(len(names), DIGEST_BYTES)
    return save({"digests": digests, "vectors": np.ascontiguousarray(vectors, dtype=np.float32)})


def snapshot_from_bytes(data: bytes) -> Mapping[bytes, NDArray[np.float32]]:
    """Bytes -> vector (d,) by content digest; raises `Invalid` when they are no snapshot."""
    try:
        arrays = load(data)
        digests, vectors = arrays["digests"], arrays["vectors"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise Invalid("The stored vectors cannot be read. They will be encoded again.") from error
    whole = digests.ndim == vectors.ndim == 2 and len(digests) == len(vectors)
    if not whole or vectors.dtype != np.float32 or not np.isfinite(vectors).all():
        raise Invalid("The stored vectors are damaged. They will be encoded again.")
    return {digest.tobytes(): vector for digest, vector in zip(digests, vectors, strict=True)}
