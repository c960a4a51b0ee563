"""The registry of mixers, in a file of its own: VAST's wrapper looks its inner mixer up in it, and is an entry, too."""

from __future__ import annotations

from utils.registry import Registry

REGISTRY = Registry("mixer")
