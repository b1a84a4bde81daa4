"""Keep the keys and values of token sequences, so that what sequences begin with is computed once.

The sequences form a radix tree; each token's keys and values of all layers lie in one slot of a
pool, so that a batch of prefixes is brought together by one gather.
"""

import heapq
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from rewardscope.models.cache import GrowingLayer, growing_cache

# Shape legend: S slots, L layers, R rows, K key heads, T tokens, D width of a head.
_FIRST_SLOTS = 4096
_CPU_BYTES = 2 << 30
_GPU_SHARE = 0.25  # of the memory that is free when the cache is made


def memory_for_prefixes(device: torch.device) -> int:
    """Return how many bytes a prefix cache may take on a device."""
    return (
        int(_GPU_SHARE * torch.cuda.mem_get_info(device)[0])
        if device.type == "cuda"
        else _CPU_BYTES
    )


class Node:
    """A stretch of tokens that all sequences below share.

    `slots` are those of the whole path from the start.
    """

    __slots__ = ("children", "notes", "parent", "slots", "tokens", "used")

    def __init__(self, parent: "Node | None", tokens: tuple[int, ...], slots: Tensor) -> None:
        self.parent, self.tokens, self.slots = parent, tokens, slots
        self.children: dict[int, Node] = {}
        self.notes: dict[int, float] = {}  # position -> what a scorer read there
        self.used = 0

    @property
    def depth(self) -> int:
        """Return how many tokens the path has."""
        return len(self.slots)


class Computed(NamedTuple):
    """Tokens whose states lie in a transformers cache: from position `start` on, in row `row`, from
    column `column` on.
    """

    ids: Sequence[int]
    start: int
    row: int
    column: int


class PrefixCache:
    """Keys and values of sequences of one model, up to `max_bytes`; what was not used longest goes
    first.

    Only layers of full attention with keys and values of one shape can be kept: `fits_model` is
    False where a model has others, and nothing is kept then.
    """

    def __init__(self, model: PreTrainedModel, *, max_bytes: int) -> None:
        self._model, self._max_bytes = model, max_bytes
        self.fits_model = _fits(model)
        self.is_full = False
        self._pool: Tensor | None = None  # [S, 2 L, K, D], keys and values of a layer side by side
        self._free: list[int] = []
        self._root = Node(None, (), torch.empty(0, dtype=torch.long))
        self._clock = 0

    def begin(self) -> None:
        """Begin a call: what it uses stays until the next one begins."""
        self._clock += 1

    def find(self, ids: Sequence[int]) -> Node:
        """Return the node of the longest kept beginning of `ids`; a node is split where the
        sequences part within it.
        """
        node, at = self._root, 0
        while at < len(ids) and (child := node.children.get(ids[at])) is not None:
            shared = _shared(child.tokens, ids, at)
            if shared < len(child.tokens):
                child = self._split(child, shared)
            node, at = child, at + shared
            node.used = self._clock
        return node

    def note(self, ids: Sequence[int], position: int, value: float) -> None:
        """Note a number at a position of `ids`; it is lost where the position is not kept."""
        node = self.find(ids)
        while node.parent is not None and node.parent.depth > position:
            node = node.parent
        if position < node.depth:
            node.notes[position] = value

    def notes(self, ids: Sequence[int]) -> tuple[Node, dict[int, float]]:
        """Return the node of the longest kept beginning of `ids`, and what is noted on the way to
        it, by position.
        """
        last = node = self.find(ids)
        notes: dict[int, float] = {}
        while node.parent is not None:
            notes |= node.notes
            node = node.parent
        return last, notes

    def load(self, nodes: Sequence[Node], *, room: int) -> tuple[Cache, Tensor]:
        """Return a cache with the prefixes, padded on the left, and space for `room` tokens more;
        and their mask [R, T].
        """
        cache, longest = growing_cache(self._model), max(node.depth for node in nodes)
        mask_RT = torch.zeros(len(nodes), longest, dtype=torch.bool)
        if longest == 0:
            return cache, mask_RT.to(self._model.device)
        assert self._pool is not None
        slot_RT = torch.zeros(len(nodes), longest, dtype=torch.long)
        for row, node in enumerate(nodes):
            slot_RT[row, longest - node.depth :] = node.slots
            mask_RT[row, longest - node.depth :] = True
        _, planes, heads, width = self._pool.shape
        kept = self._pool.new_empty(planes, len(nodes), heads, longest + room, width)
        kept[:, :, :, :longest] = self._pool[slot_RT.to(self._pool.device)].permute(2, 0, 3, 1, 4)
        for index, layer in enumerate(cache.layers):
            assert isinstance(layer, GrowingLayer)
            layer.fill(kept[2 * index], kept[2 * index + 1], used=longest)
        return cache, mask_RT.to(self._model.device)

    def save(self, cache: Cache, computed: Sequence[Computed]) -> None:
        """Keep tokens of `cache`, each distinct one once.

        Where there is no room, tokens are left out and `is_full` is set.
        """
        rows: list[int] = []
        columns: list[int] = []
        slots: list[Tensor] = []
        for ids, start, row, column in computed:
            node = self.find(ids)
            new = len(ids) - node.depth
            if new == 0 or node.depth < start:
                continue
            taken = self._take(new, cache)
            if taken is None:
                self.is_full = True
                continue
            child = Node(node, tuple(ids[node.depth :]), torch.cat([node.slots, taken]))
            child.used = self._clock
            first = column + node.depth - start
            node.children[child.tokens[0]] = child
            rows += [row] * new
            columns += range(first, first + new)
            slots.append(taken)
        if slots:
            assert self._pool is not None
            device = self._pool.device
            row_N, column_N = (
                torch.tensor(rows, device=device),
                torch.tensor(columns, device=device),
            )
            planes = [
                plane[row_N, :, column_N] for layer in cache.layers for plane in _planes(layer)
            ]
            self._pool[torch.cat(slots).to(device)] = torch.stack(planes, dim=1)

    def _split(self, node: Node, at: int) -> Node:
        """Cut a node's stretch in two; return the upper half."""
        parent = node.parent
        assert parent is not None
        upper = Node(parent, node.tokens[:at], node.slots[: parent.depth + at])
        upper.notes = {
            position: note for position, note in node.notes.items() if position < upper.depth
        }
        node.notes = {
            position: note for position, note in node.notes.items() if position >= upper.depth
        }
        upper.used = node.used
        parent.children[upper.tokens[0]] = upper
        node.parent, node.tokens = upper, node.tokens[at:]
        upper.children[node.tokens[0]] = node
        return upper

    def _take(self, n: int, cache: Cache) -> Tensor | None:
        """Return `n` free slots, or None where even without all that this call does not use there
        are too few.
        """
        if len(self._free) < n:
            self._grow(cache, n)
        if len(self._free) < n:
            self._evict(n)
        if len(self._free) < n:
            return None
        taken, self._free = self._free[-n:], self._free[:-n]
        return torch.tensor(taken, dtype=torch.long)

    def _grow(self, cache: Cache, n: int) -> None:
        """Make the pool twice as large, within the limit."""
        keys, values = _planes(cache.layers[0])
        assert keys.shape == values.shape, (keys.shape, values.shape)
        shape = (2 * len(cache.layers), keys.shape[1], keys.shape[3])
        limit = self._max_bytes // (keys.element_size() * shape[0] * shape[1] * shape[2])
        held = 0 if self._pool is None else len(self._pool)
        wanted = min(limit, max(2 * held, held + n, _FIRST_SLOTS))
        if wanted <= held:
            return
        # padding reads a slot that may be unused; what is masked must still be finite
        pool = keys.new_zeros(wanted, *shape)
        if self._pool is not None:
            pool[:held] = self._pool
        self._pool = pool
        self._free += range(held, wanted)

    def _evict(self, n: int) -> None:
        """Free the slots of ends that this call does not use, the longest unused first, until `n`
        are free.
        """
        order = 0
        heap = []
        for leaf in _leaves(self._root):
            heap.append((leaf.used, order := order + 1, leaf))
        heapq.heapify(heap)
        while heap and len(self._free) < n:
            used, _, leaf = heapq.heappop(heap)
            parent = leaf.parent
            if used == self._clock or parent is None:
                continue
            self._free += leaf.slots[parent.depth :].tolist()
            del parent.children[leaf.tokens[0]]
            if not parent.children:
                heapq.heappush(heap, (parent.used, order := order + 1, parent))


def _planes(layer: Any) -> tuple[Tensor, Tensor]:
    return layer.keys, layer.values


@torch.no_grad()
def _fits(model: PreTrainedModel) -> bool:
    """Say whether a model's keys and values can be kept, from those of one token."""
    cache = growing_cache(model)
    if not all(type(layer) is GrowingLayer for layer in cache.layers):
        return False
    one = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    model.get_decoder()(input_ids=one, past_key_values=cache, use_cache=True)
    shapes = {plane.shape for layer in cache.layers for plane in _planes(layer)}
    return len(shapes) == 1


def _leaves(root: Node) -> list[Node]:
    leaves, pending = [], [root]
    while pending:
        node = pending.pop()
        pending += node.children.values()
        if not node.children:
            leaves.append(node)
    return leaves


def _shared(tokens: tuple[int, ...], ids: Sequence[int], at: int) -> int:
    """Return how many of `tokens` are those of `ids` from `at` on."""
    if tokens == tuple(ids[at : at + len(tokens)]):
        return len(tokens)
    return next(i for i, token in enumerate(tokens) if at + i == len(ids) or token != ids[at + i])
