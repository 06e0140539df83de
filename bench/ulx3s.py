"""The whole system on a ULX3S: placed and routed, and simulated from its serial line to its SDRAM.

    python -m bench.ulx3s place [--seed 1 2 3]    # an hour of processor time
    python -m bench.ulx3s run [--tokens 100]      # half an hour
    python -m bench.ulx3s load                    # a quarter of an hour

``place`` synthesizes the system of the bundled model once, and places and routes it for each seed;
``run`` simulates its RTL in Verilator, with a model of the SDRAM that checks its timing, and compares
every logit with the engine; ``load`` brings the weights there over the serial line. Greedy tokens
are those of a chain, sampled ones those whose logits the host reads.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bench.stored import keep
from lightmamba.arch.target import Target
from lightmamba.boards.serial_device import SerialDevice
from lightmamba.compiler import build, open_model
from lightmamba.data import demo_file
from lightmamba.engine import Engine
from lightmamba.machine.artifact import Artifact
from lightmamba.package.ulx3s import board_flow
from lightmamba.package.ulx3s_device import open_simulated_ulx3s
from lightmamba.qmodel import load
from lightmamba.synth.board import between_of, clocks_of
from lightmamba.synth.ecp5 import LIMIT_S, synthesized
from lightmamba.synth.edit import edit
from lightmamba.synth.flow import SLOW_MHZ, write_flow
from lightmamba.synth.placed import route
from lightmamba.synth.tools import find_ecppack, find_ecpunpack, find_nextpnr, find_yosys

TARGET = "ulx3s"
FIRST = 1  # token that a sequence begins with
USB_MS = 1.0  # latency timer of the USB bridge, for each wait of the host: not simulated
