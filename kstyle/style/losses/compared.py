"""A section of settings that has a loss: its name, or a function of the user's own."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import PrivateAttr, model_validator

from kstyle.config import Closed
from kstyle.open_names import Names, called, name_of
from kstyle.style.losses.scalings import STYLE


class Compared(Closed):
    """A section that has a `loss`: a name, or a function of the user's own.

    A function given here belongs to this section alone. Its name is recorded, but known to no other painting; for that
    there is `kstyle.losses.register`.
    """

    known: ClassVar[Names]
    _given: Any = PrivateAttr(None)

    @property
    def own_loss(self):
        """What a user gave or registered, as `known.own` has it; None: the loss is one of kstyle's."""
        return self._given or self.known.own.get(self.loss)

    @model_validator(mode="wrap")
    @classmethod
    def _function_as_loss(cls, section, check):
        if not isinstance(section, Mapping) or not callable(section.get("loss")):
            return check(section)
        section = dict(section)
        function = given = section.pop("loss")
        if cls.known is STYLE:
            statistics = section.pop("statistics", None)
            given = (function, None if statistics is None else called("statistics", statistics))
        name = section.get("name") or name_of(function)
        if name == "<lambda>":
            raise ValueError("a loss is recorded by its name, and a lambda has none: write a function (def)")
        cls.known.check(name)
        found = check(section).model_copy(update={"loss": name})
        found._given = given
        return found
