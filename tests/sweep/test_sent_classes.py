"""Classes and functions of a user's own reach processes that cannot import where they are
defined."""

from pathlib import Path

import pytest
from contracts import scripts

BESIDE = """
import dataclasses
import genae_core
from helper import double

@genae_core.register("test.beside")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Beside:
    number: int = 1

    def build(self):
        return double(self.number)

def load(path, shape):
    return double(path)
"""
SEND = """
import threading
from dataclasses import dataclass
from pathlib import Path
from beside import Beside, load
import genae_core
import ray
from genae_core.config.own_functions import name_function
from genae_core.sweep.own_classes import check_sendable, classes_to_send, functions_to_send

LOCK = threading.Lock()

@genae_core.register("test.locked")
@dataclass(frozen=True)
class Locked:
    def build(self):
        return LOCK

if __name__ == "__main__":
    classes = classes_to_send()
    name_function(load)
    Path("sent").write_bytes(ray.cloudpickle.dumps((classes, functions_to_send())))
    check_sendable([Beside()])
    print(*(kind.__name__ for kind in classes))
    try:
        check_sendable([Beside(), Locked()])
    except ValueError as error:
        print(error)
"""
RECEIVE = """
import pickle, sys
from pathlib import Path
from genae_core.config import from_json
from genae_core.config.own_functions import adopt_functions, own_function
from genae_core.config.registry import adopt, definition

classes, functions = pickle.loads(Path(sys.argv[1]).read_bytes())
adopt(classes)
adopt_functions(functions)
read = from_json('{"config": "test.beside", "number": 4}')
load = own_function("beside:load")
print(read.build(), definition(type(read)).path, {"beside", "helper"} & set(sys.modules))
print(load.function(3, ()), load.definition.path, load.definition.file)
"""


@pytest.mark.slow
def test_a_module_beside_the_script_is_sent_by_its_code(tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "study", tmp_path / "worker"
    here.mkdir()
    elsewhere.mkdir()
    (here / "helper.py").write_text("def double(number):\n    return 2 * number\n")
    (here / "beside.py").write_text(BESIDE)
    (here / "study.py").write_text(SEND)
    (elsewhere / "worker.py").write_text(RECEIVE)

    def python(script: Path, *words: str) -> list[str]:
        variables = scripts.environment(tmp_path)
        done = scripts.run(str(script), *words, variables=variables, cwd=here)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    names, refusal = python(here / "study.py")
    assert names == "Beside"  # the other one holds a lock, and is not needed
    assert refusal.startswith("Locked cannot be sent to the workers: TypeError: cannot pickle")
    lines = python(elsewhere / "worker.py", str(here / "sent"))
    assert lines == ["8 beside.Beside set()", f"6 beside.load {here / 'beside.py'}"]
