"""What Segapp is, which model answers now, and where to start."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from segapp.views.common import PageRequest


@require_safe
@ensure_csrf_cookie
def home(request: PageRequest) -> HttpResponse:
    return render(request, "home.html")
