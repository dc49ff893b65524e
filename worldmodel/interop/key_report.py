"""The report on a third-party checkpoint: what became of each of its keys."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from worldmodel.errors import printable
from worldmodel.storage.files import write_table


@dataclass(frozen=True)
class KeyUse:
    """One key: where its tensor went, or why it was left out."""

    theirs: str
    ours: str  # empty where it was left out
    note: str = ""


@dataclass(frozen=True)
class KeyReport:
    """The family that a checkpoint was taken for, and what became of its keys.

    Every key is in `uses`: one that is neither used nor left out for a stated reason is an error.
    """

    source: str
    family: str
    facts: Sequence[str]  # that were inferred, and from what
    uses: Sequence[KeyUse]

    def text(self) -> str:
        """The report to read, a line for each layer, all blocks together."""
        used = [use for use in self.uses if use.ours]
        left = [use for use in self.uses if not use.ours]
        lines = [f"{printable(self.source)}: {self.family}"]
        lines += [f"  {printable(fact)}" for fact in self.facts]
        lines.append(f"  {len(used)} keys used, {len(left)} left out on purpose, 0 unknown")
        groups: dict[tuple[str, str, str], int] = {}
        for use in self.uses:
            layer = (printable(_layer(use.theirs)), _layer(use.ours), use.note)
            groups[layer] = groups.get(layer, 0) + 1
        width = max((len(theirs) for theirs, _, _ in groups), default=0)
        for (theirs, ours, note), number in groups.items():
            lines.append(f"  {number:>5} x {theirs:<{width}}  -> {ours or f'left out: {note}'}")
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Every key on its own line, as CSV."""
        write_table(path, KeyUse, self.uses)


def _layer(key: str) -> str:
    """The key without the number of its block, and without saying weight or bias."""
    return re.sub(r"\.\d+(?=\.|$)", ".*", re.sub(r"\.(weight|bias)$", "", key), count=1)
