"""Python values as JSON, for two processes of which one does not trust the other: reading them makes plain values only,
and runs nobody's code. What is no plain value is `Foreign`."""

import collections.abc
import decimal
import fractions
import json
import numbers
import operator
import sys

# Long numbers are results like any others.
if hasattr(sys, "set_int_max_str_digits"):
    sys.set_int_max_str_digits(0)


class Foreign(Exception):
    """A value that has no form here."""


def written(value):
    """A value as what JSON knows. Values that are equal to a plain one, such as an `OrderedDict`, become that one."""
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return ["float", float.hex(value)]
    if isinstance(value, numbers.Integral):
        return ["int", str(operator.index(value))]
    if isinstance(value, complex):
        return ["complex", float.hex(value.real), float.hex(value.imag)]
    if isinstance(value, decimal.Decimal):
        return ["decimal", str(value)]
    if isinstance(value, fractions.Fraction):
        return ["fraction", str(value.numerator), str(value.denominator)]
    if isinstance(value, numbers.Real):
        return ["float", float.hex(float(value))]
    if isinstance(value, (bytes, bytearray)):
        return ["bytes", bytes(value).hex()]
    if isinstance(value, tuple):
        return ["tuple", [written(item) for item in value]]
    if isinstance(value, list):
        return ["list", [written(item) for item in value]]
    if isinstance(value, range):
        return ["range", value.start, value.stop, value.step]
    if isinstance(value, dict):
        return ["dict", [[written(key), written(item)] for key, item in value.items()]]
    if isinstance(value, collections.abc.Set):
        return ["set", [written(item) for item in value]]
    raise Foreign(kind.__name__)


def read(form):
    """The value that was written so."""
    if form is None or isinstance(form, (bool, str)):
        return form
    kind, *rest = form
    if kind == "float":
        return float.fromhex(rest[0])
    if kind == "int":
        return int(rest[0])
    if kind == "complex":
        return complex(float.fromhex(rest[0]), float.fromhex(rest[1]))
    if kind == "decimal":
        return decimal.Decimal(rest[0])
    if kind == "fraction":
        return fractions.Fraction(int(rest[0]), int(rest[1]))
    if kind == "bytes":
        return bytes.fromhex(rest[0])
    if kind == "tuple":
        return tuple(map(read, rest[0]))
    if kind == "list":
        return list(map(read, rest[0]))
    if kind == "range":
        return range(*map(int, rest))
    if kind == "dict":
        return {read(key): read(item) for key, item in rest[0]}
    if kind == "set":
        return set(map(read, rest[0]))
    raise ValueError(f"no value: {kind!r}")


def send(stream, message):
    """Writes a message as a line."""
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()
