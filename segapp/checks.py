"""Misconfiguration, found before it hurts: numbered system checks under the tag "segapp".

`manage.py check` shows them, `serve` prints the warnings and refuses to start on an error. Knows nothing of torch.
"""

import os
from typing import Any
from urllib.parse import urlparse

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from registry import bases
from segapp.home import key_file, secret_keys

LOCAL = ("localhost", "127.0.0.1", "::1")


@register("segapp")
def storage(**_: Any) -> list[CheckMessage]:
    """E001: a folder below the home cannot be written."""
    return [
        Error(
            f"{folder} cannot be written.",
            hint="Give this user the right to write there, or set SEGAPP_HOME to another folder.",
            id="segapp.E001",
        )
        for folder in (settings.SEGAPP_HOME, settings.SEGAPP_HOME / "var", settings.MEDIA_ROOT)
        if not os.access(folder, os.W_OK | os.X_OK)
    ]


@register("segapp")
def base(**_: Any) -> list[CheckMessage]:
    """E002: SEGAPP_BASE names no base. W003: the wanted base is not ready. E004: the weights folder is unusable."""
    folder = settings.SEGAPP_WEIGHTS
    if folder.exists() and not (folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)):
        advice = "Make it a folder that this user can read, or set SEGAPP_WEIGHTS to another one."
        return [Error(f"The weights folder {folder} cannot be read.", hint=advice, id="segapp.E004")]
    wanted = settings.SEGAPP_BASE
    if wanted != "auto" and wanted not in bases.CATALOGUE:
        known = ", ".join(bases.CATALOGUE)
        return [Error(f"SEGAPP_BASE is '{wanted}'.", hint=f"Set it to auto or one of: {known}.", id="segapp.E002")]
    if bases.choose(wanted, settings.MEDIA_ROOT, folder) is not None:
        return []
    if wanted == "auto":
        text, advice = "No base model is ready.", "Run `manage.py build_base mit_b3`; the README says what it needs."
    else:
        text = f"The base model '{wanted}' is not ready."
        advice = (
            "A training worker prepares it in the background and pages say how far it is; "
            f"`manage.py build_base {wanted}` does it now."
        )
    return [Warning(text, hint=advice, id="segapp.W003")]


@register("segapp")
def key(**_: Any) -> list[CheckMessage]:
    """E007: the signing key is empty or cannot be read; workers do without."""
    if settings.KEYLESS or secret_keys(settings.SEGAPP_HOME):
        return []
    advice = (
        "Restore the file from a backup, or give this user the right to read it. To start with a new key, remove it: "
        "then browsers lose their visitors, and with them their models."
    )
    return [Error(f"The signing key {key_file(settings.SEGAPP_HOME)} cannot be used.", hint=advice, id="segapp.E007")]


@register("segapp")
def broker(**_: Any) -> list[CheckMessage]:
    """E005: REDIS_URL is no address of a Redis."""
    if settings.REDIS_URL and urlparse(settings.REDIS_URL).scheme not in ("redis", "rediss"):
        advice = "Set it like redis://host:6379/0, or leave it out for the embedded one."
        return [Error(f"REDIS_URL is '{settings.REDIS_URL}'.", hint=advice, id="segapp.E005")]
    return []


@register("segapp")
def debug(**_: Any) -> list[CheckMessage]:
    """E008: Django's debug mode, which shows its insides to everybody, at an address that others can reach."""
    if settings.DEBUG and (settings.SECURE or urlparse(settings.SEGAPP_URL).hostname not in LOCAL):
        advice = "Unset SEGAPP_DEBUG, or set SEGAPP_URL to an address of this machine only."
        return [Error("SEGAPP_DEBUG is on at a public address.", hint=advice, id="segapp.E008")]
    return []


@register("segapp")
def address(**_: Any) -> list[CheckMessage]:
    """W006: an https address that only this machine can reach."""
    host = urlparse(settings.SEGAPP_URL).hostname
    if settings.SECURE and host in LOCAL:
        advice = "Set SEGAPP_URL to the address people use; more host names go into SEGAPP_HOSTS."
        return [Warning(f"SEGAPP_URL is https, but its host is {host}.", hint=advice, id="segapp.W006")]
    return []
