"""Random JSON schemas inside the documented strict subset: nested, recursive, enums, formats."""

import random
from typing import Any

from headrace.api.json_schema import FORMATS

WORDS = ("mill", "river", "wheel", "stone", "grain", "water", "race", "sluice", "weir", "pond")
PATTERNS = ("^[A-Z]{2}[0-9]{4}$", "^(red|green|blue)$", "^[a-z]+(-[a-z]+){0,3}$", "[0-9]")
MOST_LEVELS = 4


class SchemaMaker:
    """Draws schemas from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._definitions: dict[str, Any] = {}

    def draw(self) -> dict[str, Any]:
        """A whole schema."""
        self._definitions = {}
        root = self._object(0)
        return root | ({"$defs": self._definitions} if self._definitions else {})

    def _object(self, level: int) -> dict[str, Any]:
        names = self._random.sample(WORDS, self._random.randint(0 if level else 1, 4))
        properties = {name: self._value(level + 1) for name in names}
        required = [name for name in names if self._random.random() < 0.7]
        return {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }

    def _value(self, level: int) -> dict[str, Any]:
        plain = [self._string, self._number, self._enum, self._flag]
        nested = [self._object, self._array, self._any_of, self._reference]
        return self._random.choice(plain if level >= MOST_LEVELS else plain + nested)(level)

    def _string(self, _: int) -> dict[str, Any]:
        kind = self._random.randrange(4)
        if kind == 0:
            return {"type": "string", "format": self._random.choice(FORMATS)}
        if kind == 1:
            return {"type": "string", "pattern": self._random.choice(PATTERNS)}
        if kind == 2:
            least = self._random.randint(0, 3)
            most = least + self._random.randint(0, 20)
            return {"type": "string", "minLength": least, "maxLength": most}
        return {"type": ["string", "null"], "description": "free"}

    def _number(self, _: int) -> dict[str, Any]:
        low = self._random.randint(-50, 50)
        schema: dict[str, Any] = {"type": self._random.choice(("integer", "number"))}
        if self._random.random() < 0.6:
            schema |= {"minimum": low, "maximum": low + self._random.randint(1, 100)}
        elif self._random.random() < 0.5:
            schema["multipleOf"] = self._random.choice((2, 5, 10))
        return schema

    def _enum(self, _: int) -> dict[str, Any]:
        values = [*self._random.sample(WORDS, 3), self._random.randint(0, 9), None, True]
        if self._random.random() < 0.2:
            return {"const": self._random.choice(values)}
        return {"enum": self._random.sample(values, self._random.randint(1, 5))}

    def _flag(self, _: int) -> dict[str, Any]:
        return {"type": self._random.choice(("boolean", "null"))}

    def _array(self, level: int) -> dict[str, Any]:
        most = self._random.randint(0, 4)
        schema = {"type": "array", "items": self._value(level + 1), "maxItems": most}
        if self._random.random() < 0.3:
            schema["minItems"] = self._random.randint(0, most)
        return schema

    def _any_of(self, level: int) -> dict[str, Any]:
        return {"anyOf": [self._value(level + 1) for _ in range(self._random.randint(1, 3))]}

    def _reference(self, level: int) -> dict[str, Any]:
        """A definition that may hold itself, once in an optional property."""
        name = f"D{len(self._definitions)}"
        self._definitions[name] = {}
        made = self._object(level + 1)
        if self._random.random() < 0.5:
            made["properties"]["again"] = {"$ref": f"#/$defs/{name}"}
        self._definitions[name] = made
        return {"$ref": f"#/$defs/{name}"}
