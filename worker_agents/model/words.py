"""How things are called where people read them. Pure."""

from __future__ import annotations

_LABELS = {
    "code_forge": "Code Forge",
    "opa": "OPA",
    "argocd": "Argo CD",
    "trivy": "Trivy",
    "vault": "Vault",
    "git": "Git",
    "kubernetes": "Kubernetes",
    "test": "Test programs",
}


def label_of(integration: str) -> str:
    """``Code Forge`` for ``code_forge``."""
    return _LABELS.get(integration, integration)


def span(seconds: float) -> str:
    """A time span in at most two units: ``4 min``, ``1 h 5 min``, ``3 d 2 h``."""
    whole = int(max(seconds, 0))
    days, hours, minutes = whole // 86_400, whole // 3_600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{whole} s"


def count(number: int, noun: str) -> str:
    """``1 ticket``, ``37 tickets``, ``1,200 tickets``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
