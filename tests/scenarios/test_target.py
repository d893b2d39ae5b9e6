"""From what a person writes to a scenario: by name, from a file, from a module."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from aexp.errors import UnknownScenario
from aexp.model.scenario import Scenario
from aexp.scenarios import BUILT_IN, find_scenario, known_scenarios
from aexp.scenarios.target import is_path, load_object, nearest, normalise
from tests.support.targets import FLOWS, refused, write

pytestmark = pytest.mark.usefixtures("nothing_imported")


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_built_in_scenario_is_found_by_its_name(name: str) -> None:
    target, scenario = find_scenario(name)

    assert (target, scenario.name) == (name, name)
    assert known_scenarios()[name] == BUILT_IN[name]


@pytest.mark.parametrize(
    ("name", "near"), [("resum", ("resume",)), ("Resume", ("resume",)), ("xyzzy", ()), ("", ())]
)
def test_a_name_that_nobody_has_is_told_those_nearest(name: str, near: tuple[str, ...]) -> None:
    with pytest.raises(UnknownScenario) as raised:
        find_scenario(name)

    error = raised.value
    assert (error.name, error.nearest) == (name, near)
    assert str(error).startswith(f"unknown scenario {name!r}")
    assert ("did you mean resume?" in str(error)) == bool(near)
    assert f"{name!r} `aexp list`" not in str(error), "two sentences without a stop between them"


def test_the_two_nearest_names_are_told_the_nearest_first() -> None:
    error = nearest("fan-in", dict.fromkeys(["fan-on", "fan-out", "fan-inn", "resume"]))

    assert error.nearest == ("fan-inn", "fan-on")
    assert "did you mean fan-inn or fan-on?" in str(error)


def install(folder: Path, entry_points: str) -> None:
    """What pip leaves behind of a distribution."""
    about = folder / "flows-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: flows\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(entry_points)
    sys.path.insert(0, str(folder))


def test_an_installed_scenario_is_found_by_its_name(tmp_path: Path) -> None:
    write("installed_flows.py")
    install(tmp_path, "[aexp.scenarios]\nstory = installed_flows:Flows.story\n")

    target, scenario = find_scenario("story")

    assert (target, scenario.name) == ("story", "story")
    assert {"story", *BUILT_IN} <= set(known_scenarios())


def test_an_installed_scenario_does_not_replace_a_built_in_one(tmp_path: Path) -> None:
    install(tmp_path, "[aexp.scenarios]\nresume = elsewhere:SCENARIO\n")

    assert known_scenarios()["resume"] == BUILT_IN["resume"]


@pytest.mark.parametrize(
    ("target", "path"),
    [("resume", False), ("flows.py", False), ("flows.py:checkout", True), ("flows:checkout", True)],
)
def test_a_colon_makes_it_a_path(target: str, path: bool) -> None:
    assert is_path(target) is path


def test_a_file_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("below/flows.py")

    target, scenario = find_scenario("below/flows.py:checkout")
    monkeypatch.chdir("/")

    assert target == f"{file}:checkout"
    assert normalise(target) == target
    again, found = find_scenario(target)
    assert again == target
    assert found.workflow is scenario.workflow


@pytest.mark.parametrize("target", ["resume", "package.flows:checkout"])
def test_what_is_no_file_is_the_same_from_any_folder(target: str) -> None:
    assert normalise(target) == target


def test_a_workflow_in_a_file_is_a_scenario() -> None:
    write("flows.py")

    _, scenario = find_scenario("flows.py:checkout")

    assert (scenario.name, scenario.summary) == ("checkout", "Check a cart out.")
    assert list(scenario.parameters.model_fields) == ["cart", "tries"]


def test_names_within_an_object_are_followed() -> None:
    write("flows.py")
    assert find_scenario("flows.py:blocking")[1].name == "blocking"
    assert find_scenario("flows.py:Shop.serve")[1].name == "serve"

    story = find_scenario("flows.py:Flows.story")[1]
    serve = find_scenario("flows.py:shop.serve")[1]

    assert (story.name, story.summary) == ("story", "A story.")
    assert isinstance(story, Scenario)
    assert serve.name == "serve"
    assert list(serve.parameters.model_fields) == ["customers"]


def test_a_module_of_the_working_folder_is_found() -> None:
    write("flows.py")
    write("package/__init__.py", "")
    write("package/orders.py", "from flows import Flows")

    target, scenario = find_scenario("flows:checkout")
    assert target == f"flows:checkout in {Path.cwd()}"
    assert find_scenario(target)[1].workflow is scenario.workflow
    assert find_scenario("package.orders:Flows.story")[1].name == "story"


def test_a_file_imports_its_neighbours_from_any_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    write("below/neighbour.py")
    file = write("below/flows.py", "from neighbour import checkout")
    monkeypatch.chdir("/")

    assert find_scenario(f"{file}:checkout")[1].name == "checkout"


def test_what_a_file_defines_can_be_pickled() -> None:
    # DBOS pickles what workflows pass on; another process imports the file to read it.
    write("flows.py", FLOWS + "\n    class Cart: ...\n")
    find_scenario("flows.py:checkout")

    cart = sys.modules["flows"].Cart

    assert pickle.loads(pickle.dumps(cart)) is cart


def test_a_file_is_imported_once() -> None:
    write("flows.py")

    first = find_scenario("flows.py:Flows.story")[1]

    assert find_scenario("flows.py:Flows.story")[1] is first


@pytest.mark.parametrize("stem", ["json", "aexp", "pytest"])
def test_a_file_named_as_a_module_in_use_is_refused(stem: str) -> None:
    in_use = sys.modules[stem]
    file = write(f"{stem}.py")

    message = refused(f"{stem}.py:checkout")

    assert message == (
        f"{file} would be imported as {stem!r}, a module that is in use: rename the file"
    )
    assert sys.modules[stem] is in_use


def test_a_second_file_of_the_same_name_is_refused() -> None:
    write("flows.py")
    write("below/flows.py")
    find_scenario("flows.py:checkout")

    assert "would be imported as 'flows', a module that is in use" in refused(
        "below/flows.py:checkout"
    )


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("flows.py", "flows.py names no object: write flows.py:NAME"),
        ("flows.py:", " names no object: write path/to/flows.py:checkout"),
        (":checkout", "':checkout' names no object: write path/to/flows.py:checkout"),
        ("gone.py:checkout", "no file "),
        (".py:checkout", "no file "),
        ("gone:checkout", "gone does not import: ModuleNotFoundError: No module named 'gone'"),
        ("flows.gone:checkout", "'flows' is not a package"),
        ("flows.py:chekout", "has no 'chekout'; did you mean 'checkout'?"),
        ("flows.py:xyzzy", "has no 'xyzzy'"),
        ("flows.py:shop.xyzzy", "has no 'shop.xyzzy'"),
        ("flows.py:checkout.", "has no 'checkout.'"),
        ("flows.py:LIMIT", "LIMIT is int: name an aexp Scenario or a function"),
        ("flows.py:Shop", "Shop is type: name an aexp Scenario or a function"),
        ("flows.py:undecorated", "undecorated is no DBOS workflow: decorate it with"),
    ],
)
def test_what_names_no_scenario_is_refused(target: str, reason: str) -> None:
    write("flows.py")

    assert reason in refused(target)


def test_a_folder_is_no_file() -> None:
    Path("flows.py").mkdir()

    assert refused("flows.py:checkout").startswith("no file ")


BROKEN_MODULES = {
    "raise ValueError('two\\nlines')": "does not import: ValueError: two lines",
    "raise ValueError": "does not import: ValueError: no reason given",
    "def broken(:": "does not import: SyntaxError: ",
    "import gone": "does not import: ModuleNotFoundError: No module named 'gone'",
    "from . import gone": "does not import: ImportError: attempted relative import",
    "import sys; sys.exit('usage: flows')": "does not import: SystemExit: usage: flows",
    "import sys; sys.exit(3)": "does not import: SystemExit: 3",
    "import sys; sys.exit()": "does not import: SystemExit: no reason given",
    "x = '\0'": "does not import: ",
}


@pytest.mark.parametrize("text", BROKEN_MODULES)
@pytest.mark.parametrize("target", ["flows.py:checkout", "flows:checkout"])
def test_a_module_that_does_not_import_says_why_and_is_forgotten(target: str, text: str) -> None:
    write("flows.py", text)

    assert BROKEN_MODULES[text] in refused(target)
    assert "flows" not in sys.modules


def test_a_file_that_was_mended_imports() -> None:
    write("flows.py", "raise ValueError")
    refused("flows.py:checkout")

    write("flows.py")

    assert find_scenario("flows.py:checkout")[1].name == "checkout"


def test_an_interrupt_while_a_file_imports_is_no_reason_to_go_on() -> None:
    write("flows.py", "raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        find_scenario("flows.py:checkout")

    assert "flows" not in sys.modules


def test_an_object_is_loaded_from_a_module_of_ours() -> None:
    assert load_object(BUILT_IN["resume"]).name == "resume"
