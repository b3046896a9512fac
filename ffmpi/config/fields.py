"""What tables of the configuration are made of: the base classes, and types of fields with their limits."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
CountOrNone = Annotated[int, Meta(ge=0)]
Size = Annotated[int, Meta(ge=1, le=2**20)]  # of what memory is made for
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0, lt=1)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Table(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the configuration.

    Each field has a `Meta` with its description, and with its unit in ``extra`` where it has one.
    """


class Member(Table, frozen=True, tag_field="name", tag=""):
    """A member of a family, such as one of the learning rules: its fields are its settings.

    A class is tagged with its name, which stands as `name` in the table, and is found by it: see `registry`.
    """

    #: Keys of other settings, or their tables ending in a full stop, that nobody reads beside this member.
    unread: ClassVar[tuple[str, ...]] = ()

    #: The name by which the configuration chooses this member of its family.
    name = property(attrgetter("__struct_config__.tag"))

    def conflict(self, config: Any) -> str:
        """Return what of this member's settings does not go with the rest of `config`, ``key = value: expected ...``.

        Empty if all of it does.
        """
        return ""

    def misfit(self, config: Any, classes: int) -> str:
        """Return what of `config` does not go with this member where the data have so many classes, as `conflict`."""
        return ""
