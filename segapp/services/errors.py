"""The errors that a visitor is shown, as one small tree of exceptions.

Services raise these; segapp.error_responses turns them into a page, a partial or JSON. Packages below the services
raise plain exceptions of their own, which `user_error` maps. Knows nothing of requests.
"""

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.db import InterfaceError, OperationalError
from django.http import UnreadablePostError

from registry.files import disk_is_full
from registry.services import ModelNotFound, NoBaseReady
from registry.store import StoreUnreachable
from segapp.imaging import InvalidFile
from segapp.imaging.memory import DecodersBusy

Problem = dict[str, str]  # {"file": its name or "", "message": what is wrong and what to do}
RETRY_SECONDS = 5


class UserError(Exception):
    """HTTP status, the API's code, and what the visitor reads; a kind's own text is used where none is given.

    `files` has one entry for each faulty file, `details` goes into the JSON body, `location` and `retry_after`
    (seconds) into the headers.
    """

    status = 400
    code = "bad_request"
    title = "That is not possible"
    message = "The request could not be carried out."
    advice = "Go back and try again."
    retry_after: int | None = None

    def __init__(
        self,
        message: str = "",
        *,
        title: str = "",
        code: str = "",
        files: list[Problem] | None = None,
        location: str = "",
        retry_after: int | None = None,
        **details: Any,
    ) -> None:
        if message:
            self.message, self.advice = message, ""
        self.title, self.code = title or self.title, code or self.code
        self.files, self.location, self.details = files, location, details
        self.retry_after = retry_after or self.retry_after
        super().__init__(f"{self.message} {self.advice}".strip())

    @property
    def problems(self) -> list[Problem]:
        """What is wrong, file by file where files are to blame, as pages list it."""
        return self.files or [{"file": "", "message": str(self)}]


# --- what was asked for ---------------------------------------------------------------------------------


class NotFound(UserError):
    """Does not exist, is gone, or is another visitor's: the answer does not tell which."""

    status, code = 404, "not_found"
    title = "There is nothing here"
    message = "The address is wrong, or what it named is gone or belongs to someone else."
    advice = "Go back to the start page."


class InvalidToken(NotFound):
    """A restore token that does not verify with any of this server's keys."""

    code = "invalid_token"
    message = "This browser's key to your models is not valid here."
    advice = "Train a model to get a new one."


class InvalidForm(UserError):
    """Fields that cannot be understood; `messages` are sentences to show one by one."""

    status, code = 422, "invalid"
    title = "Something in the form is missing or wrong"

    def __init__(self, messages: list[str]) -> None:
        super().__init__(" ".join(messages))
        self.messages = messages

    @property
    def problems(self) -> list[Problem]:
        return [{"file": "", "message": message} for message in self.messages]


class InvalidUpload(UserError):
    """Files that cannot be taken in: one entry for each, or one message about all of them. Nothing was stored."""

    status, code = 422, "refused"
    title = "These files cannot be used"

    def __init__(self, problems: list[Problem] | str) -> None:
        files = [{"file": "", "message": problems}] if isinstance(problems, str) else problems
        super().__init__(" ".join(": ".join(filter(None, entry.values())) for entry in files), files=files)


class MethodNotAllowed(UserError):
    """The address takes other methods than the one that was used; they go into the header Allow."""

    status, code = 405, "method_not_allowed"
    title = "This address is used in another way"
    message = "This address does not take that method."
    advice = "Go back to the start page."

    def __init__(self, *allowed: str) -> None:
        super().__init__(f"This address takes {' and '.join(allowed)} only." if allowed else "")
        self.allowed = allowed


class Conflict(UserError):
    """In the way of something that is there already."""

    status, code = 409, "conflict"
    title = "That is not possible right now"


class Forbidden(UserError):
    status, code = 403, "forbidden"
    title = "Not allowed"
    message = "This is not open to you."
    advice = "Go back to the start page."


class ExpiredForm(UserError):
    status, code = 403, "csrf"
    title = "This form has expired"
    message = "The page was open for too long, or cookies are switched off, so the request was not accepted."
    advice = "Reload the page and try again; allow cookies for this site."


class BadRequest(UserError):
    title = "The request could not be read"
    message = "Something in it was malformed or cut off."
    advice = "Reload the page and try again."


class TooLarge(UserError):
    status, code = 413, "too_large"
    title = "That is too much at once"
    message = (
        f"One upload may have at most {settings.UPLOAD_LIMIT_BYTES // 10**6} MB, "
        f"a batch of images {settings.BATCH_LIMIT_BYTES // 10**6} MB."
    )
    advice = "Send fewer or smaller files."


class TooManyFiles(UserError):
    status, code = 413, "too_many_files"
    title = "Those are too many files at once"
    message = (
        f"One upload may have at most {settings.UPLOAD_LIMIT_FILES} files, "
        f"a batch of images {settings.BATCH_LIMIT_FILES}."
    )
    advice = "Send fewer files, or put them into one zip archive."


class RateLimited(UserError):
    """More of this than one visitor or address may have in a while."""

    status, code = 429, "too_many_requests"
    title = "That was too much in a short time"


# --- what the machine cannot do now -----------------------------------------------------------------------


class Overloaded(UserError):
    """The server has as much to do as it can promise."""

    status, code = 503, "overloaded"
    title = "The server has a lot to do"
    message = "Many images are waiting right now."
    advice = "Try again in a few seconds; nothing was stored."
    retry_after = RETRY_SECONDS


class Unavailable(UserError):
    """What is needed for it is not there on this server; waiting a moment does not help."""

    status, code = 503, "no_base"
    title = "The server is not ready"


class Busy(UserError):
    status, code = 503, "busy"
    title = "The server is busy"
    message = "The database did not answer in time, so nothing was changed."
    advice = "Try again in a few seconds."
    retry_after = RETRY_SECONDS


class StorageDown(UserError):
    status, code = 503, "storage"
    title = "The server's storage did not answer"
    message = "Your models and results are kept there; nothing was changed."
    advice = "Try again in a few seconds."
    retry_after = RETRY_SECONDS


class StorageFull(UserError):
    """The visitor's own storage, or their address's, does not hold this."""

    status, code = 413, "storage_full"
    title = "Your storage is full"
    message = "There is no room left for this in your storage, so nothing was kept of it."
    advice = "Delete models, images, videos or batches you no longer need."


class DiskFull(UserError):
    status, code = 507, "disk_full"
    title = "The server's disk is full"
    message = "There was no room to store this. It was not stored, and your models are unchanged."
    advice = "Delete results or models you no longer need, or ask the operator of this server to make room."


class ServerError(UserError):
    status, code = 500, "server_error"
    title = "Something went wrong here"
    message = "The request could not be finished. The server's log says why; your models are as they were."
    advice = "Try again in a moment."


# --- exceptions of the packages below, of Django and of the system ----------------------------------------


def user_error(error: BaseException | None) -> UserError | None:
    """What to tell the visitor about `error`; None for a mistake of the program."""
    match error:
        case UserError():
            return error
        case InvalidFile():
            return InvalidUpload([error.entry])
        case DecodersBusy():
            return Overloaded(str(error), retry_after=error.retry_after)
        case ModelNotFound():
            return NotFound(str(error))
        case NoBaseReady():
            return Unavailable(str(error))
        case TooManyFilesSent():
            return TooManyFiles()
        case RequestDataTooBig() | TooManyFieldsSent():
            return TooLarge()
        case StoreUnreachable():
            return StorageDown()
        case UnreadablePostError():
            return BadRequest()
        case OSError() if disk_is_full(error):
            return DiskFull()
        case OperationalError() | InterfaceError():
            full = any(sign in str(error).lower() for sign in ("disk is full", "no space left"))
            return DiskFull() if full else Busy()
    return None
