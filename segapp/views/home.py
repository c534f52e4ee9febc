"""What Segapp is, which model answers now, and where to start."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from segapp.visitors import VisitorRequest


@require_safe
@ensure_csrf_cookie
def home(request: VisitorRequest) -> HttpResponse:
    return render(request, "home.html")
