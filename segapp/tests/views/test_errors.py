"""Error pages: plain words and a next step, also when the database is what failed."""

import pytest
from django.template.loader import render_to_string
from django.test import Client, RequestFactory
from django.utils.html import escape

from segapp.error_responses import error_response
from segapp.services.errors import Busy, DiskFull, Forbidden, NotFound, ServerError, TooLarge

# No test here may touch the database: pytest-django fails one that does.


def test_an_address_that_does_not_exist_is_a_page_without_the_database():
    response = Client().get("/nowhere/")
    page = response.content.decode()
    assert response.status_code == 404
    assert "There is nothing here" in page and "To the start page" in page and "Fine-tune" in page


@pytest.mark.parametrize("failure", [Forbidden(), NotFound(), TooLarge(), ServerError(), Busy(), DiskFull()])
def test_every_failure_has_a_page_with_its_words(failure, caplog):
    response = error_response(RequestFactory().get("/finetune/"), failure)
    page = response.content.decode()
    assert response.status_code == failure.status
    assert escape(failure.title) in page and escape(failure.message) in page and "css/segapp" in page
    assert not caplog.records, "the page itself was rendered, not the bare words"


def test_htmx_gets_the_words_alone():
    page = render_to_string("errors/partial.html", {"title": "Full", "message": "No room.", "advice": "Make some."})
    assert "data-failure" in page and "Make some." in page and "<html" not in page
