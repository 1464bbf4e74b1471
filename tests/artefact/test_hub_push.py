"""A round by the hub: the real client pushes an export to a loopback hub, and loads it from there."""

import base64
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.artefact.conftest import reseal

from fiatkit import artefact
from fiatkit.artefact.export import export, hub
from fiatkit.errors import ArtefactError, FatalProviderError, ModelFileError, UsageError

TOKEN = "hf_loopbackcanary"


class Hub(ThreadingHTTPServer):
    """As much of the hub as its client needs to make a repository, commit, and download."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.commits: dict[str, dict[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.downloads: list[str] = []
        self.locked = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def latest(self) -> str:
        return list(self.commits)[-1]


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *anything: object) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, value: Any, status: int = 200, **headers: str) -> None:
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def do_POST(self) -> None:
        raw = self.body()
        if self.server.locked or self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer({"error": "no"}, 403)
        if self.path == "/api/repos/create":
            return self.answer({"url": f"{self.server.url}/me/model", "id": "1"})
        if self.path == "/api/validate-yaml":
            return self.answer({"warnings": [], "errors": []})
        if self.path.endswith("/objects/batch"):
            objects = [
                o | {"actions": {"upload": {"href": f"{self.server.url}/blob/{o['oid']}"}}}
                for o in json.loads(raw)["objects"]
            ]
            return self.answer({"transfer": "basic", "objects": objects})
        if "/preupload/" in self.path:
            files = [
                {"path": f["path"], "shouldIgnore": False}
                | {"uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular"}
                for f in json.loads(raw)["files"]
            ]
            return self.answer({"files": files})
        assert self.path.startswith("/api/models/me/model/commit/main")
        files: dict[str, bytes] = {}
        for line in raw.splitlines():
            item = json.loads(line)
            if item["key"] == "file":
                files[item["value"]["path"]] = base64.b64decode(item["value"]["content"])
            elif item["key"] == "lfsFile":
                files[item["value"]["path"]] = self.server.blobs[item["value"]["oid"]]
        commit = hashlib.sha1(raw).hexdigest()
        self.server.commits[commit] = files
        url = f"{self.server.url}/me/model/commit/{commit}"
        return self.answer({"success": True, "commitUrl": url, "commitOid": commit})

    def do_PUT(self) -> None:
        self.server.blobs[self.path.rsplit("/", 1)[1]] = self.body()
        self.answer({})

    def do_GET(self) -> None:
        if self.path.startswith("/api/"):
            return self.answer({}, 404, X_Error_Code="RepoNotFound")
        _, _, _, _, revision, name = self.path.split("/", 5)
        commit = revision if revision in self.server.commits else self.server.latest()
        content = self.server.commits[commit].get(name)
        if content is None:
            return self.answer({}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        if self.command == "GET":
            self.server.downloads.append(name)
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        return self.answer(content, X_Repo_Commit=commit, ETag=etag)

    do_HEAD = do_GET


@pytest.fixture
def loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("FIATKIT_CACHE", str(tmp_path / "cache"))
    yield server
    server.shutdown()
    server.server_close()


def test_what_was_pushed_loads_by_name(lora: Path, tmp_path: Path, loopback: Hub) -> None:
    export(lora, "hub", tmp_path / "out")
    url = hub.push(tmp_path / "out", "me/model")
    assert url == f"{loopback.url}/me/model/commit/{loopback.latest()}"
    here = {f.relative_to(tmp_path / "out").as_posix(): f.read_bytes() for f in files(tmp_path)}
    assert loopback.commits[loopback.latest()] == here
    found = artefact.read(Path("hub:me/model"))
    assert found.manifest == artefact.read(lora).manifest
    assert all(not file.is_symlink() for file in found.folder.iterdir())
    assert set(loopback.downloads) == {*found.manifest.files, "manifest.json"}
    loopback.downloads.clear()
    assert artefact.read(Path("hub:me/model@" + loopback.latest())).folder == found.folder
    assert loopback.downloads == []


def test_two_that_fetch_at_once_get_the_same(
    lora: Path, tmp_path: Path, loopback: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the first, whose folder is whole."""
    export(lora, "hub", tmp_path / "out")
    hub.push(tmp_path / "out", "me/model")
    found: list[Path] = []
    second = threading.Thread(target=lambda: found.append(hub.fetch("me/model")))
    copy = shutil.copyfile

    def meanwhile(source: Path, target: Path) -> Path:
        if second.ident is None:
            second.start()
            second.join(timeout=1)
        return copy(source, target)

    monkeypatch.setattr(hub.shutil, "copyfile", meanwhile)
    folder = hub.fetch("me/model")
    second.join(timeout=60)
    assert found == [folder]
    assert artefact.read(folder).manifest == artefact.read(lora).manifest


def files(folder: Path) -> list[Path]:
    return [file for file in (folder / "out").rglob("*") if file.is_file()]


def test_a_local_copy_of_a_repository_loads_too(lora: Path, tmp_path: Path) -> None:
    """The folder that was pushed holds more than an artefact; what the manifest names is one."""
    export(lora, "hub", tmp_path / "out")
    with pytest.raises(ArtefactError, match="missing or unexpected files: README.md"):
        artefact.read(tmp_path / "out")
    names = artefact.read(lora).manifest.files
    for file in (tmp_path / "out").iterdir():
        if file.name not in names and file.name != "manifest.json":
            file.rename(tmp_path / file.name)
    assert artefact.load(tmp_path / "out", device="cpu")[0].identity


def test_A02_a_repository_leads_nowhere_else(lora: Path, tmp_path: Path, loopback: Hub) -> None:
    export(lora, "hub", tmp_path / "out")
    reseal_with = {"../../../escaped.json": "0" * 64}
    reseal(lora, files=reseal_with)
    (tmp_path / "out" / "manifest.json").write_bytes((lora / "manifest.json").read_bytes())
    hub.push(tmp_path / "out", "me/model")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ArtefactError, match="no artefact holds"):
        artefact.read(Path("hub:me/model"))
    assert loopback.downloads == ["manifest.json"]
    assert {path.name for path in tmp_path.iterdir()} - {path.name for path in before} <= {
        "hub-cache"
    }


def test_A13_a_refusal_does_not_show_the_token(
    lora: Path, tmp_path: Path, loopback: Hub, capfd: pytest.CaptureFixture[str]
) -> None:
    export(lora, "hub", tmp_path / "out")
    loopback.locked = True
    with pytest.raises(FatalProviderError, match=r"refuses \"me/model\" \(403\)") as caught:
        hub.push(tmp_path / "out", "me/model")
    assert TOKEN not in str(caught.value) + "".join(capfd.readouterr())
    with pytest.raises(UsageError, match="no name of a repository"):
        hub.push(tmp_path / "out", "../model")


def test_what_is_not_there_is_told(loopback: Hub) -> None:
    loopback.commits["0" * 40] = {}
    with pytest.raises(ModelFileError, match="did not deliver"):
        artefact.read(Path("hub:me/model"))
