"""Which library's tensors readers return; the choice of the main thread holds for threads that made none of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from frametap import UnsupportedError
from frametap.integrations.decord.ndarray import NDArray, cpu


def to_torch(array: NDArray) -> Any:
    """Return a torch tensor over the same memory."""
    import torch

    return torch.from_dlpack(array)


def from_torch(tensor: Any) -> NDArray:
    """Return an array over the memory of a tensor on the CPU, or a copy of one on a GPU."""
    return NDArray(tensor.detach().cpu().numpy(), cpu(0))


def to_tensorflow(array: NDArray) -> Any:
    """Return a TensorFlow tensor over the same memory."""
    import tensorflow

    return tensorflow.experimental.dlpack.from_dlpack(array.to_dlpack())


def from_tensorflow(tensor: Any) -> NDArray:
    """Return an array of what a tensor holds."""
    return NDArray(tensor.numpy(), cpu(0))


_BRIDGES: dict[str, tuple[Callable[[NDArray], Any], Callable[[Any], Any]]] = {
    "native": (lambda array: array, lambda array: array),
    "torch": (to_torch, from_torch),
    "tensorflow": (to_tensorflow, from_tensorflow),
}
_NOT_HERE = ("mxnet", "tvm")


class _Chosen(threading.local):
    name: str | None = None


_of_thread = _Chosen()
_of_process = "native"


def set_bridge(new_bridge: str) -> None:
    """Let readers return "native" arrays, "torch" tensors or "tensorflow" tensors, over the same memory.

    Raises:
        UnsupportedError: "mxnet" or "tvm", which take `NDArray.to_dlpack()`.
        AssertionError: no such bridge.
    """
    global _of_process
    if new_bridge in _NOT_HERE:
        raise UnsupportedError(
            f"there is no bridge to {new_bridge}: keep 'native' and give to_dlpack() to its from_dlpack"
        )
    if new_bridge not in _BRIDGES:
        raise AssertionError(f"bridges are {', '.join(_BRIDGES)}, got {new_bridge!r}")
    _of_thread.name = new_bridge
    if threading.current_thread() is threading.main_thread():
        _of_process = new_bridge


def reset_bridge() -> None:
    """Go back to "native"."""
    set_bridge("native")


def bridge_out(array: NDArray) -> Any:
    """Return the array as the chosen library's tensor."""
    return _BRIDGES[_of_thread.name or _of_process][0](array)


def bridge_in(tensor: Any) -> Any:
    """Return the chosen library's tensor as an array; without a bridge what is given."""
    return _BRIDGES[_of_thread.name or _of_process][1](tensor)


@contextmanager
def _use(name: str) -> Iterator[None]:
    before = _of_thread.name or _of_process
    set_bridge(name)
    try:
        yield
    finally:
        set_bridge(before)


def use_torch() -> Any:
    """Return a context in which readers return torch tensors."""
    return _use("torch")


def use_tensorflow() -> Any:
    """Return a context in which readers return TensorFlow tensors."""
    return _use("tensorflow")
