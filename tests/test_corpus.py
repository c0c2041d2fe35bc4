"""Every file of the corpus: length, times and pixels as plain PyAV decoding of the whole file gives them, in any order.

Damaged files may end in a typed error or in fewer frames, never in a crash, a hang or a wrong frame. Each file is checked
by `corpus_worker.py` in a process of its own kind, two at a time.
"""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from conftest import find_corpus

CORPUS = find_corpus()
SECONDS_PER_FILE = 120
WORKERS = min(4, os.cpu_count() or 1)
# The throughput clip has tests of its own; the rest of what is not listed is no video.
NOT_VIDEOS = {".tsv", ".md", ".md5"}


def corpus_files() -> list[str]:
    if CORPUS is None:
        return []
    files = sorted(
        path for path in CORPUS.rglob("*") if path.is_file() and path.suffix not in NOT_VIDEOS
    )
    names = [str(path.relative_to(CORPUS)) for path in files]
    return [name for name in names if not name.startswith("bench/") and "/refs/" not in name]


class Checker:
    """Worker processes that check files; one that dies or hangs is replaced, and its file has failed."""

    def __init__(self, names: list[str]) -> None:
        self.results: dict[str, Future[dict[str, object]]] = {name: Future() for name in names}
        self._names: queue.SimpleQueue[str] = queue.SimpleQueue()
        for name in names:
            self._names.put(name)
        for _ in range(WORKERS):
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        worker = None
        while True:
            try:
                name = self._names.get_nowait()
            except queue.Empty:
                break
            worker = worker or subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("corpus_worker.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            line = self._ask(worker, name)
            if not line:
                worker.kill()
                worker.communicate()
                self.results[name].set_result({"problems": ["crashed or hung"], "outcome": ""})
                worker = None
            else:
                self.results[name].set_result(json.loads(line))
        if worker is not None:
            worker.communicate()

    @staticmethod
    def _ask(worker: subprocess.Popen[str], name: str) -> str:
        assert CORPUS is not None
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(f"{CORPUS / name}\n")
        worker.stdin.flush()
        ready, _, _ = select.select([worker.stdout], [], [], SECONDS_PER_FILE)
        return worker.stdout.readline() if ready else ""


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker(corpus_files())


@pytest.mark.skipif(CORPUS is None, reason="corpus absent (set FRAMETAP_CORPUS)")
@pytest.mark.parametrize("name", corpus_files())
def test_equals_plain_decoding(name: str, checker: Checker) -> None:
    result = checker.results[name].result()
    assert not result["problems"], f"{result['outcome']}: {result['problems']}"
