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
from tests.artefact.conftest import make, reseal
from tests.command import fiat

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
        self.private: bool | None = None

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
        if self.path == "/api/models/me/model" and self.server.private is not None:
            return self.answer({"id": "me/model", "private": self.server.private})
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
    assert found.manifest.scores == artefact.read(lora).manifest.scores
    assert found.base == artefact.read(lora).manifest.small["name"]
    artefact.load(Path("hub:me/model"), base=str(tmp_path / "out" / "base"))
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
    assert artefact.read(folder).manifest.small == artefact.read(lora).manifest.small


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
    base = str(tmp_path / "base")
    assert artefact.load(tmp_path / "out", device="cpu", base=base)[0].identity


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
    assert f'hf upload me/model "{tmp_path / "out"}"' in str(caught.value)


def test_a_repository_s_name_is_looked_at_before_anything_is_written(lora: Path) -> None:
    for name in ("../model", "model", "me/model@main"):
        words = ["export", "model", "--to", "peft", "--out", "out", "--push", name]
        assert "no name of a repository" in fiat(lora.parent, *words, code=2)
    assert not (lora.parent / "out").exists()


def test_A13_what_is_to_be_private_is_not_put_where_everybody_sees_it(
    lora: Path, tmp_path: Path, loopback: Hub
) -> None:
    export(lora, "peft", tmp_path / "out")
    loopback.private = False
    with pytest.raises(UsageError, match="everybody sees it"):
        hub.push(tmp_path / "out", "me/model", private=True)
    assert not loopback.commits
    loopback.private = True
    (tmp_path / "out" / ".lock").write_text("pid 1 on somewhere")  # of an export that was killed
    hub.push(tmp_path / "out", "me/model", private=True)
    assert ".lock" not in loopback.commits[loopback.latest()]


@pytest.mark.parametrize("kind", ["hub", "peft", "merged", "vllm", "gguf"])
def test_A13_no_path_of_this_machine_leaves_it(
    lora: Path, tiny_chat_model: Path, tmp_path: Path, kind: str
) -> None:
    """Of where models lay no more than their own names; the artefact is one all the same."""
    large = {"provider": "llama_cpp", "model": "/home/alice/large.gguf"}
    path = lora / "preparation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"large": large}))
    reseal(lora, large=large | {"endpoint": "", "revision": "0" * 64, "licence": "unknown"})
    export(lora, kind, tmp_path / "out")
    for file in files(tmp_path):
        raw = file.read_bytes()
        assert not [p for p in (b"alice", bytes(tiny_chat_model.parent)) if p in raw], file
    if kind == "hub":
        card = (tmp_path / "out" / "README.md").read_text()
        assert "| large.gguf (llama_cpp) |" in card
        assert 'fiatkit.load("hub:OWNER/NAME", base="base")' in card
        assert "Worked examples of the task" in card and "licence of the rows" in card
        kept = json.loads((tmp_path / "out" / "preparation.json").read_text())
        assert (kept["small"], kept["large"]["model"]) == (tiny_chat_model.name, "large.gguf")


def test_A13_of_a_base_s_folder_only_its_tokenizer_lies_beside_an_artefact(
    tiny_chat_model: Path, tmp_path: Path
) -> None:
    """Also where it holds files of the names that an artefact has, or of a training run."""
    base = Path(shutil.copytree(tiny_chat_model, tmp_path / "base-model"))
    for name in ("manifest.json", "preparation.json", "prompt.json", "trainer_state.json"):
        (base / name).write_text('{"of": "the base"}')
    make(tmp_path / "model", base, "lora")
    for kind in ("hub", "peft"):
        export(tmp_path / "model", kind, tmp_path / kind)
        beside = {file.name: file for file in (tmp_path / kind).iterdir() if file.is_file()}
        assert "trainer_state.json" not in beside and "tokenizer.json" in beside
        assert not [n for n, f in beside.items() if b'"the base"' in f.read_bytes()]


def test_what_is_not_there_is_told(loopback: Hub) -> None:
    loopback.commits["0" * 40] = {}
    with pytest.raises(ModelFileError, match="did not deliver"):
        artefact.read(Path("hub:me/model"))
