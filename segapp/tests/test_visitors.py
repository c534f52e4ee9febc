"""Who is asking: the signed cookie, over http and over https."""

import pytest
from django.core import signing
from django.test import Client

from segapp.visitors import COOKIE, COOKIE_SALT, HOST_COOKIE

ALICE = "a" * 32


@pytest.fixture
def secure(settings, db):
    settings.SECURE = True


def signed(visitor: str, name: str) -> str:
    return signing.get_cookie_signer(salt=name + COOKIE_SALT).sign(visitor)


def test_over_https_the_cookie_is_bound_to_the_host(secure):
    cookie = Client().get("/api/health", secure=True).cookies[HOST_COOKIE]
    assert cookie["secure"] and cookie["path"] == "/" and not cookie["domain"] and cookie["httponly"]


def test_the_cookie_of_before_is_read_once_more_and_replaced(secure):
    client = Client()
    client.cookies[COOKIE] = signed(ALICE, COOKIE)
    response = client.get("/api/health", secure=True)
    assert response.wsgi_request.visitor == ALICE
    assert response.cookies[HOST_COOKIE].value.startswith(ALICE)
    assert response.cookies[COOKIE].value == "" and response.cookies[COOKIE]["max-age"] == 0


def test_a_cookie_of_before_that_does_not_verify_makes_a_new_visitor(secure):
    client = Client()
    client.cookies[COOKIE] = signed(ALICE, COOKIE)[:-2] + "xx"
    sent = client.get("/api/health", secure=True).cookies[HOST_COOKIE].value
    assert not sent.startswith(ALICE)


def test_the_new_cookie_wins_over_the_old_one(secure):
    client = Client()
    client.cookies[COOKIE] = signed(ALICE, COOKIE)
    client.cookies[HOST_COOKIE] = signed("b" * 32, HOST_COOKIE)
    assert HOST_COOKIE not in client.get("/api/health", secure=True).cookies, "nothing to replace"


def test_over_http_the_cookie_keeps_its_name(db):
    assert COOKIE in Client().get("/api/health").cookies


def visitor_of(cookie: str) -> str:
    client = Client()
    client.cookies[COOKIE] = cookie
    response = client.get("/api/health")
    visitor: str = response.wsgi_request.visitor  # type: ignore[attr-defined]
    assert (COOKIE in response.cookies) == (visitor != ALICE), "a new visitor is told its name"
    return visitor


@pytest.mark.fault(42)
def test_a_cookie_under_a_rotated_key_is_good_and_under_a_removed_one_makes_a_new_visitor(db, settings):
    cookie = signed(ALICE, COOKIE)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another key"
    assert visitor_of(cookie) == ALICE
    settings.SECRET_KEY_FALLBACKS = []
    assert visitor_of(cookie) != ALICE


@pytest.mark.fault(42)
@pytest.mark.parametrize("salt", ["", "another", HOST_COOKIE + COOKIE_SALT, "segapp.restore.token"])
def test_a_cookie_signed_for_something_else_makes_a_new_visitor(db, salt):
    assert visitor_of(signing.get_cookie_signer(salt=salt).sign(ALICE)) != ALICE


def test_a_restored_browsers_cookie_names_the_same_visitor(db):
    client = Client()
    client.cookies[COOKIE] = signed(f"{ALICE}.0123456789abcdef.1", COOKIE)
    response = client.get("/api/health")
    assert response.wsgi_request.visitor == ALICE and COOKIE not in response.cookies
