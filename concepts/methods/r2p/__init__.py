"""R2P: retrieval and reasoning over fingerprints, without training (arXiv 2503.18623)."""

from concepts.methods.r2p.method import R2P

__all__ = ["R2P"]
