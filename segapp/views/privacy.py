"""What is kept of visitors, for how long, and who sees it."""

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from segapp.visitors import VisitorRequest


@require_safe
def privacy(request: VisitorRequest) -> HttpResponse:
    days = {"result_days": settings.SEGAPP_RESULT_DAYS, "trash_days": settings.SEGAPP_TRASH_DAYS}
    return render(request, "privacy.html", days)
