"""Versions travel as one file, and nothing else gets in."""

from contextlib import suppress
import io
import resource
import tracemalloc
import zipfile

import numpy as np
import pytest

from instantft_ros.core.errors import DamagedVersionError, StateError, VersionError
from instantft_ros.core.features import FeatureLayout
from instantft_ros.governance import version_export
from instantft_ros.governance.version_export import export, import_
from instantft_ros.governance.version_store import VersionStore


@pytest.fixture
def file(versions, tmp_path):
    versions.chain(2)
    export(versions.store, 2, tmp_path / 'two.zip')
    return tmp_path / 'two.zip'


@pytest.fixture
def other(tmp_path, clock):
    return VersionStore(tmp_path / 'other', clock)


def refused(other, versions, path, data: bytes | None = None) -> str:
    """Check that a file does not get in, and give the reason."""
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DamagedVersionError) as raised:
        import_(other, path, versions.layout, versions.backbone)
    assert not list(other.folder.parent.glob('other/*'))
    return str(raised.value)


def packed(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


def test_a_version_arrives_under_a_new_number(versions, file, other):
    manifest = import_(other, file, versions.layout, versions.backbone)
    assert (manifest.number, manifest.parent, manifest.state) == (1, 0, 'pending')
    assert manifest.origin == 'version 2 of r2' and manifest.accepted_by == ''
    back, adapter = other.load(1)
    assert adapter.digest() == versions.adapter(2).digest()
    assert (back.corrections, back.figures.loss) == ({'a': 2, 'b': 2}, 0.5 / 3)
    assert import_(other, file, versions.layout, versions.backbone).number == 2
    assert other.current() is None


def test_an_operator_may_start_with_it(versions, file, other):
    manifest = import_(other, file, versions.layout, versions.backbone, use=True)
    assert (manifest.state, manifest.accepted_by) == ('accepted', 'import')
    assert other.latest_accepted(versions.layout, versions.backbone).manifest.number == 1


def test_the_way_back_from_it_leads_to_the_version_in_use(versions, file):
    assert import_(versions.store, file, versions.layout, versions.backbone, True).parent == 2
    (versions.folder / 'current.json').write_text('{}')
    assert import_(versions.store, file, versions.layout, versions.backbone).parent == 0


def test_an_adapter_file_alone_gets_in(versions, other, tmp_path):
    path = tmp_path / 'adapter-000012.npz'
    path.write_bytes(versions.adapter(12).to_bytes())
    manifest = import_(other, path, versions.layout, versions.backbone)
    assert manifest.origin == 'the file adapter-000012.npz'
    assert other.load(1)[1].digest() == versions.adapter(12).digest()


def test_another_network_is_refused(versions, file, other):
    for layout, backbone, words in (
            (versions.layout, 'cd' * 32, 'made for backbone abab.*this one is cdcd'),
            (FeatureLayout((5, 7), 4), versions.backbone, 'was made for .*, wanted')):
        with pytest.raises(VersionError, match=words):
            import_(other, file, layout, backbone)
    assert not other.folder.exists()


def test_every_torn_file_is_refused(versions, file, other, tmp_path):
    data = file.read_bytes()
    for length in range(0, len(data), 5):
        refused(other, versions, tmp_path / 'torn.zip', data[:length])


def test_every_changed_byte_is_refused_or_means_nothing(versions, file, other, tmp_path):
    data = bytearray(file.read_bytes())
    for position in range(0, len(data), 5):
        data[position] ^= 0x01
        (tmp_path / 'changed.zip').write_bytes(data)
        with suppress(DamagedVersionError):  # but a time or a flag in the zip changes nothing
            manifest = import_(other, tmp_path / 'changed.zip', versions.layout,
                               versions.backbone)
            assert manifest.digest == versions.adapter(2).digest()
        data[position] ^= 0x01


@pytest.mark.parametrize('name', ['../adapter.npz', '/tmp/adapter.npz', 'a/../adapter.npz',
                                  'adapter.npz/', '..\\adapter.npz'])
def test_paths_are_refused_and_nothing_is_unpacked(versions, file, other, tmp_path, name):
    with zipfile.ZipFile(file) as archive:
        manifest, data = (archive.read(each) for each in ('manifest.json', 'adapter.npz'))
    path = tmp_path / 'x.zip'
    path.touch()
    before = sorted(tmp_path.rglob('*'))
    for members in ((('manifest.json', manifest), (name, data)),
                    (('manifest.json', manifest), ('adapter.npz', data), (name, data))):
        assert 'must hold' in refused(other, versions, path, packed(*members))
    assert sorted(tmp_path.rglob('*')) == before


def test_a_member_twice_is_refused(versions, file, other, tmp_path):
    with zipfile.ZipFile(file) as archive:
        members = [(each, archive.read(each)) for each in ('manifest.json', 'adapter.npz')]
    with pytest.warns(UserWarning, match='Duplicate'):
        data = packed(*members, members[1])
    assert 'must hold' in refused(other, versions, tmp_path / 'x.zip', data)


def test_absurd_sizes_are_refused(versions, file, other, tmp_path, monkeypatch):
    monkeypatch.setitem(version_export.MEMBERS, 'adapter.npz', 10_000)
    monkeypatch.setitem(version_export.MEMBERS, 'manifest.json', 10_000)
    with zipfile.ZipFile(file) as archive:
        manifest = archive.read('manifest.json')
    bomb = packed(('manifest.json', manifest), ('adapter.npz', bytes(16 << 20)),
                  method=zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    assert 'unpacks to more than 10000' in refused(other, versions, tmp_path / 'x.zip', bomb)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20  # it is not unpacked
    tracemalloc.stop()
    assert 'has more than' in refused(other, versions, tmp_path / 'x.zip', bytes(200_000))


def test_what_does_not_belong_together_is_refused(versions, file, other, tmp_path):
    with zipfile.ZipFile(file) as archive:
        manifest, data = (archive.read(each) for each in ('manifest.json', 'adapter.npz'))
    path = tmp_path / 'x.zip'
    stranger = versions.adapter(5).to_bytes()
    assert 'SHA-256' in refused(other, versions, path, packed(
        ('manifest.json', manifest), ('adapter.npz', stranger)))
    assert 'hash' in refused(other, versions, path, packed(
        ('manifest.json', manifest.replace(b'"gate"', b'"rollback"')), ('adapter.npz', data)))
    for members in ((('manifest.json', manifest),), (('adapter.npz', data),), (),
                    (('manifest.json', manifest), ('adapter.npz', data), ('more', b''))):
        assert 'must hold' in refused(other, versions, path, packed(*members))
    stream = io.BytesIO()
    np.savez(stream, a=np.array([{}], object))
    assert 'not an adapter' in refused(other, versions, path, stream.getvalue())
    assert 'No such file' in refused(other, versions, tmp_path / 'nothing.zip')


def test_a_damaged_version_is_not_exported(versions, file, tmp_path):
    (versions.folder / 'adapter-000001.npz').write_bytes(b'')
    with pytest.raises(DamagedVersionError):
        export(versions.store, 1, tmp_path / 'one.zip')
    assert not (tmp_path / 'one.zip').exists()


def test_a_full_disk_is_told(versions, file, tmp_path, in_child):
    def child() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        with pytest.raises(StateError, match='File too large'):
            export(versions.store, 1, tmp_path / 'one.zip')

    in_child(child)
    assert not list(tmp_path.glob('*one.zip*'))
