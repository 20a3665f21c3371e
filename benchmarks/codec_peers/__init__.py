"""Update compression by the peers' own code, in an environment of its own, which `environment` makes and `run` uses."""
