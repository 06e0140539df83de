"""Instruction sets that the kernels are compiled for, by processor, with the compiler's flags.

``setup.py`` runs this file; it imports nothing of the project. A library is called after its set,
and each set includes those before it. ``lightmamba_best_isa`` in api.cpp gives the place of the
best one that a processor has.
"""

import platform

__all__ = ["isas"]

AVX2 = ("-mavx2", "-mfma", "-mbmi", "-mbmi2", "-mpopcnt", "-mlzcnt")
AVX512 = (*(f"-mavx512{part}" for part in ("f", "bw", "dq", "vl", "cd", "vnni")),
          "-mprefer-vector-width=512")  # fmt: skip
ISAS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {"avx2": AVX2, "avx512": (*AVX2, *AVX512)},
    "aarch64": {
        "dotprod": ("-march=armv8.2-a+dotprod",),
        "i8mm": ("-march=armv8.2-a+dotprod+i8mm",),
    },
}


def isas(machine: str | None = None) -> dict[str, tuple[str, ...]]:
    """Flags by instruction set, the plainest first; by default for this computer's processor."""
    machine = (machine or platform.machine()).lower()
    name = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    return {"portable": (), **ISAS.get(name, {})}
