"""From YAML files and command-line overrides to a checked `Config`."""
