"""The errors raised on purpose; each message says what came and what was wanted."""


class InstantFTError(Exception):
    """Base of every error raised on purpose by this package."""


class ManifestError(InstantFTError, ValueError):
    """A backbone's manifest is malformed or does not fit its network file."""


class BackboneError(InstantFTError, RuntimeError):
    """The network file cannot be loaded or run as its manifest says."""


class ImageError(InstantFTError, ValueError):
    """An image has an unknown encoding or its data does not fit its dimensions."""


class FeatureError(InstantFTError, ValueError):
    """Features have the wrong shape or hold NaN or infinity."""


class AdapterError(InstantFTError, ValueError):
    """An adapter is malformed or was made for another backbone."""


class CacheError(InstantFTError, ValueError):
    """A cache file or an update to a cache is malformed."""


class CacheMismatchError(CacheError):
    """An accelerator was sent a change to a cache version that it does not hold."""


class JobError(InstantFTError, ValueError):
    """A fine-tuning job is malformed or beyond the limits of its accelerator."""


class AcceleratorError(InstantFTError, RuntimeError):
    """An accelerator is not there, failed, or answered with something unusable."""


class StateError(InstantFTError, OSError):
    """A state directory cannot be used, or something in it cannot be read or written."""


class LockedError(StateError):
    """Another process uses the state directory."""


class AuditError(InstantFTError, ValueError):
    """A line of the audit log does not follow from the one before it, or was changed."""


class VersionError(InstantFTError, ValueError):
    """A version is not there, or what was asked of it is not possible."""


class DamagedVersionError(VersionError):
    """The files of a version are not what was written."""


class ParameterError(InstantFTError, ValueError):
    """A node was started with a parameter of the wrong type or out of its bounds."""


class SourceError(InstantFTError, ValueError):
    """A bag or a folder of images cannot be evaluated."""


class Cancelled(InstantFTError):
    """A fine-tuning was stopped before its end because its caller asked for that."""
