"""Write the golden files anew: ``python -m tests.golden``; then review the difference."""

from lightmamba.model.qmodel import to_bytes
from tests.golden.tiny import FILE, HEADER, header_text, tiny_model

data = to_bytes(tiny_model())
FILE.write_bytes(data)
HEADER.write_text(header_text(data))
print(f"{FILE} and {HEADER}")
