from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import pytest

from instantft_ros.governance import package_version

ROOT = Path(__file__).parents[2]


def test_the_version_is_that_of_the_package(monkeypatch, tmp_path):
    wanted = ElementTree.parse(ROOT / 'package.xml').findtext('version')
    assert package_version.package_version() == wanted
    (tmp_path / 'package.xml').write_text('<package><name>other</name><version>9</version>'
                                          '</package>')
    monkeypatch.setattr(package_version, '_FOLDERS', (tmp_path, tmp_path / 'nothing'))
    monkeypatch.setattr(metadata, 'version', lambda name: f'{name} 7')
    assert package_version.package_version() == 'instantft_ros 7'


@pytest.mark.parametrize('content', ['', '<package>'])
def test_no_version_is_no_error(monkeypatch, tmp_path, content):
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    (tmp_path / 'package.xml').write_text(content)
    monkeypatch.setattr(package_version, '_FOLDERS', (tmp_path,))
    monkeypatch.setattr(metadata, 'version', missing)
    assert package_version.package_version() == ''
