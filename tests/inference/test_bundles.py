"""Only verified bundles reach a runtime."""

from __future__ import annotations

import pytest

from services.inference.adapters.bundles import BundleFolder
from services.inference.core.errors import BundleCorrupt, UnservableBundle
from tests.support.bundles import manifest_of, tiny_files, write_bundle
from tests.support.directory_source import (
    BundleFileNotFound,
    DirectoryBundleSource,
)

VERSION = "projects/default/models/m/versions/1"


@pytest.fixture
def source(tmp_path):
    return tmp_path / "source"


@pytest.fixture
def bundles(tmp_path, source):
    return BundleFolder(tmp_path / "cache", DirectoryBundleSource(source))


def cached(bundles: BundleFolder) -> list[str]:
    return [path.name for path in bundles._root.iterdir()]


async def test_a_bundle_is_downloaded_once_and_served_from_the_cache(bundles, source):
    digest = write_bundle(source, VERSION, tiny_files())
    first = await bundles.fetch(VERSION, digest)
    (source / VERSION / "manifest.json").unlink()
    again = await bundles.fetch(VERSION, digest)
    assert first.folder == again.folder
    assert (again.folder / "card.md").read_bytes() == b"# Tiny\n"


@pytest.mark.parametrize("path", ["model.onnx", "signature.json", "card.md", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "append", "truncate"])
async def test_a_damaged_file_is_refused_and_leaves_nothing(bundles, source, path, damage):
    digest = write_bundle(source, VERSION, tiny_files())
    file = source / VERSION / path
    content = bytearray(file.read_bytes())
    match damage:
        case "flip":
            content[len(content) // 2] ^= 1
        case "append":
            content += b" "
        case "truncate":
            del content[-1:]
    file.write_bytes(content)
    with pytest.raises(BundleCorrupt) as caught:
        await bundles.fetch(VERSION, digest)
    assert caught.value.metadata["path"] == path
    assert cached(bundles) == []


async def test_another_version_under_the_name_is_refused(bundles, source):
    digest = write_bundle(source, VERSION, tiny_files())
    write_bundle(source, VERSION, {**tiny_files(), "card.md": b"other"})
    with pytest.raises(BundleCorrupt):
        await bundles.fetch(VERSION, digest)


async def test_rot_in_the_cache_is_found_and_healed_from_the_source(bundles, source):
    digest = write_bundle(source, VERSION, tiny_files())
    folder = (await bundles.fetch(VERSION, digest)).folder
    (folder / "model.onnx").write_bytes(b"rot")
    healed = await bundles.fetch(VERSION, digest)
    assert (healed.folder / "model.onnx").read_bytes() == tiny_files()["model.onnx"]


@pytest.mark.parametrize("path", ["../out", "/etc/out", "a/../../out", "manifest.json"])
async def test_a_manifest_may_not_leave_its_folder(bundles, source, path):
    files = {**tiny_files(), path: b"x"}
    manifest = manifest_of(files)
    digest = write_bundle(source, VERSION, tiny_files())
    (source / VERSION / "manifest.json").write_bytes(manifest)
    digest = "sha256:" + __import__("hashlib").sha256(manifest).hexdigest()
    with pytest.raises(UnservableBundle):
        await bundles.fetch(VERSION, digest)


async def test_a_bundle_without_a_model_is_refused(bundles, source):
    files = tiny_files()
    del files["model.onnx"]
    digest = write_bundle(source, VERSION, files)
    with pytest.raises(UnservableBundle):
        await bundles.fetch(VERSION, digest)


async def test_an_absent_version_is_not_found(bundles):
    with pytest.raises(BundleFileNotFound):
        await bundles.fetch(VERSION, "sha256:" + "0" * 64)


async def test_what_is_not_retained_is_deleted(bundles, source):
    kept = write_bundle(source, VERSION, tiny_files())
    other = write_bundle(source, VERSION + "0", {**tiny_files(), "card.md": b"other"})
    await bundles.fetch(VERSION, kept)
    await bundles.fetch(VERSION + "0", other)
    await bundles.retain([kept])
    assert cached(bundles) == [kept.removeprefix("sha256:")]
