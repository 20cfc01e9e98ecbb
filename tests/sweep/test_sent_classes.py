"""Classes of a user's own reach processes that cannot import where they are defined."""

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
"""
SEND = """
import threading
from dataclasses import dataclass
from pathlib import Path
from beside import Beside
import genae_core
import ray
from genae_core.sweep.own_classes import check_sendable, classes_to_send

LOCK = threading.Lock()

@genae_core.register("test.locked")
@dataclass(frozen=True)
class Locked:
    def build(self):
        return LOCK

if __name__ == "__main__":
    classes = classes_to_send()
    Path("sent").write_bytes(ray.cloudpickle.dumps(classes))
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
from genae_core.config.registry import adopt, definition

adopt(pickle.loads(Path(sys.argv[1]).read_bytes()))
read = from_json('{"config": "test.beside", "number": 4}')
print(read.build(), definition(type(read)).path, {"beside", "helper"} & set(sys.modules))
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
    line = python(elsewhere / "worker.py", str(here / "sent"))
    assert line == ["8 beside.Beside set()"]
