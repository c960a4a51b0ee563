"""What a reader of a comparison must know beside the numbers: runs that are missing, cut, unequal."""

from __future__ import annotations


class Notes:
    """Remarks, each with the runs or curves that it is about; nothing is said twice."""

    def __init__(self) -> None:
        self._about: dict[str, list[str]] = {}

    def add(self, remark: str, about: str) -> None:
        """Notes that ``remark`` holds for a run or curve; those with one remark share a line."""
        known = self._about.setdefault(remark, [])
        if about not in known:
            known.append(about)

    def lines(self) -> list[str]:
        """One line a remark."""
        return [f"{remark}: {'; '.join(about)}" for remark, about in self._about.items()]

    def tail(self) -> str:
        """All remarks, as the end of a message."""
        return "".join(f"; {line}" for line in self.lines())
