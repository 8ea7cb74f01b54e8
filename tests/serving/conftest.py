"""The fixtures of `real_service.py`, for every test of this folder."""

from real_service import client, running

__all__ = ["client", "running"]
