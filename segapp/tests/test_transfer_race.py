"""Many browsers send one code at the same moment to a real server: one of them gets it."""

import re
from concurrent.futures import ThreadPoolExecutor

from segapp.tests.serving import Served

BROWSERS = 6


def test_of_many_browsers_at_once_exactly_one_becomes_the_visitor(served: Served):
    alice = served.visitor()
    found = re.search(r"<strong>([0-9A-Z-]{14})</strong>", alice.post("/transfer/make/").body.decode())
    assert found
    others = [served.visitor() for _ in range(BROWSERS)]
    for other in others:
        other.get("/api/health")
    with ThreadPoolExecutor(BROWSERS) as pool:
        answers = list(pool.map(lambda other: other.post("/transfer/", {"code": found.group(1)}).status, others))
    assert sorted(answers) == [302] + [422] * (BROWSERS - 1)
    owner = alice.cookies["segapp_visitor"].strip('"').split(":")[0]
    same = [other.cookies["segapp_visitor"].strip('"').split(":")[0] == owner for other in others]
    assert same == [status == 302 for status in answers]
