"""Files of URLs are copied whole or not at all, and a copy that was cut off goes on."""

from __future__ import annotations

import os
import re
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from generated_data import write_shards

from experiments.config.data import DataConfig
from experiments.data import fetch, load_datasets
from experiments.data.fetch import fetch_all
from experiments.errors import DataError

CONTENT = bytes(range(256)) * 40
REPLACE = os.replace
URLOPEN = urllib.request.urlopen  # before the wall of these tests


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT; `cuts` says after how many bytes each answer breaks off."""

    cuts: ClassVar[list[int]]
    asked: ClassVar[list[str | None]]
    content, tag = CONTENT, '"one"'

    def do_GET(self):
        kind = type(self)
        given = self.headers.get("Range")
        kind.asked.append(given)
        if self.path.endswith("absent.tar"):
            self.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", given)[1]) if given else 0
        self.send_response(206 if given else 200)
        self.send_header("Content-Length", str(len(kind.content) - start))
        self.send_header("ETag", kind.tag)
        self.end_headers()
        self.wfile.write(kind.content[start : kind.cuts.pop(0) if kind.cuts else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", URLOPEN)
    kind = type("OneServer", (Server,), {"asked": [], "cuts": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield kind, f"http://127.0.0.1:{http.server_port}/some/a.tar"
        http.shutdown()
        thread.join()


def stopped(source, target):
    if str(target).endswith(".tar"):
        raise SystemExit
    REPLACE(source, target)


def test_a_copy_goes_on_where_the_connection_broke(tmp_path, server):
    kind, url = server
    kind.cuts = [1000, 1000, 7000]  # the second answer brings nothing new
    copy = fetch_all([url], tmp_path, True)[url]
    assert copy.read_bytes() == CONTENT
    assert kind.asked == [None, "bytes=1000-", "bytes=1000-", "bytes=7000-"]
    assert {path.name for path in copy.parent.iterdir()} == {"a.tar"}
    assert fetch_all([url], tmp_path, False) == {url: copy} and len(kind.asked) == 4


def test_a_copy_that_is_whole_is_only_renamed(tmp_path, server, monkeypatch):
    kind, url = server
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(fetch.os, "replace", stopped)
        fetch_all([url], tmp_path, True)
    assert fetch_all([url], tmp_path, True)[url].read_bytes() == CONTENT and len(kind.asked) == 1


def test_files_of_one_name_have_places_of_their_own(tmp_path):
    urls = ["https://a.org/x-y/a.tar", "https://a.org/x/y/a.tar", "http://a.org/x-y/a.tar",
            "https://b.org/x-y/a.tar", "file:///x-y/a.tar"]  # fmt: skip
    assert len({fetch._place(url, tmp_path) for url in urls}) == len(urls)
    assert fetch._place("file:///../../a.tar", tmp_path).is_relative_to(tmp_path / "file")


def test_a_cut_copy_of_another_version_begins_anew(tmp_path, server):
    kind, url = server
    kind.cuts = [1000] * (fetch.TRIES + 1)
    with pytest.raises(
        DataError, match=r"connection ended at 1,000 of 10,240 bytes.*goes on where"
    ):
        fetch_all([url], tmp_path, True)
    assert not list(tmp_path.rglob("a.tar"))
    kind.cuts, kind.content, kind.tag = [], CONTENT[::-1], '"two"'
    assert fetch_all([url], tmp_path, True)[url].read_bytes() == CONTENT[::-1]


def test_a_url_that_does_not_answer_is_named(tmp_path, server, no_network):
    url = server[1]
    for wrong, words in (
        (url.replace("a.tar", "absent.tar"), "the server answers 404"),
        ("file:///nowhere/a.tar", "No such file"),
    ):
        with pytest.raises(
            DataError, match=re.escape(f"{wrong} cannot be copied: ") + ".*" + words
        ):
            fetch_all([wrong], tmp_path, True)
    with pytest.raises(DataError, match=r"has no copy in .*data.download=true"):
        fetch_all([url], tmp_path, False)


def test_no_network_is_a_message(tmp_path, no_network):
    url = "https://example.org/a.tar"
    with pytest.raises(DataError, match=f"{url} cannot be copied: Temporary failure in name"):
        fetch_all([url], tmp_path, True)
    assert len(no_network) == fetch.TRIES


def test_shards_of_a_url_are_copied_and_read(tmp_path):
    write_shards(tmp_path / "there", "train", [4, 4])
    write_shards(tmp_path / "there", "val", [4])
    there = f"file://{tmp_path}/there/some"
    cfg = DataConfig(
        name="imagenet",
        root=f"{there}-train-{{000..001}}.tar::{there}-val-000.tar",
        download_dir=str(tmp_path / "here"),
        validation_fraction=0.25,
    )
    assert [len(part) for part in load_datasets(cfg)] == [6, 2, 4]
    for tar in (tmp_path / "there").iterdir():
        tar.unlink()
    assert [len(part) for part in load_datasets(cfg)] == [6, 2, 4]
    assert len(list((tmp_path / "here").rglob("*.index.json"))) == 3
