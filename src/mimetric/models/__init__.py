"""Encoders: modules from inputs to embeddings."""

from __future__ import annotations

from mimetric.models.encoders import create_encoder, embed

__all__ = ["create_encoder", "embed"]
