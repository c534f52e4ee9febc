"""The admin's overview page."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from segapp.services.overview import overview as look


@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """For staff; others are sent to the admin's login (see urls.py)."""
    return render(request, "admin/overview.html", {**admin.site.each_context(request), "title": "Overview", **look()})
