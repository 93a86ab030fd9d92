"""From a YAML file to a `controller.model.Network`, or to every problem in it: see `load`.

source  YAML text to plain data that remembers lines and columns     fields  one value: a duration, a name, an address
schema  the form of the file, and its JSON Schema                    rules   what the parts must be to each other
build   the form with its defaults filled in, as a Network           load    all of it in order
"""
