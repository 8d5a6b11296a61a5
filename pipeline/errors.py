"""What can be wrong with what was given, by kind, for those who call us from Python."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from edgeticket.device_runner.errors import InputError


class RecipeError(InputError):
    """A recipe cannot be read, or says something that a recipe cannot."""


class ConversionError(InputError):
    """A network cannot become a file for a runtime."""


class DeviceError(InputError):
    """A device cannot be reached or set up, or measures nothing."""


@contextlib.contextmanager
def raised_as(kind: type[InputError]) -> Iterator[None]:
    """Give a plain `InputError` from inside the class of its kind; the sentence stays.

    Also a decorator. Classes that say more than `InputError` pass as they are.
    """
    try:
        yield
    except InputError as error:
        if type(error) is InputError:
            raise kind(str(error)) from error
        raise
