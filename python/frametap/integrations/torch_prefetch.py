"""`prefetch`: batches made ahead by a thread, on a CUDA stream of their own; part of `frametap.integrations.torch`."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch


class _End:
    """Comes last from the thread: how the iteration ended."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetch(batches: Iterable[Any], device: str = "cuda", *, depth: int = 2) -> Iterator[Any]:
    """Yield what `batches` yields, `depth` of them made ahead by a thread, with all tensors on `device`.

    For a CUDA device the thread works on a stream of its own: decoding (of a `VideoDataset(device="cuda")`) or the copy
    (of pinned batches from workers) of the next batches runs beside the training step on the current one. The consumer's
    stream waits for a batch before it is handed out, and memory is not reused while that stream needs it.

    Args:
        batches: e.g. a `DataLoader`; iterated in the thread.
        device: where the tensors of each batch (in dicts, lists and tuples) go.
        depth: batches that may wait; as much memory is taken.

    Raises:
        ValueError: depth below 1. What `batches` raises is raised at its turn.

    Example:
        >>> import frametap as ft
        >>> from frametap.integrations.torch import VideoDataset, collate, prefetch
        >>> from torch.utils.data import DataLoader
        >>> dataset = VideoDataset(["clips/a.mp4", "clips/b.mp4"], ft.Uniform(4))
        >>> [len(batch["video"]) for batch in prefetch(DataLoader(dataset, collate_fn=collate), "cpu")]
        [1, 1]
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    return _ahead(batches, torch.device(device), depth)


def _ahead(batches: Iterable[Any], device: torch.device, depth: int) -> Iterator[Any]:
    ready: queue.Queue[Any] = queue.Queue()
    room = threading.Semaphore(depth)
    stop = threading.Event()
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def work() -> None:
        error = None
        try:
            with torch.cuda.stream(stream) if stream else contextlib.nullcontext():
                source = iter(batches)
                while room.acquire() and not stop.is_set():
                    try:
                        batch = _moved(next(source), device)
                    except StopIteration:
                        break
                    ready.put((batch, stream.record_event() if stream else None))
        except BaseException as caught:  # handed on to the consumer, whatever it is
            error = caught
        ready.put(_End(error))

    thread = threading.Thread(target=work, name="frametap-prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            batch, done = item
            if done is not None:
                _hand_over(batch, done, torch.cuda.current_stream(device))
            room.release()
            yield batch
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        room.release()
        thread.join()


def _hand_over(batch: Any, done: Any, stream: Any) -> None:
    """Let the consumer's stream wait for the batch, and its memory live until that stream is through with it."""
    stream.wait_event(done)
    _each_tensor(batch, lambda tensor: tensor.record_stream(stream))


def _moved(batch: Any, device: torch.device) -> Any:
    return _each_tensor(batch, lambda tensor: tensor.to(device, non_blocking=True))


def _each_tensor(value: Any, do: Any) -> Any:
    """Return the structure with every tensor in it replaced by what `do` makes of it."""
    if isinstance(value, torch.Tensor):
        return do(value)
    if isinstance(value, Mapping):
        return {key: _each_tensor(item, do) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_each_tensor(item, do) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value
