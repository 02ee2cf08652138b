"""The devices of a TensorFlow run: one, or several that each hold a copy of the model and take a share of every batch."""

from __future__ import annotations

from typing import Any

from configs import RunConfig, UserError


def strategy(config: RunConfig) -> Any:
    """A `tf.distribute.MirroredStrategy` over `train.num_processes` devices, default all GPUs; for one device TensorFlow's default.

    Without a GPU the CPU is divided into as many devices. Raises UserError where there are not so many GPUs, or where the batches
    cannot be dealt out.
    """
    import tensorflow as tf

    from train.batches import check_divides

    gpus = tf.config.list_physical_devices("GPU")
    count = config.train.num_processes or max(len(gpus), 1)
    if gpus and count > len(gpus):
        raise UserError(f"train.num_processes={count} asks for as many GPUs, and TensorFlow sees {len(gpus)}; make it smaller")
    if config.train.batch_size:
        check_divides(config.train.batch_size, count, config.train.accumulation_steps)
    if count == 1:
        return tf.distribute.get_strategy()
    if any(config.model.dropout.model_dump().values()):
        # Keras's seeds cannot change within a replica.
        raise UserError(f"{count} devices with dropout are not built for TensorFlow; set the model's dropout to 0, or use one device")
    if not gpus:
        divide_cpu(count)
    return tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices("GPU" if gpus else "CPU")][:count])


def divide_cpu(count: int) -> None:
    """Make several devices of the CPU. Raises UserError where TensorFlow has begun to use it as fewer."""
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError:
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise UserError(f"the CPU is in use already and cannot be divided into {count} devices; do it at the start") from None


def use_threads(config: RunConfig) -> None:
    """Compute with train.cpu_threads, default all cores. Raises UserError where TensorFlow has begun with another number."""
    import tensorflow as tf

    if config.train.cpu_threads in (None, tf.config.threading.get_intra_op_parallelism_threads()):
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(config.train.cpu_threads)
    except RuntimeError:
        raise UserError(
            f"TensorFlow is in use already and cannot take train.cpu_threads={config.train.cpu_threads}; leave it out"
        ) from None
