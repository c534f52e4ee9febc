"""Everything of mine: taking all of it away, and deleting it, which asks first and says what goes."""

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from segapp.services import data_download, mydata, runs, zips
from segapp.views.common import offer
from segapp.visitors import VisitorRequest, new_id


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def erase(request: VisitorRequest) -> HttpResponse:
    """GET asks. POST deletes, makes a new visitor of this browser, and tells the page to forget its token."""
    if request.method != "POST":
        context = {"holdings": mydata.holdings(request.visitor), "run": runs.in_progress(request.visitor)}
        return render(request, "models/erase.html", context)
    mydata.erase(request.visitor)
    request.visitor, request.visitor_known = new_id(), False
    request.restore_chain = ""
    request.session.flush()
    # Shown here and not behind an address of its own: a page that makes browsers forget must not be a link away.
    return render(request, "models/erased.html")


@never_cache
@require_safe
def download(request: VisitorRequest) -> HttpResponseBase:
    """Everything as one zip, sent while it is put together."""
    members = data_download.members(request.visitor)
    return offer(StreamingHttpResponse(zips.stream(members), content_type="application/zip"), "my data.zip")
