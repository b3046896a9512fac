"""What a run is told: its settings, the presets, and reading them from TOML and the command line."""

from .read import change, check_places, differences, dump, from_values, keys_of, located, parse, read

__all__ = ["change", "check_places", "differences", "dump", "from_values", "keys_of", "located", "parse", "read"]
