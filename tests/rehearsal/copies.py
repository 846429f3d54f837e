"""The copies of a base that a process holds, looked at whenever one more is loaded."""

import weakref
from dataclasses import dataclass, field


@dataclass
class Copy:
    """A loaded model. cell: where; source: from which folder; form: "whole" or "4-bit".

    It is held as long as half of its numbers are: by the model, or, where that is gone,
    by whoever has kept its tensors.
    """

    cell: str
    source: str
    form: str
    model: weakref.ref
    tensors: list[weakref.ref]
    count: int

    @property
    def held(self) -> bool:
        model = self.model()
        kept = model.parameters() if model is not None else (t() for t in self.tensors)
        return 2 * sum(t.numel() for t in kept if t is not None) > self.count


@dataclass
class Copies:
    """The copies of one lesson. cell: the one that runs; loads: a dict a load.

    faults: what else was seen to be wrong.
    beside: the cells whose copy of the base was still held when this one came.
    """

    lesson: str = ""
    cell: str = ""
    loads: list[dict] = field(default_factory=list)
    known: list[Copy] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def coming(self, source: str, form: str) -> None:
        """Notes that one more is about to be loaded, here or in another process."""
        held = [f"{copy.cell} ({copy.form})" for copy in self.known if copy.held]
        here = {"cell": self.cell, "source": source, "form": form}
        self.loads.append(here | {"beside": held})

    def came(self, source: str, form: str, model) -> None:
        """Notes the model that was loaded."""
        tensors = list(model.parameters())
        refs = [weakref.ref(tensor) for tensor in tensors]
        count = sum(tensor.numel() for tensor in tensors)
        model = weakref.ref(model)
        self.known.append(Copy(self.cell, source, form, model, refs, count))
