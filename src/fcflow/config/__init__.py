"""
The configuration: one JSON document becomes partners, locations and what they speak, with every fault at once.

`document` has what callers use; `build` makes the values, `checks` asks what a schema cannot, `aliases` reads SKU
tables, `schema` turns a JSON Schema's complaints into words.
"""

from fcflow.config.document import Config, config_schema, load_config

__all__ = ["Config", "config_schema", "load_config"]
