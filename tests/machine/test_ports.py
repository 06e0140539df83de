"""Clients of memory, and the ports that they go through."""

from dataclasses import replace
from typing import Any

import pytest

from lightmamba.arch.clients import LAYER, RECORD
from lightmamba.arch.config import ArchConfig
from lightmamba.common.errors import InputError
from lightmamba.hardware.machine.ports import (
    aux_readers,
    aux_writers,
    clients,
    ports,
    state_clients,
)


def names(config, *shapes):
    return [client.name for client in clients(config, *shapes)]


def test_clients_are_those_of_the_kinds_and_of_the_machine(both):
    alone = ArchConfig()
    assert names(alone, RECORD) == []
    assert names(both, RECORD) == ["record"]
    assert set(names(both)) - set(names(alone)) == {"history", "record"}
    assert names(both, LAYER) == ["history", "conv_state"]


def test_slots_have_clients_of_their_own(both):
    assert aux_readers(ArchConfig()) == (
        "embedding", "conv_params", "head_params", "gate_params", "conv_state",
    )  # fmt: skip
    assert aux_writers(ArchConfig()) == ("conv_state", "logits")
    assert aux_readers(both) == (
        "embedding", "conv_params", "head_params", "gate_params", "history", "conv_state",
        "embedding1", "history1", "conv_state1", "record",
    )  # fmt: skip
    assert aux_writers(both) == (
        "history", "conv_state", "logits", "history1", "conv_state1", "logits1", "record",
    )  # fmt: skip


def test_every_client_has_one_port_each_way(both):
    for config in (both, ArchConfig(state_ports=2), ArchConfig(tokens=8, lanes=9)):
        found = ports(config)
        assert len({port.name for port in found}) == len(found)
        readers = [name for port in found for name in port.readers]
        writers = [name for port in found for name in port.writers]
        lanes = tuple(f"lane{n}" for n in range(config.lanes))
        assert sorted(readers) == sorted((*lanes, *state_clients(config), *aux_readers(config)))
        assert sorted(writers) == sorted((*state_clients(config), *aux_writers(config)))


def test_a_shared_port_has_all_of_them():
    own = ArchConfig(state_port_bits=128)
    (port,) = ports(replace(own, shared_port=True))
    assert set(port.readers) == {name for one in ports(own) for name in one.readers}
    assert set(port.writers) == {name for one in ports(own) for name in one.writers}


@pytest.mark.parametrize(
    ("kinds", "lanes", "count"), [(("mamba2",), 27, 33), (("attention", "mamba2"), 16, 38)]
)
def test_more_clients_than_ids(kinds, lanes, count):
    """The bridge to a host takes half of a shared port's ids."""
    widths: dict[str, Any] = {"port_bits": 64, "state_port_bits": 64, "aux_port_bits": 64}
    config = ArchConfig(lanes=lanes, shared_port=True, kinds=kinds, **widths)
    with pytest.raises(InputError, match=(
        f"{count} clients are on port memory, which has ids for 32; take fewer lanes or tokens, or "
        "shared_port = false"
    )):  # fmt: skip
        ports(config)
    assert len(ports(replace(config, lanes=lanes // 2))) == 1
