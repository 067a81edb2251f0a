"""The composition root: the `wharf` command, the local stack, the toolchain, the demo. Nothing imports it."""
