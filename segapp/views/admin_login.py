"""The admin's login, held to a number of tries from one address."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from segapp.services import limits


def login(request: HttpRequest) -> HttpResponse:
    """Django's own page. Raises RateLimited."""
    if request.method == "POST":
        limits.check(request, limits.LOGINS)
    return admin.site.login(request)
