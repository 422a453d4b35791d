"""The classes that predictions and corrections may name; an operator may add to them."""

from __future__ import annotations

from collections.abc import Sequence

from instantft_ros.core.errors import ManifestError

#: A class name has at most so many characters.
MAX_NAME = 64


class ClassList:
    """
    Names by class id; ids of the network's own `known` classes come first and never change.

    most: how many there may be with those that operators add; at least as many as there are.
    Raises `ManifestError` for names that are too few, repeated or unusable.
    """

    def __init__(self, names: Sequence[str], known: int, most: int = 0) -> None:
        self.most = max(most, known)
        if not known <= len(names) <= self.most:
            wanted = f'{known}' if self.most == known else f'{known} to {self.most}'
            raise ManifestError(f'class_names must have {wanted} names, as many as the network '
                                f'has classes and max_classes allows, got {len(names)}')
        for name in names:
            if (problem := _problem(name)):
                raise ManifestError(problem)
        if len(set(names)) < len(names):
            raise ManifestError(f'class_names must differ, got {list(names)}')
        self.known = known
        self.names = tuple(names)
        #: how many the accelerator can do, where that is known
        self.accelerator_limit: int | None = None

    def __len__(self) -> int:
        return len(self.names)

    def index(self, label: str | int) -> int | None:
        """Give the id of a class by name or id; None when there is no such class."""
        if isinstance(label, str):
            return self.names.index(label) if label in self.names else None
        return label if 0 <= label < len(self.names) else None

    def why_not(self, label: str | int) -> str:
        """Say why a class that is not there cannot be added; empty when it can."""
        unknown = f'class {label!r} is not known, the classes are {list(self.names)}'
        if isinstance(label, int):
            return unknown
        if len(self.names) >= self.most:
            return unknown + (f'; max_classes allows no more than {self.most}'
                              if self.most > self.known else '')
        if self.accelerator_limit is not None and len(self.names) >= self.accelerator_limit:
            return f'{unknown}; the accelerator can do no more than {self.accelerator_limit}'
        return _problem(label)

    def add(self, name: str) -> int:
        """Add a class for which `why_not` is empty; gives its id."""
        self.names = (*self.names, name)
        return len(self.names) - 1


def _problem(name: str) -> str:
    if not name or name != name.strip() or len(name) > MAX_NAME or not name.isprintable():
        return (f'a class name must have 1 to {MAX_NAME} printable characters without spaces '
                f'around them, got {name[:2 * MAX_NAME]!r}')
    return ''
