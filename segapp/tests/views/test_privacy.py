"""The privacy page says how long things are kept, and every page leads to it."""


def test_the_page_is_in_the_footer_and_says_the_days_that_are_set(alice, settings):
    settings.SEGAPP_RESULT_DAYS = 3
    assert 'href="/privacy/"' in alice.get("/").content.decode()
    page = alice.get("/privacy/")
    assert page.status_code == 200 and "after 3 days" in page.content.decode()
    assert page.content.decode().count("<li>") == 10
