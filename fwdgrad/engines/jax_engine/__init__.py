"""The JAX engine: a program written out as calls of jax.numpy, which JAX compiles for the device it sees.

`writing` makes the source, `operations` has the call for each operation, `runtime` what the source calls beside
jax.numpy, and `stream` runs steps, in `lax.scan`, on arrays that stay on the device.
"""
