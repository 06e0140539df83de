"""What benchmarks share: the machine that they name."""

import json

from bench.common import RESULTS, machine, processor

CLOUD = """processor\t: 0
model name\t: AMD EPYC
flags\t\t: fpu sse2 hypervisor avx2 avx512bw avx512_vnni

processor\t: 1
model name\t: AMD EPYC
flags\t\t: fpu sse2 hypervisor avx2 avx512bw avx512_vnni
"""


def test_virtual_processors_are_no_sockets():
    assert processor(CLOUD) == "2 vCPUs, AMD EPYC with avx512_vnni"
    one = CLOUD.partition("\n\n")[0].replace("hypervisor ", "").replace("avx512_vnni", "")
    assert processor(one) == "1 hardware thread, AMD EPYC with avx512bw"
    assert processor(one.replace("avx", "sse")) == "1 hardware thread, AMD EPYC"
    assert processor("processor\t: 0\n") is None


def test_this_machine_has_a_name():
    assert ", Python 3." in machine()
    assert not machine().startswith(", ")


def test_no_result_counts_sockets():
    for path in sorted(RESULTS.glob("*.json")):
        record = json.loads(path.read_text())
        if isinstance(record.get("machine"), str):
            assert " x " not in record["machine"], path.name
