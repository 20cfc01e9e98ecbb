"""The commands of `genae`: the flags and the body of each one.

A command is a module with a docstring, which is its help, a dataclass `Options`, and a function
`main`. The modules import no library that takes long, so that help is printed at once.
"""
