"""Frames as a JAX array, over the same memory: python examples/dlpack_jax.py VIDEO"""

import sys

import jax
import jax.numpy as jnp

import frametap as ft

batch = ft.sample(sys.argv[1], ft.Uniform(8), ft.Transform(size=(112, 112), layout="NHWC"))
frames = jnp.from_dlpack(batch)
print(f"{frames.shape} {frames.dtype} on {frames.device}")
print("same memory:", frames.unsafe_buffer_pointer() == batch.numpy().ctypes.data)


@jax.jit
def normalised(x: jax.Array) -> jax.Array:
    """Bring bytes to zero mean and unit deviation, per video."""
    x = x.astype(jnp.float32) / 255
    return (x - x.mean()) / x.std()


values = normalised(frames)
print(f"mean {values.mean():.3f}, deviation {values.std():.3f}")
