"""Files that are shipped beside the code: the policies, and the configuration with every setting.

In a wheel they lie in this package; in a checkout they are in config/, where people look for them.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent
_CHECKOUT = _HERE.parents[1] / "config"


def shipped(name: str) -> Path:
    """`policies` or `relay.yaml` -> where it is."""
    packed = _HERE / name
    return packed if packed.exists() else _CHECKOUT / name
