"""The accelerator of some kinds of layers, as data: what hardware, compiler and host agree on."""
