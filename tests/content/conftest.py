"""No deadlines in this folder: hypothesis measures wall time, which says nothing on a shared machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("content", deadline=None)
settings.load_profile("content")
