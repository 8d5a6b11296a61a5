"""What torch.save wrote, read as data: a pickle is a program, and nothing here runs it.

`parse` walks its instructions and keeps what would have been called as a `Call` with a name and
arguments. `pipeline.network.torch_file` knows the few calls that make tensors; all others, such as
the settings that training scripts save beside a network, stay what they are: never made.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any


@dataclass(frozen=True)
class Name:
    """A function or class that a pickle names."""

    text: str  # module.name


@dataclass(frozen=True, eq=False)
class Call:
    """What a pickle would have called."""

    name: str
    args: tuple[Any, ...]
    items: dict[Any, Any] = field(default_factory=dict)  # put into it afterwards


@dataclass(frozen=True)
class Persistent:
    """What a pickle says lies elsewhere in the file."""

    key: Any


class _Mark:
    pass


def parse(file: IO[bytes]) -> Any:
    """Read one pickle from where ``file`` is, up to its end.

    Raises:
        pickle.UnpicklingError: it has an instruction that no file of weights needs.
        ValueError, IndexError, KeyError, TypeError, AttributeError: it is damaged.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if name == "STOP":
            return stack.pop()
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _LITERALS:
            stack.append(argument)
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[int(argument)])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name == "GLOBAL":
            stack.append(Name(str(argument).replace(" ", ".", 1)))
        elif name in _ACTIONS:
            _ACTIONS[name](stack)
        elif name not in ("PROTO", "FRAME"):
            raise pickle.UnpicklingError(f"it has the instruction {name}")
    raise ValueError("it ends too early")


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    items = []
    while not isinstance(item := stack.pop(), _Mark):
        items.append(item)
    return items[::-1]


def _make_tuple(count: int) -> Callable[[list[Any]], None]:
    def act(stack: list[Any]) -> None:
        items = tuple(stack[len(stack) - count :])
        if len(items) != count:
            raise IndexError("a tuple of too few")
        del stack[len(stack) - count :]
        stack.append(items)

    return act


def _make_marked(kind: Callable[[list[Any]], Any]) -> Callable[[list[Any]], None]:
    def act(stack: list[Any]) -> None:
        stack.append(kind(_pop_to_mark(stack)))

    return act


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))


def _put(target: Any, items: dict[Any, Any]) -> None:
    """Into a mapping, or what would have become one."""
    (target.items if isinstance(target, Call) else target).update(items)


def _set_item(stack: list[Any]) -> None:
    value, key = stack.pop(), stack.pop()
    _put(stack[-1], {key: value})


def _set_items(stack: list[Any]) -> None:
    items = _pop_to_mark(stack)
    _put(stack[-1], _pairs(items))


def _append(stack: list[Any]) -> None:
    _extend(stack, [stack.pop()])


def _append_all(stack: list[Any]) -> None:
    _extend(stack, _pop_to_mark(stack))


def _extend(stack: list[Any], items: list[Any]) -> None:
    if isinstance(stack[-1], list):
        stack[-1].extend(items)
    elif not isinstance(stack[-1], Call):  # what is put into it does not matter
        raise TypeError("it fills what is no list")


def _call(stack: list[Any]) -> None:
    args, function = stack.pop(), stack.pop()
    name = function.text if isinstance(function, Name) else "?"
    stack.append(Call(name, args if isinstance(args, tuple) else (args,)))


def _call_with_keywords(stack: list[Any]) -> None:
    stack.pop()
    _call(stack)


def _call_marked(stack: list[Any]) -> None:
    function, *args = _pop_to_mark(stack)
    stack += [function, tuple(args)]
    _call(stack)


def _set_state(stack: list[Any]) -> None:
    state = stack.pop()
    if isinstance(stack[-1], Call) and isinstance(state, dict):
        stack[-1].items.update({("state", key): value for key, value in state.items()})


def _name_from_stack(stack: list[Any]) -> None:
    name, module = stack.pop(), stack.pop()
    stack.append(Name(f"{module}.{name}"))


def _refer(stack: list[Any]) -> None:
    stack.append(Persistent(stack.pop()))


def _duplicate(stack: list[Any]) -> None:
    stack.append(stack[-1])


def _drop(stack: list[Any]) -> None:
    stack.pop()


def _drop_to_mark(stack: list[Any]) -> None:
    _pop_to_mark(stack)


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,
    "MARK": _Mark,
}
_LITERALS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_ACTIONS: dict[str, Callable[[list[Any]], None]] = {
    "TUPLE": _make_marked(tuple),
    "TUPLE1": _make_tuple(1),
    "TUPLE2": _make_tuple(2),
    "TUPLE3": _make_tuple(3),
    "LIST": _make_marked(list),
    "DICT": _make_marked(_pairs),
    "FROZENSET": _make_marked(tuple),
    "ADDITEMS": _append_all,
    "APPEND": _append,
    "APPENDS": _append_all,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "STACK_GLOBAL": _name_from_stack,
    "REDUCE": _call,
    "NEWOBJ": _call,
    "NEWOBJ_EX": _call_with_keywords,
    "OBJ": _call_marked,
    "BUILD": _set_state,
    "BINPERSID": _refer,
    "DUP": _duplicate,
    "POP": _drop,
    "POP_MARK": _drop_to_mark,
}
