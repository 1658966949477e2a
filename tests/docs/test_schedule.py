"""The programs of the page on schedules tell somebody, by mail and by a webhook, when a run calls them."""

from __future__ import annotations

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from surveyflow.runs.announcements import Announcement, announce
from surveyflow.settings.workflow import Notify
from surveyflow.values.codes import Event

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "schedule.md").read_text()
SKIPPED = Announcement(Event.SKIPPED, 'release w3 was skipped: "list" is $HOME.', Path("/data/catalog"), release="w3")


@pytest.fixture
def program(tmp_path):
    """Write the page's program in a language to a file that can be run."""

    def write(language):
        (text,) = re.findall(rf"^```{language}\n(#!.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
        path = tmp_path / f"program.{language}"
        path.write_text(text)
        path.chmod(0o700)
        return path

    return write


def test_the_program_that_mails_gives_subject_text_and_address_to_mail(program, tmp_path, monkeypatch):
    mail = tmp_path / "bin" / "mail"
    mail.parent.mkdir()
    mail.write_text(f'#!/bin/sh\n{{ printf "<%s>" "$@"; cat; }} >"{tmp_path}/sent"\n')
    mail.chmod(0o700)
    monkeypatch.setenv("PATH", str(mail.parent), prepend=":")

    announce(Notify(command=f"{program('sh')} team@example.org"), SKIPPED)

    assert (
        tmp_path / "sent"
    ).read_text() == f"<-s><surveyflow: skipped w3><team@example.org>{SKIPPED.message}\n\n/data/catalog\n"


class Webhook(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Write nothing to stderr."""


def test_the_program_that_calls_a_webhook_sends_the_text_as_json(program, tmp_path):
    with HTTPServer(("127.0.0.1", 0), Webhook) as server:
        server.heard = []
        threading.Thread(target=server.serve_forever).start()
        (tmp_path / "address").write_text(f"http://127.0.0.1:{server.server_port}/hook\n")
        try:
            announce(Notify(command=f"{sys.executable} {program('py')} {tmp_path / 'address'}"), SKIPPED)
        finally:
            server.shutdown()

    assert server.heard == [{"text": f"surveyflow: skipped w3\n{SKIPPED.message}"}]


def test_the_page_lists_every_event_and_every_variable():
    events = re.findall(r"^\| `([a-z]+)` \|", PAGE, flags=re.MULTILINE)
    variables = re.findall(r"^\| `(SURVEYFLOW_[A-Z]+)` \|", PAGE, flags=re.MULTILINE)
    assert sorted(events) == sorted(Event)
    assert sorted(variables) == sorted(SKIPPED.environment())
