"""What all tests share: reproducible property tests."""

from hypothesis import settings

# without a deadline: the machine may be busy; derandomized: a run can be repeated
settings.register_profile('repeatable', deadline=None, derandomize=True, print_blob=True)
settings.load_profile('repeatable')
