"""The C functions that change learnt weights."""

import re
from collections.abc import Iterator, Sequence

from deploy_snn.compiled.elements import place, pointer_to
from deploy_snn.compiled.loops import Type, View
from deploy_snn.compiled.names import comment
from deploy_snn.compiled.render import Renderer
from deploy_snn.compiled.schedule import Loop, update_loop
from deploy_snn.compiled.weight_update import Term, WeightUpdate


class WeightFunctions:
    """The functions that change the weights of one connection.

    Args:
        update: how the weights change.
        renderer: what renders the expressions.
        prefix: the start of every public name.
        external: the declaration of the parameters in the weights file; "" if there is none.
    """

    def __init__(self, update: WeightUpdate, renderer: Renderer, prefix: str, external: str) -> None:
        self.update, self.renderer, self.prefix, self.external = update, renderer, prefix, external
        self.name = update.weights.name

    def lines(self) -> Iterator[str]:
        """All functions, in the order of their calls."""
        update, prefix = self.update, self.prefix
        for term in update.terms:
            yield from self._term(term)
        if update.event_driven:
            yield from self._spiked(f"{prefix}_{self.name}_source", "i0", update.source_spikes)
            yield from self._spiked(f"{prefix}_{self.name}_target", "i1", update.target_spikes)
        body = list(self.renderer.body(update_loop(update), " " * 16))
        yield from self._one_row(body)
        yield from self._several_rows(body)

    def _one_row(self, body: list[str]) -> Iterator[str]:
        """The update for a batch of one row: its terms need no sums, and stay in registers."""
        alone = "\n".join(body)
        for term in self.update.terms:
            alone = alone.replace(f"{place(term.array)}[i1]", f"{self.prefix}_{term.array.name}(state, i0, i1)")
        where = ", in the rows and columns of neurons that spiked" if self.update.event_driven else ""
        yield ""
        yield f"/* {comment(self.update.weights.tensor)}: each weight takes its next value{where}. */"
        yield f"static void {self.prefix}_update_{self.name}({self.prefix}_state *restrict state)"
        yield from ("{", *_used(self.external, "weights", alone))
        yield from self._over_weights("state, 1", ([], []), alone.splitlines())

    def _several_rows(self, body: list[str]) -> Iterator[str]:
        """The update for a batch: each term is added up over its rows first."""
        yield ""
        yield "/* The same for the rows of a batch, whose changes are added up. */"
        p = self.prefix
        yield f"static void {p}_update_{self.name}_together({p}_state *states, int32_t rows)"
        yield "{"
        yield f"    {self.prefix}_state *restrict state = states;"
        yield from _used(self.external, "weights", " ".join(body))
        over_targets = f"for (int32_t i1 = 0; i1 < {self.update.extents[1]}; i1++) {{"
        of_all: list[str] = []
        of_one: list[str] = []
        for term in self.update.terms:
            array, function = place(term.array), f"{self.prefix}_{term.array.name}"
            first, more = f"{array}[i1] = {function}(states, i0, i1);", f"{array}[i1] += {function}(&states[r], i0, i1);"
            over_rows = "for (int32_t r = 1; r < rows; r++) {"
            of_all += [
                f"            {over_targets}",
                f"                {first}",
                "            }",
                f"            {over_rows}",
            ]
            of_all += [
                f"                {over_targets}",
                f"                    {more}",
                "                }",
                "            }",
            ]
            of_one += [f"                {first}", f"                {over_rows}", f"                    {more}"]
            of_one += ["                }"]
        yield from self._over_weights("states, rows", (of_all, of_one), body)

    def _over_weights(self, rows: str, sums: tuple[list[str], list[str]], body: list[str]) -> Iterator[str]:
        """The loops of an update, to the end of its function.

        ``rows`` are the arguments that name the rows of a batch. ``sums`` compute the terms for all targets of a source and
        for a single one.
        """
        n, m = self.update.extents
        over_targets = [*sums[0], f"            for (int32_t i1 = 0; i1 < {m}; i1++) {{", *body, "            }"]
        if self.update.event_driven:
            yield from self._over_spikes(rows, over_targets, sums[1] + body)
        else:
            yield f"    for (int32_t i0 = 0; i0 < {n}; i0++) {{"
            yield from _dedented(over_targets)
            yield "    }"
        yield "}"

    def _over_spikes(self, rows: str, over_targets: list[str], of_target: list[str]) -> Iterator[str]:
        """The loops over the sources that spiked, and over the targets that spiked for each other source."""
        (n, m), limited = self.update.extents, f"state->{self.name}_limited"
        source, target = (f"{self.prefix}_{self.name}_{end}({rows}, " for end in ("source", "target"))
        yield from ("    int32_t *restrict list = state->work.list;", "    int32_t count = 0;")
        listed = self._listed_sources() if rows == "state, 1" else None
        if listed is not None:
            yield from (f"    if ({limited}) {{", f"        count = {listed};", "    } else {")
            yield from (
                f"        for (; count < {n}; count++) {{",
                "            list[count] = count;",
                "        }",
                "    }",
            )
        else:
            yield f"    for (int32_t i0 = 0; i0 < {n}; i0++) {{"
            yield from ("        list[count] = i0;", f"        count += !{limited} || {source}i0);", "    }")
        yield from ("    for (int32_t k = 0; k < count; k++) {", "        const int32_t i0 = list[k];")
        yield from (*_dedented(over_targets), "    }", "    uint8_t any = 0;")
        yield f"    for (int32_t i1 = 0; i1 < {m}; i1++) {{"
        yield from (f"        any = (uint8_t)(any | {target}i1));", "    }", f"    if (any && {limited}) {{")
        yield from ("        count = 0;", f"        for (int32_t i1 = 0; i1 < {m}; i1++) {{")
        yield from ("            list[count] = i1;", f"            count += {target}i1);", "        }")
        yield from (f"        for (int32_t i0 = 0; i0 < {n}; i0++) {{", f"            if ({source}i0)) {{ continue; }}")
        yield from ("            for (int32_t k = 0; k < count; k++) {", "                const int32_t i1 = list[k];")
        yield from (*of_target, "            }", "        }", "    }", f"    {limited} = 1;")

    def _listed_sources(self) -> str | None:
        """The call that lists the sources that spiked, if their spikes are one array."""
        views = self.update.source_spikes
        if len(views) != 1 or views[0].array.type is not Type.SPIKE or views[0].array.size != self.update.extents[0]:
            return None
        self.renderer.helpers.add("listed_spike")
        return f"listed_spike(list, {pointer_to(views[0].array)}, {views[0].array.size})"

    def _term(self, term: Term) -> Iterator[str]:
        text = self.renderer.expression(term.of_row, Loop([], self.update.extents, self.name))[0]
        yield ""
        yield f"/* What one row adds to {comment(term.array.name)}. */"
        yield f"static float {self.prefix}_{term.array.name}(const {self.prefix}_state *state, int32_t i0, int32_t i1)"
        yield from ("{", *_used(self.external, "weights", text), *_ignored(("state", "i0", "i1"), text))
        yield from (f"    return {text};", "}")

    def _spiked(self, function: str, index: str, views: list[View]) -> Iterator[str]:
        text = " || ".join(f"{self.renderer.element(view, self.update.extents)} != 0" for view in views) or "0"
        yield ""
        yield "/* Whether a neuron spiked in one of the rows. */"
        yield f"static int {function}(const {self.prefix}_state *states, int32_t rows, int32_t {index})"
        yield "{"
        yield "    for (int32_t r = 0; r < rows; r++) {"
        yield f"        const {self.prefix}_state *state = &states[r];"
        yield from _ignored(("state", index), text, "        ")
        yield from (f"        if ({text}) {{", "            return 1;", "        }", "    }", "    return 0;", "}")


def _dedented(lines: list[str]) -> list[str]:
    """The lines one level to the left."""
    return [line[4:] for line in lines]


def _used(declaration: str, name: str, text: str) -> list[str]:
    """A declaration, if a text uses its name."""
    return [f"    {declaration}"] if declaration and f"{name}->" in text else []


def _ignored(parameters: Sequence[str], text: str, indent: str = "    ") -> list[str]:
    """Statements for the parameters that a text does not use, so that compilers do not warn."""
    return [f"{indent}(void){name};" for name in parameters if not re.search(rf"\b{name}\b", text)]
