"""The order of a step: stages of fused loops and kernels, with states updated in place where that is safe.

A value belongs to the loop of its stage, its size and its layer. A stage ends where a kernel needs a whole array. A state
may be written in place only after everything that reads its old value; otherwise it is written to scratch memory and copied
at the end of the step.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

import networkx as nx

from deploy_snn.compiled.loops import (
    Array,
    ColumnSum,
    Item,
    Kernel,
    LoopProgram,
    MatrixProduct,
    Operand,
    Position,
    Product,
    Storage,
    Value,
    View,
    contiguous,
    views_in,
)
from deploy_snn.compiled.names import Namespace
from deploy_snn.compiled.weight_update import WeightUpdate, weight_updates


@dataclass(eq=False)
class Loop:
    """Values of one size that are computed together, element by element. ``extents`` are the loops' lengths."""

    values: list[Value]
    extents: tuple[int, ...]
    owner: str
    named: set[Value] = field(default_factory=set)
    """The values that become local variables, because they are used several times."""


@dataclass(frozen=True)
class Copy:
    """At the end of a step: a state takes its next value from scratch memory."""

    state: Array
    source: Array


@dataclass(frozen=True)
class Schedule:
    """The loops, kernels and copies of one step, in their order."""

    steps: list[Loop | Kernel | Copy]
    shared: list[Loop]
    updates: list[WeightUpdate]


def schedule(program: LoopProgram, names: Namespace) -> Schedule:
    """Put the items of a program in order."""
    _set_stages(program)
    loops = _loops(program, names)
    steps = _ordered(loops, program.items)
    copies = _copies(steps, program, names)
    for loop in loops:
        _name_values(loop)
    updates, rest = weight_updates(program.shared, names)
    shared = [_loop(values, values[0].owner) for values in _by_size(rest)]
    for loop in shared:
        _name_values(loop)
    return Schedule([*steps, *copies], shared, updates)


def update_loop(update: WeightUpdate) -> Loop:
    """The expression of a weight update as a loop over sources and targets."""
    loop = Loop(list(update.values), update.extents, update.weights.name)
    # Their text contains their operands several times.
    limited = [value for value in loop.values if value.op in ("maximum", "minimum")]
    loop.named |= {operand for value in limited for operand in value.operands if isinstance(operand, Value)}
    _name_values(loop)
    return loop


def _producers(items: list[Item]) -> dict[Array, list[Item]]:
    found: dict[Array, list[Item]] = defaultdict(list)
    for item in items:
        for array in {s.array for s in item.stores} if isinstance(item, Value) else {item.out}:
            if array.storage is not Storage.STATE:
                found[array].append(item)
    return found


def _inner_values(kernel: Kernel) -> list[Value]:
    """The values that a kernel computes in its own loops."""
    operands = (
        [kernel.w] if isinstance(kernel, Product | MatrixProduct) else [kernel.z] if isinstance(kernel, ColumnSum) else []
    )
    return [operand for operand in operands if isinstance(operand, Value)]


def direct_views(operands: list[Operand]) -> list[View]:
    """The views among operands, without those inside values."""
    return [view for operand in operands if not isinstance(operand, Value) for view in views_in(operand)]


def _set_stages(program: LoopProgram) -> None:
    """The stage of each item: as early as its operands allow, and late enough that states are updated in place."""
    items, producers = program.items, _producers(program.items)

    def earliest(item: Item) -> int:
        if isinstance(item, Value):
            inner = [value.stage for value in item.operands if isinstance(value, Value)]
            return max(
                [
                    0,
                    *inner,
                    *(p.stage + 1 for v in direct_views(item.operands) for p in producers[v.array] if p is not item),
                ]
            )
        after = [p.stage + isinstance(p, Kernel) for view in item.reads() for p in producers[view.array]]
        return max([0, *after, *(value.stage for value in _inner_values(item))])

    # A state's update belongs behind the last kernel, and beside the last loop, that reads the old value.
    last_read: dict[Array, int] = defaultdict(int)
    for _ in range(2):
        for item in items:
            item.stage = earliest(item)
        latest = _latest(items, producers)
        for item in items:
            item.stage = earliest(item)
            if isinstance(item, Value):
                wanted = [last_read[s.array] for s in item.stores if s.array.storage is Storage.STATE]
                item.stage = max(item.stage, int(min(max([0, *wanted]), latest[item])))
        _move_to_users(items)
        for item in items:
            views = item.reads() if isinstance(item, Kernel) else direct_views(item.operands)
            for view in views:
                last_read[view.array] = max(last_read[view.array], item.stage + isinstance(item, Kernel))


def _move_to_users(items: list[Item]) -> None:
    """Compute a value without a place in memory where it is first used."""
    users: dict[Value, list[int]] = defaultdict(list)
    for item in reversed(items):
        if isinstance(item, Value):
            if not item.stores and users[item]:
                item.stage = min(users[item])
            for operand in item.operands:
                if isinstance(operand, Value):
                    users[operand].append(item.stage)
        else:
            for value in _inner_values(item):
                users[value].append(item.stage)


def _latest(items: list[Item], producers: dict[Array, list[Item]]) -> dict[Item, float]:
    """The last stage at which each item may run."""
    latest: dict[Item, float] = dict.fromkeys(items, math.inf)
    for item in reversed(items):
        views = direct_views(item.operands) if isinstance(item, Value) else item.reads()
        for view in views:
            for producer in producers[view.array]:
                gap = 1 if isinstance(item, Value) or isinstance(producer, Kernel) else 0
                bound = (latest[item] if isinstance(item, Value) else item.stage) - gap
                latest[producer] = min(latest[producer], bound)
        inner = item.operands if isinstance(item, Value) else _inner_values(item)
        for operand in inner:
            if isinstance(operand, Value):
                latest[operand] = min(latest[operand], latest[item] if isinstance(item, Value) else item.stage)
    return latest


def _inlined(items: list[Item]) -> set[Value]:
    """The values that only a kernel computes, in its own loops."""
    roots = [value for item in items if isinstance(item, Kernel) for value in _inner_values(item)]
    found: set[Value] = set()
    while roots:
        value = roots.pop()
        found.add(value)
        roots += [operand for operand in value.operands if isinstance(operand, Value)]
    outside = {
        v for item in items if isinstance(item, Value) and item not in found for v in item.operands if isinstance(v, Value)
    }
    stored = {value for value in found if value.stores}
    return found - outside - stored


def _loops(program: LoopProgram, names: Namespace) -> list[Loop]:
    items = program.items
    values = [item for item in items if isinstance(item, Value)]
    inlined = _inlined(items)
    # A value without a place in memory joins the loop of its first user.
    owners: dict[Value, str] = {}
    users: dict[Value, list[Value]] = defaultdict(list)
    for value in values:
        for operand in value.operands:
            if isinstance(operand, Value):
                users[operand].append(value)
    for value in reversed(values):
        near = [user for user in users[value] if user.stage == value.stage]
        owners[value] = owners[near[0]] if near and not value.stores else value.owner
    groups: dict[tuple[int, int, str], list[Value]] = defaultdict(list)
    for value in values:
        if value not in inlined:
            groups[value.stage, value.size, owners[value]].append(value)
    found = _merged(groups)
    _store_what_other_loops_read([group for _, group in found], values, program, names)
    return [_loop(group, key[2]) for key, group in found]


def _store_what_other_loops_read(
    groups: list[list[Value]], values: list[Value], program: LoopProgram, names: Namespace
) -> None:
    """Give scratch memory to values that are used outside their loop."""
    group_of = {value: index for index, group in enumerate(groups) for value in group}
    for value in values:
        for place, operand in enumerate(value.operands):
            if not isinstance(operand, Value) or group_of.get(operand) == group_of.get(value):
                continue
            held = next(
                (
                    s.array
                    for s in operand.stores
                    if s.is_whole and s.array.storage is not Storage.STATE and s.array.type is operand.type
                ),
                None,
            )
            if held is None:
                held = Array(names.add(f"{operand.owner}_{operand.op}"), operand.type, operand.size, Storage.WORK)
                program.work.append(held)
                operand.stores.append(View.of(held, operand.shape))
            value.operands[place] = View.of(held, operand.shape)


def _merged(groups: dict[tuple[int, int, str], list[Value]]) -> list[tuple[tuple[int, int, str], list[Value]]]:
    """Join loops that need each other, so that they can be put in order."""
    group_of = {value: key for key, group in groups.items() for value in group}
    graph: nx.DiGraph[tuple[int, int, str]] = nx.DiGraph()
    graph.add_nodes_from(groups)
    for key, group in groups.items():
        for value in group:
            for operand in value.operands:
                if isinstance(operand, Value) and group_of.get(operand, key) != key and operand.stage == value.stage:
                    graph.add_edge(group_of[operand], key)
    _read_before_written(groups, graph)
    order = {value: index for index, value in enumerate(group_of)}
    condensed = nx.condensation(graph)
    found = []
    first = {node: min(order[v] for m in condensed.nodes[node]["members"] for v in groups[m]) for node in condensed}
    for node in nx.lexicographical_topological_sort(condensed, key=lambda n: first[n]):
        members = sorted(condensed.nodes[node]["members"])
        joined = sorted((v for m in members for v in groups[m]), key=lambda v: order[v])
        found.append((members[0], joined))
    return found


def _read_before_written(
    groups: dict[tuple[int, int, str], list[Value]], graph: "nx.DiGraph[tuple[int, int, str]]"
) -> None:
    """Put the loops that read an old state before the loop that updates it, where nothing else forbids that."""
    writers = {
        store.array: key
        for key, group in groups.items()
        for value in group
        for store in value.stores
        if store.array.storage is Storage.STATE
    }
    for key, group in groups.items():
        for array in {view.array for value in group for view in direct_views(value.operands)}:
            writer = writers.get(array, key)
            if writer != key and writer[0] == key[0] and not nx.has_path(graph, writer, key):
                graph.add_edge(key, writer)


def _loop(values: list[Value], owner: str) -> Loop:
    return Loop(values, _extents(values), owner)


def _by_size(values: list[Value]) -> list[list[Value]]:
    groups: dict[int, list[Value]] = defaultdict(list)
    for value in values:
        groups[value.size].append(value)
    return list(groups.values())


def accesses(value: Value) -> list[View | Position]:
    """Everything that a value reads or writes at an index: views and positions."""
    found: list[View | Position] = [o for o in value.operands if isinstance(o, Position)]
    return found + direct_views(value.operands) + value.stores


def _extents(values: list[Value]) -> tuple[int, ...]:
    """The lengths of nested loops in which every access moves in even strides; one flat loop if there are none."""
    size = values[0].size
    cuts: set[int] = set()
    for value in values:
        for access in accesses(value):
            cuts |= _cuts(access)
    bounds = sorted(cuts - {1, size}, reverse=True)
    chain = [size, *bounds, 1]
    if any(a % b for a, b in pairwise(chain)):
        return (size,)
    return tuple(a // b for a, b in pairwise(chain))


def _cuts(access: View | Position) -> set[int]:
    """The sizes of the inner blocks at whose borders an access does not move on evenly."""
    axes = [(n, s) for n, s in zip(access.shape, access.strides, strict=True) if n != 1]
    if isinstance(access, View) and access.array.size == 1:
        return set()
    found, inner = set(), 1
    for (_, outer_stride), (n, stride) in zip(reversed(axes[:-1]), reversed(axes[1:]), strict=True):
        inner *= n
        if outer_stride != n * stride:
            found.add(inner)
    return found


def address(access: View | Position, flat: int) -> int:
    """How far an access is from its first element, at a row-major index."""
    inner = contiguous(access.shape)
    return sum(flat // block % n * s for n, s, block in zip(access.shape, access.strides, inner, strict=True))


def loop_strides(access: View | Position, extents: tuple[int, ...]) -> list[int] | None:
    """How far an access moves with each loop; None if it does not move evenly."""
    blocks = contiguous(extents)
    if _cuts(access) - set(blocks):
        return None
    return [0 if n == 1 else address(access, block) for n, block in zip(extents, blocks, strict=True)]


def _ordered(loops: list[Loop], items: list[Item]) -> list[Loop | Kernel | Copy]:
    """Loops first, then kernels, stage by stage."""
    kernels = [item for item in items if isinstance(item, Kernel)]
    stages = sorted({loop.values[0].stage for loop in loops} | {kernel.stage for kernel in kernels})
    ordered: list[Loop | Kernel | Copy] = []
    for stage in stages:
        ordered += [loop for loop in loops if loop.values[0].stage == stage]
        ordered += [kernel for kernel in kernels if kernel.stage == stage]
    return ordered


def _reads_of(step: "Loop | Kernel | Copy") -> list[View]:
    if isinstance(step, Loop):
        return [view for value in step.values for view in direct_views(value.operands)]
    return step.reads() if isinstance(step, Kernel) else []


def _copies(steps: list[Loop | Kernel | Copy], program: LoopProgram, names: Namespace) -> list[Copy]:
    """Move the updates of states that something still reads to scratch memory."""
    found = []
    for position, step in enumerate(steps):
        if not isinstance(step, Loop):
            continue
        for value in step.values:
            for index, store in enumerate(value.stores):
                state = store.array
                if state.storage is not Storage.STATE:
                    continue
                later = [view for other in steps[position + 1 :] for view in _reads_of(other) if view.array is state]
                here = [view for view in _reads_of(step) if view.array is state]
                if later or not all(view.is_whole and view.size == value.size for view in here):
                    scratch = Array(names.add(f"next_{state.name}"), state.type, state.size, Storage.WORK)
                    program.work.append(scratch)
                    value.stores[index] = View(scratch, store.shape, store.strides, store.offset)
                    found.append(Copy(state, scratch))
    return found


def _name_values(loop: Loop) -> None:  # noqa: C901  (one pass of each kind)
    """Decide which values get a local variable, and name them after what they become."""
    _evaluate_both_sides(loop)
    inside = set(loop.values)
    uses: dict[Value, int] = defaultdict(int)
    downstream: dict[Value, str] = {}
    for value in loop.values:
        for operand in value.operands:
            if isinstance(operand, Value):
                uses[operand] += 1
    for value in reversed(loop.values):
        if value.stores:
            state = next((s.array for s in value.stores if s.array.storage in (Storage.OUTPUT, Storage.STATE)), None)
            downstream[value] = (state or value.stores[0].array).name.removeprefix("next_")
        for operand in value.operands:
            if isinstance(operand, Value) and operand in inside and not operand.stores:
                downstream.setdefault(operand, downstream.get(value, ""))
    taken = {view.array.name for value in loop.values for view in [*direct_views(value.operands), *value.stores]}
    names = Namespace(taken)
    for value in loop.values:
        if uses[value] > 1 or len(value.stores) > 1 or (value.stores and uses[value]) or value in loop.named:
            loop.named.add(value)
            value.name = names.add(value.name or f"new_{downstream.get(value) or 'value'}")
    _hoist(loop)
    for value in loop.values:
        if value in loop.named and not value.name:
            value.name = names.add(f"new_{downstream.get(value) or 'value'}")


def _evaluate_both_sides(loop: Loop) -> None:
    """Compute both results of a choice before it is made: a loop without branches can be vectorised."""
    loaded: dict[tuple[object, ...], Value] = {}
    values: list[Value] = []
    for value in loop.values:
        if value.op == "where":
            for place, side in enumerate(value.operands[1:], 1):
                if isinstance(side, View) and side.array.size > 1:
                    key = (side.array, side.shape, side.strides, side.offset)
                    if key not in loaded:
                        loaded[key] = Value("copy", [side], value.shape, side.array.type, name=f"{side.array.name}_i")
                        loop.named.add(loaded[key])
                        values.append(loaded[key])
                    value.operands[place] = loaded[key]
                elif isinstance(side, Value) and any(_reads(side, loop)):
                    loop.named.add(side)
        values.append(value)
    loop.values = values


def _hoist(loop: Loop) -> None:
    """Compute into a variable first what reads a state that the same loop has already written."""
    written = {s.array for value in loop.values for s in value.stores if s.array.storage is Storage.STATE}
    for value in loop.values:
        if value.stores and value not in loop.named:
            reads = _reads(value, loop) & written
            own = {s.array for s in value.stores}
            if reads - own:
                loop.named.add(value)


def _reads(value: Value, loop: Loop) -> set[Array]:
    """The arrays that the text of a value reads, apart from its local variables."""
    found = {view.array for view in direct_views(value.operands)}
    for operand in value.operands:
        if isinstance(operand, Value) and operand not in loop.named:
            found |= _reads(operand, loop)
    return found
