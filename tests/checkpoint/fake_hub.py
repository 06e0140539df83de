"""A hub on 127.0.0.1 that serves one folder, with the few routes that a download uses."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "someone/tiny-mamba2"


class FakeHub:
    """Answers of the server, and the requests that it got."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.error: tuple[int, str] | None = None  # status and X-Error-Code of every answer
        self.file_error: tuple[int, str] | None = None  # the same, for files only
        self.cut: int | None = None  # bytes after which a file breaks off
        self.revisions = {"main": COMMIT, "v1": COMMIT, COMMIT: COMMIT}
        self.asked: list[str] = []
        self.url = ""

    def files_asked(self) -> set[str]:
        """Names of the files that were fetched, headers alone included."""
        return {path.rpartition("/")[2] for path in self.asked if "/resolve/" in path}


@contextmanager
def serve(folder: Path) -> Iterator[FakeHub]:
    """Run a hub whose repository `REPO` holds the files of ``folder``."""
    hub = FakeHub(folder)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            path = urlsplit(self.path).path
            hub.asked.append(path)
            if hub.error:
                self._fail(*hub.error)
            elif path.startswith(f"/api/models/{REPO}/revision/"):
                revision = path.rpartition("/")[2]
                if revision in hub.revisions:
                    self._send_json({"id": REPO, "sha": hub.revisions[revision], "siblings": []})
                else:
                    self._fail(404, "RevisionNotFound")
            elif path.startswith(f"/api/models/{REPO}/tree/{COMMIT}"):
                self._send_json([self._entry(file) for file in sorted(hub.folder.iterdir())])
            elif path.startswith(f"/{REPO}/resolve/{COMMIT}/"):
                self._send_file(hub.folder / path.rpartition("/")[2])
            else:
                self._fail(404, "RepoNotFound")

        def _entry(self, file: Path) -> dict[str, object]:
            oid = hashlib.sha1(file.read_bytes()).hexdigest()
            return {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": oid}

        def _send_file(self, file: Path) -> None:
            if hub.file_error:
                return self._fail(*hub.file_error)
            if not file.is_file():
                return self._fail(404, "EntryNotFound")
            body = file.read_bytes()
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[: hub.cut])
            return None

        def _send_json(self, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _fail(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
