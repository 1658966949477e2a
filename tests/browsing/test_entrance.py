"""Nobody gets in without the token, from another site, or under another name of this machine."""

from contextlib import closing
from socket import socket

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from asgi_client import ask
from surveyflow.browsing.entrance import Entrance
from surveyflow.browsing.server import Listening, listen
from surveyflow.errors import InputError

TOKEN = "k" * 43
COOKIE = {"cookie": f"surveyflow-8000={TOKEN}"}


async def secret(request):
    return PlainTextResponse("secret")


@pytest.fixture(scope="module")
def app():
    return Entrance(Starlette(routes=[Route("/", secret, methods=["GET", "POST"])]), TOKEN, 8000)


def test_the_token_is_moved_to_a_cookie_that_scripts_cannot_read(app):
    answer = ask(app, f"/?a=1&token={TOKEN}&a=2")
    assert (answer.status, answer.headers["location"]) == (303, "/?a=1&a=2")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert ask(app, "/", **COOKIE).text == "secret"


@pytest.mark.parametrize("other", ['{"a": [1, "b"]}', "a=[x y]; b", "\xe9=\xe9;;", "a"])
def test_cookies_of_other_servers_of_this_machine_do_not_hide_it(app, other):
    """A browser sends the cookies of every port, also those that no standard allows."""
    assert ask(app, "/", cookie=f"{other}; {COOKIE['cookie']}; {other}").status == 200


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("/", {}),
        ("/?token=", {}),
        ("/?token=wrong", COOKIE),
        ("/?token=k%C3%A9", {}),
        ("/", {"cookie": "surveyflow-8001=" + TOKEN}),
        ("/", {"cookie": f"surveyflow-8000={TOKEN[:-1]}"}),
        ("/", {"cookie": "a;;=\x01 surveyflow-8000"}),
        ("/", {"authorization": f"token {TOKEN}"}),
        ("/nothing/../../etc/passwd", {}),
        ("/static/browse.css", {}),
    ],
)
def test_without_the_token_there_is_nothing(app, address, headers):
    answer = ask(app, address, **headers)
    assert answer.status == 403
    assert "secret" not in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8000", "localhost.:8000", "", "127.0.0.1:8000@evil", "[::2]:80"]
)
def test_another_name_of_this_machine_is_refused(app, host):
    assert ask(app, "/", host=host, **COOKIE).status == 400
    assert ask(app, f"/?token={TOKEN}", host=host).status == 400


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:9", "localhost", "[::1]:8000"])
def test_the_names_of_the_loopback_interface_are_taken_with_any_port(app, host):
    """A tunnel may end at another port."""
    assert ask(app, "/", host=host, **COOKIE).status == 200


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:8001", "https://127.0.0.1:8000"])
def test_only_pages_of_the_server_send_answers(app, origin):
    headers = COOKIE | ({} if origin is None else {"origin": origin})
    assert ask(app, "/", method="POST", **headers).status == 403
    assert ask(app, "/", method="POST", origin="http://127.0.0.1:8000", **COOKIE).text == "secret"


def test_a_page_may_load_from_the_server_alone(app):
    for headers in ({}, COOKIE):
        found = ask(app, "/", **headers).headers
        assert found["content-security-policy"].startswith("default-src 'self';")
        assert "unsafe" not in found["content-security-policy"]
        assert found["referrer-policy"] == "no-referrer"
        assert found["x-content-type-options"] == "nosniff"
        assert found["x-dns-prefetch-control"] == "off"
        assert found["cache-control"] == "no-store"


def test_an_address_may_lead_to_what_is_searched_for(app):
    with closing(socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        address = Listening(listener, TOKEN).address("/search", 'EGS 12 & "x"')
    path = "/search?" + address.split("?")[1]
    assert ask(app, path).headers["location"] == "/search?q=EGS+12+%26+%22x%22"


def test_an_address_of_another_site_is_no_place_to_go(app):
    assert ask(app, f"/%2F/evil.example/?token={TOKEN}").headers["location"].startswith("/evil.example")


def test_the_server_listens_on_the_loopback_interface_with_a_new_token_each_time():
    one, other = listen(0), listen(0)
    with one.socket, other.socket:
        assert one.socket.getsockname()[0] == "127.0.0.1"
        assert one.token != other.token
        assert len(one.token) >= 43
        with pytest.raises(InputError, match="cannot be used"):
            listen(one.port)
    with pytest.raises(InputError, match="expected 0"):
        listen(70_000)
