"""The downloader against a server on this machine that misbehaves."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from caloman_cli.data import download as module
from caloman_cli.data.download import RemoteFile, download
from caloman_cli.errors import UserError

CONTENT = bytes(range(256)) * 4000
GOOD = RemoteFile("showers.hdf5", hashlib.md5(CONTENT).hexdigest(), 42, "10.5281/zenodo.42")


class Server(ThreadingHTTPServer):
    """Serves CONTENT; cuts the line after ``cuts`` bytes, once for each entry."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.cuts, self.ranges, self.status, self.failures = [], True, None, 0
        self.asked = []

    def handle_error(self, *_):
        pass  # the client hung up, which is what some tests want


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.failures:
            server.failures -= 1
            self.send_error(503)
            return
        if server.status:
            self.send_error(server.status)
            return
        start = int(wanted.removeprefix("bytes=")[:-1]) if wanted and server.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.address = f"http://127.0.0.1:{running.server_port}/{{record}}/{{name}}"
        yield running
        running.shutdown()
        thread.join()


def fetch(server, folder, file=GOOD):
    return download([file], folder, server.address, attempts=3, pause=0)


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def test_a_whole_file(server, tmp_path):
    assert fetch(server, tmp_path / "new") == [tmp_path / "new/showers.hdf5"]
    assert (tmp_path / "new/showers.hdf5").read_bytes() == CONTENT
    assert names(tmp_path / "new") == ["showers.hdf5"]


def test_a_line_cut_twice_continues_where_it_stopped(server, tmp_path):
    server.cuts = [300_000, 200_000]
    fetch(server, tmp_path)
    assert (tmp_path / "showers.hdf5").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=500000-"]


def test_a_later_call_continues(server, tmp_path):
    (tmp_path / "showers.hdf5.part").write_bytes(CONTENT[:700_000])
    fetch(server, tmp_path)
    assert server.asked == ["bytes=700000-"]
    assert (tmp_path / "showers.hdf5").read_bytes() == CONTENT
    assert names(tmp_path) == ["showers.hdf5"]


def test_a_finished_part_is_only_verified(server, tmp_path):
    (tmp_path / "showers.hdf5.part").write_bytes(CONTENT)
    fetch(server, tmp_path)
    assert names(tmp_path) == ["showers.hdf5"]


def test_a_server_that_ignores_ranges(server, tmp_path):
    server.ranges = False
    server.cuts = [300_000]
    fetch(server, tmp_path)
    assert (tmp_path / "showers.hdf5").read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.failures = 2
    fetch(server, tmp_path)
    assert (tmp_path / "showers.hdf5").read_bytes() == CONTENT


def test_progress_renews_the_patience(server, tmp_path):
    server.cuts = [100_000] * 6
    fetch(server, tmp_path)
    assert (tmp_path / "showers.hdf5").read_bytes() == CONTENT


def test_a_line_that_is_always_cut(server, tmp_path):
    server.cuts = [400_000] + [0] * 10
    with pytest.raises(UserError, match="another machine"):
        fetch(server, tmp_path)
    assert names(tmp_path) == ["showers.hdf5.part"]
    assert (tmp_path / "showers.hdf5.part").read_bytes() == CONTENT[:400_000]
    assert len(server.asked) == 4


def test_wrong_checksum_keeps_nothing(server, tmp_path):
    wrong = RemoteFile("showers.hdf5", "0" * 32, 42, GOOD.doi)
    with pytest.raises(UserError, match=f"MD5 {GOOD.md5}, but the record says {'0' * 32}"):
        fetch(server, tmp_path, wrong)
    assert not names(tmp_path)


@pytest.mark.parametrize("status", [403, 404])
def test_a_file_that_is_not_there_is_not_asked_for_twice(server, tmp_path, status):
    server.status = status
    with pytest.raises(UserError, match=rf"answered {status} .*doi.org/10.5281/zenodo.42"):
        fetch(server, tmp_path)
    assert len(server.asked) == 1
    assert not names(tmp_path)


def test_a_right_file_is_left_alone(server, tmp_path):
    (tmp_path / "showers.hdf5").write_bytes(CONTENT)
    fetch(server, tmp_path)
    assert server.asked == []


def test_a_wrong_file_is_not_replaced(server, tmp_path):
    (tmp_path / "showers.hdf5").write_bytes(b"mine")
    with pytest.raises(UserError, match="move it away"):
        fetch(server, tmp_path)
    assert (tmp_path / "showers.hdf5").read_bytes() == b"mine"


def test_offline_says_everything_once(tmp_path, server):
    server.server_close()  # nobody listens any more
    other = RemoteFile("more.hdf5", "f" * 32, 42, GOOD.doi)
    with pytest.raises(UserError) as caught:
        download([GOOD, other], tmp_path, server.address, attempts=2, pause=0)
    for part in (GOOD.name, GOOD.md5, other.name, other.md5, GOOD.doi, str(tmp_path)):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_made(tmp_path, server):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        fetch(server, tmp_path / "file")


def test_a_full_disk(tmp_path, server, small_disk):
    with pytest.raises(UserError, match="no room left"):
        fetch(server, tmp_path)
    assert names(tmp_path) == ["showers.hdf5.part"]


def test_the_address_of_a_record():
    assert module.ADDRESS.format(record=42, name="a.hdf5").endswith("/42/files/a.hdf5?download=1")
