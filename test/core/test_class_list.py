import pytest

from instantft_ros.core.class_list import ClassList, MAX_NAME
from instantft_ros.core.errors import ManifestError


def test_names_and_ids():
    classes = ClassList(('cup', 'plate'), known=2)
    assert (classes.index('plate'), classes.index(0)) == (1, 0)
    assert classes.index('fork') is classes.index(2) is classes.index(-1) is None
    assert 'max_classes' not in classes.why_not('fork')


def test_a_class_is_added_at_the_end():
    classes = ClassList(('cup', 'plate'), known=2, most=3)
    assert classes.why_not('fork') == ''
    assert classes.add('fork') == 2
    assert classes.names == ('cup', 'plate', 'fork')
    assert 'no more than 3' in classes.why_not('knife')
    assert classes.why_not(7) != ''


@pytest.mark.parametrize('name', ['', ' cup', 'cup ', 'a\nb', 'x' * (MAX_NAME + 1), '\x00'])
def test_unusable_names(name):
    assert 'printable' in ClassList(('cup',), 1, most=9).why_not(name)
    with pytest.raises(ManifestError, match='printable'):
        ClassList((name,), 1)


def test_names_of_a_restart_may_include_added_ones():
    assert len(ClassList(('cup', 'plate', 'fork'), known=2, most=4)) == 3
    for names, most in ((('cup',), 4), (('cup', 'plate', 'fork'), 0),
                        (('cup', 'plate', 'fork'), 2)):
        with pytest.raises(ManifestError, match='class_names must have'):
            ClassList(names, 2, most)
    with pytest.raises(ManifestError, match='differ'):
        ClassList(('cup', 'cup'), 2)


def test_the_accelerator_may_allow_fewer():
    classes = ClassList(('cup', 'plate'), known=2, most=9)
    classes.accelerator_limit = 2
    assert 'accelerator' in classes.why_not('fork')
