"""The accelerator as data: what hardware, compiler and host agree on."""
