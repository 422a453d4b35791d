"""Results kept cell by cell, so that a benchmark that was stopped goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import hashlib
import json
from pathlib import Path
import time
from typing import Any

#: Ends the name of a baseline that trains on the replay images too, as InstantFT always does.
WITH_REPLAY = ' with replay'

ROOT = Path(__file__).resolve().parent.parent


def source_digest(*sources: str) -> str:
    """Hash the files and folders that results depend on: after a change they are made anew."""
    state = hashlib.sha256()
    for source in sources:
        path = ROOT / source
        for file in sorted(path.rglob('*')) if path.is_dir() else [path]:
            if file.suffix in ('.py', '.cpp', '.hpp', '.h', '.sv', '.onnx'):
                state.update(file.read_bytes())
    return state.hexdigest()[:16]


class Cells:
    """
    A file of results, one JSON object a line; a torn last line is dropped.

    digest_of: the digest of the sources that a key's result depends on.
    """

    def __init__(self, path: Path, digest_of: Callable[[str], str]) -> None:
        self._path, self._digest_of = path, digest_of
        self._results: dict[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:
                    continue
                if entry['digest'] == digest_of(entry['key']):
                    self._results[entry['key']] = entry['value']

    def __contains__(self, key: str) -> bool:
        return key in self._results

    def __getitem__(self, key: str) -> Any:
        return self._results[key]

    def all(self) -> dict[str, Any]:
        """Give all results that are up to date."""
        return dict(self._results)

    def put(self, key: str, value: Any) -> None:
        """Keep a result, on the disk at once."""
        self._results[key] = value
        with self._path.open('a') as file:
            entry = {'digest': self._digest_of(key), 'key': key, 'value': value}
            file.write(json.dumps(entry) + '\n')

    def fill(self, title: str, keys: Iterable[str], compute: Callable[[str], Any],
             cost: Callable[[str], float] = lambda key: 1.0) -> None:
        """
        Compute the cells that are missing, with a line of progress.

        cost: a cell's share of the work, in any unit; the time left is estimated from it.
        """
        missing = [key for key in keys if key not in self]
        total, done, started_s, told_s = sum(map(cost, missing)), 0.0, time.monotonic(), 0.0
        for number, key in enumerate(missing, 1):
            self.put(key, compute(key))
            done += cost(key)
            now_s = time.monotonic()
            if now_s - told_s > 2.0 or number == len(missing):
                left_s = (now_s - started_s) / done * (total - done)
                print(f'{title}: {number} of {len(missing)} cells, about {left_s:.0f} s left',
                      flush=True)
                told_s = now_s
