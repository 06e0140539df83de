"""An OpenAI-compatible server over a quantized model, on the engine or on a device."""

from lightmamba.serve.app import create_app
from lightmamba.serve.opened import Served, open_served
from lightmamba.serve.scheduler import Scheduler
from lightmamba.serve.server import bound, serve
from lightmamba.serve.settings import Settings

__all__ = ["Scheduler", "Served", "Settings", "bound", "create_app", "open_served", "serve"]
