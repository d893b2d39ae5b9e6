"""The file of a stub: what may stand in it, and what is said of what may not."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from aexp.crash.http.file import parse_routes, read_routes
from aexp.crash.http.routes import HttpAnswer, HttpRoute
from aexp.errors import BadInput

ROOT = Path(__file__).parents[3]
GOOD = """\
- method: post
  path: /charges
  status: 201
  json: {id: ch_1}
  idempotent: true
- method: GET
  path: /rates/{currency}
  answers:
    - status: 503
      headers: {Retry-After: 1}
      delay_s: 0.5
    - body: "1.1"
- {method: POST, path: /search, safe: true}
"""


def test_a_file_says_what_an_object_says(tmp_path: Path) -> None:
    file = tmp_path / "payments.yaml"
    file.write_text(GOOD)
    assert read_routes(file) == [
        HttpRoute(
            method="POST",
            path="/charges",
            answers=[HttpAnswer(status=201, json={"id": "ch_1"})],
            idempotent=True,
        ),
        HttpRoute(
            method="GET",
            path="/rates/{currency}",
            answers=[
                HttpAnswer(status=503, headers={"Retry-After": "1"}, delay_s=0.5),
                HttpAnswer(body="1.1"),
            ],
        ),
        HttpRoute(method="POST", path="/search", safe=True),
    ]


@pytest.mark.parametrize("page", ["README.md", "docs/http-stub.md"])
def test_the_files_that_are_shown_are_right(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    shown = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert [parse_routes(each, page)[0].path for each in shown] == ["/charges"]


ROUTE = "- method: GET\n  path: /a\n"
FORM = "write a list of routes, such as `- {method: POST, path: /charges, status: 201}`"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", f": it has no routes: {FORM}"),
        ("[]", f": it has no routes: {FORM}"),
        ("routes: []", f": it has no routes: {FORM}"),
        ("- /charges", f":1: '/charges' is no route: {FORM}"),
        ("- method: GET", f":1: the route has no path: {FORM}"),
        (f"{ROUTE}  statsu: 200", ":3: statsu is no key of a route: did you mean status?"),
        (
            f"{ROUTE}  answers:\n  - {{}}\n  - sttus: 200",
            ":5: sttus is no key of an answer: did you mean status?",
        ),
        (
            f"{ROUTE}  answers: [{{zzz: 1}}]",
            ":3: zzz is no key of an answer: known are status, headers, json, body, delay_s",
        ),
        (f"{ROUTE}  status: 200\n  answers: [{{}}]", ":3: status and answers are both given: move"),
        (f"{ROUTE}  answers: []", ":3: answers: value should have at least 1 item"),
        (f"{ROUTE}  status: often", ":3: status: input should be a valid integer"),
        (f"{ROUTE}  status: 101", ":3: status: input should be greater than or equal to 200"),
        (f"{ROUTE}  delay_s: -1", ":3: delay_s: input should be greater than or equal to 0"),
        (f"{ROUTE}  json: 2026-01-01", ":3: json: input was not a valid JSON value"),
        (f"{ROUTE}  json: .nan", ":3: json: out of range float values"),
        (f"{ROUTE}  json: &a [*a]", ":3: json: recursion error"),
        (f"{ROUTE}  json: 1\n  body: x", ": json and body are both given: leave one out"),
        (f"{ROUTE}  headers: {{a b: c}}", ":3: headers: 'a b' cannot be sent as a header"),
        (f'{ROUTE}  headers: {{a: "b\\nc"}}', ":3: headers: 'a' cannot be sent as a header"),
        (f"{ROUTE}  path: /b", ":3: path stands twice: leave one out"),
        (f"{ROUTE}  json: {{a: 1, a: 2}}", ":3: a stands twice: leave one out"),
        ("- {method: GET, path: a}", ":1: path: it must begin with / and have neither"),
        ("- {method: GET, path: '/a?b=1'}", ":1: path: it must begin with / and have neither"),
        ("- {method: GET, path: '/a/{b'}", ":1: path: what stands in braces must be a name"),
        (
            "- {method: G T, path: /a}",
            ":1: method: it must be the method of a request, such as POST",
        ),
        ("- [", ":1: it is not YAML: expected the node content"),
        (f"{ROUTE}  json: 2026-13-01", ": it is not YAML: month must be in 1..12"),
        (f"{ROUTE}  json: !!python/name:os.system", ":3: it is not YAML: could not determine"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_routes(textwrap.dedent(text), "payments.yaml")
    assert str(caught.value).startswith("payments.yaml:")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_file_that_cannot_be_read_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot read .*none.yaml: No such file"):
        read_routes(tmp_path / "none.yaml")
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"- \xe4")
    with pytest.raises(BadInput, match="is no text in UTF-8"):
        read_routes(file)


@pytest.mark.parametrize(
    ("path", "given", "takes"),
    [
        ("/charges", "/charges", True),
        ("/charges", "/charges?limit=1", True),
        ("/charges", "/charges/", False),
        ("/a.b", "/axb", False),
        ("/orders/{order}", "/orders/A17", True),
        ("/orders/{order}", "/orders/A%2017", True),
        ("/orders/{order}", "/orders/", False),
        ("/orders/{order}", "/orders/A17/items", False),
        ("/orders/{order}/items/{item}", "/orders/1/items/2", True),
    ],
)
def test_a_name_in_a_path_stands_for_one_segment(path: str, given: str, takes: bool) -> None:
    assert HttpRoute(method="get", path=path).takes("GET", given) is takes
    assert not HttpRoute(method="GET", path=path).takes("POST", given)
