"""
A day of an invented shop and its three partners, on this machine: what ``fcflow demo`` runs.
"""

from __future__ import annotations

__all__: list[str] = []
