"""Frames as a TensorFlow tensor, over the same memory: python examples/dlpack_tensorflow.py VIDEO"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

import frametap as ft

batch = ft.sample(sys.argv[1], ft.Uniform(8), ft.Transform(size=(112, 112), layout="NHWC"))
frames = tf.experimental.dlpack.from_dlpack(batch.__dlpack__())
print(f"{tuple(frames.shape)} {frames.dtype.name} on {frames.device}")

# Whatever is written to the batch shows in the tensor: nothing was copied.
batch.numpy()[0, 0, 0] = (1, 2, 3)
print("same memory:", frames[0, 0, 0].numpy().tolist() == [1, 2, 3])
print(f"mean brightness {tf.reduce_mean(tf.cast(frames, tf.float32)):.1f}")
