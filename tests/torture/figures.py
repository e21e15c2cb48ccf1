"""What the experiments counted."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Figures:
    """Lines for ``docs/reliability.md``."""

    lines: list[str] = field(default_factory=list)

    def add(self, experiment: str, **counts: object) -> None:
        """Write down one experiment's counts."""
        told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in counts.items())
        self.lines.append(f"{experiment}: {told}")
