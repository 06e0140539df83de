"""``python -m lightmamba``."""

from lightmamba.cli import main

raise SystemExit(main())
