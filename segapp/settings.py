"""Settings, all from the environment with defaults that work on an empty machine (see docs/configuration.md)."""

import ipaddress
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import dj_database_url
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from segapp.home import PROJECT, home, redis_socket, secret_keys
from segapp.imaging import formats


def env_flag(name: str, default: bool) -> bool:
    """An on/off variable; anything but the usual words is refused instead of guessed."""
    value = os.environ.get(name, "").strip().lower()
    if value in ("", "1", "on", "true", "yes", "0", "off", "false", "no"):
        return default if not value else value in ("1", "on", "true", "yes")
    raise ImproperlyConfigured(f"{name} is '{value}'. Set it to 1 or 0 (or on and off).")


def env_int(name: str, default: int) -> int:
    value = os.environ.get(name, "").strip()
    if value and not value.isdigit():
        raise ImproperlyConfigured(f"{name} is '{value}'. Set it to a whole number.")
    return int(value) if value else default


def env_networks(name: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Networks and addresses, separated by spaces; 1 stands for all there are."""
    value = os.environ.get(name, "").strip()
    given = {"": "", "0": "", "1": "0.0.0.0/0 ::/0"}.get(value, value)
    try:
        return [ipaddress.ip_network(one) for one in given.replace(",", " ").split()]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}. Set it to 1, or to networks like 10.0.0.0/8.") from None


# --- where and who -------------------------------------------------------------------------------------
BASE_DIR = PROJECT
SEGAPP_HOME = home()
SEGAPP_WEIGHTS = Path(os.environ.get("SEGAPP_WEIGHTS") or SEGAPP_HOME / "weights").resolve()
SEGAPP_BASE = os.environ.get("SEGAPP_BASE") or "auto"
SEGAPP_PREPARE_STEPS = env_int("SEGAPP_PREPARE_STEPS", 600)  # of a decoder that the service teaches by itself
SEGAPP_TRAIN_STEPS = env_int("SEGAPP_TRAIN_STEPS", 0)  # of every training of the service; 0: as many as suit it
SEGAPP_PACE = env_flag("SEGAPP_PACE", True)  # measure how fast trainings are where no training has run yet
SEGAPP_DEVICE = os.environ.get("SEGAPP_DEVICE") or "auto"
SEGAPP_URL = os.environ.get("SEGAPP_URL") or "http://127.0.0.1:8000"
SEGAPP_RATE_LIMITS = env_flag("SEGAPP_RATE_LIMITS", True)
SEGAPP_CACHE_BYTES = env_int("SEGAPP_CACHE_MB", 1024) * 2**20  # networks and features kept in memory by one worker
SEGAPP_METRICS_TOKEN = os.environ.get("SEGAPP_METRICS_TOKEN", "")  # who sends it may read /metrics from anywhere
SEGAPP_HOOK_NETWORKS = env_networks("SEGAPP_HOOK_PRIVATE")  # what webhooks may reach besides the internet
SEGAPP_QUEUE = env_int("SEGAPP_QUEUE", 48)  # images that may wait; who sends more is asked to come back
# Of a worker's task without any progress; then its work goes to another one and the process ends.
SEGAPP_STALL_SECONDS = max(60, env_int("SEGAPP_STALL_SECONDS", 600))
SEGAPP_TRAIN_QUEUE = env_int("SEGAPP_TRAIN_QUEUE", 50)  # unfinished trainings of all visitors
SEGAPP_VIDEO_QUEUE = env_int("SEGAPP_VIDEO_QUEUE", 50)  # likewise
SEGAPP_BATCH_QUEUE = env_int("SEGAPP_BATCH_QUEUE", 50)  # likewise
SEGAPP_DECODE_BYTES = max(64, env_int("SEGAPP_DECODE_MB", 640)) * 2**20  # of images decoded at a time, a process
SEGAPP_RESULT_DAYS = env_int("SEGAPP_RESULT_DAYS", 7)  # analyses, batches, videos, and images of no model
SEGAPP_TRASH_DAYS = 7
SEGAPP_STORAGE_BYTES = env_int("SEGAPP_STORAGE_MB", 2048) * 2**20  # per visitor, originals and results included
SEGAPP_ADDRESS_BYTES = env_int("SEGAPP_ADDRESS_MB", 20000) * 2**20  # all visitors of one address; IPv6: of one /64
SEGAPP_SERVER_BYTES = env_int("SEGAPP_SERVER_MB", 0) * 2**20  # of all visitors; 0: 80 % of the disk
# Free room that uploads leave; unset: 2000 MB, and on small disks a tenth.
SEGAPP_FREE_BYTES = env_int("SEGAPP_FREE_MB", 2000) * 2**20 if os.environ.get("SEGAPP_FREE_MB") else None

address = urlparse(SEGAPP_URL)
if address.scheme not in ("http", "https") or not address.hostname:
    raise ImproperlyConfigured(
        f"SEGAPP_URL is '{SEGAPP_URL}'. Set it to the public address, like https://seg.example.org."
    )
SECURE = address.scheme == "https"

# Whether a proxy stands in front, whose last X-Forwarded-For says who is asking; one does where https is.
PROXY = env_flag("SEGAPP_PROXY", SECURE)

DEBUG = env_flag("SEGAPP_DEBUG", False)
KEYLESS = env_flag("SEGAPP_KEYLESS", False)  # set for workers, which decode uploaded files and sign nothing
SECRET_KEY, *SECRET_KEY_FALLBACKS = (not KEYLESS and secret_keys(SEGAPP_HOME)) or [""]
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", address.hostname, *os.environ.get("SEGAPP_HOSTS", "").split()]

# --- the site ------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "whitenoise.runserver_nostatic",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "csp",
    "django_htmx",
    "template_partials",
    "registry",
    "segapp",
]
MIDDLEWARE = [
    "segapp.logs.RequestId",
    "segapp.probes.Probes",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "segapp.visitors.VisitorMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "segapp.error_responses.ErrorResponses",  # before the CSRF check, which reads the whole upload
    "segapp.bearer.BearerMiddleware",
    "segapp.under_way.UnderWayMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "segapp.urls"
WSGI_APPLICATION = "segapp.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [PROJECT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "segapp.context.status",
                "segapp.context.file_formats",
            ],
        },
    },
]
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- database ------------------------------------------------------------------------------------------
DATABASES = {"default": dj_database_url.config(default=f"sqlite:///{SEGAPP_HOME / 'var' / 'segapp.sqlite3'}")}
if "sqlite" in DATABASES["default"]["ENGINE"]:
    # Writers queue (immediate transactions) instead of failing half-way; readers never wait (WAL). Every thread of the
    # web server has a connection with pages of its own in memory, 2 MB by SQLite's default.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-512;",
    }
    DATABASES["default"]["TEST"] = {"NAME": str(SEGAPP_HOME / "var" / "test.sqlite3")}
else:
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
# Opening one costs more than most queries, and in PostgreSQL, whose caches a connection has to fill, more than most
# pages. Each of the web server's threads has one and is asked now and then, so a short time would slow many pages down.
DATABASES["default"]["CONN_MAX_AGE"] = 600

# --- broker --------------------------------------------------------------------------------------------
REDIS_URL = os.environ.get("REDIS_URL", "")
REDIS_SOCKET = redis_socket(SEGAPP_HOME)
BROKER_TIMEOUT = 1.0  # seconds; a frozen broker must not hold a page for more than a few of these

# --- files ---------------------------------------------------------------------------------------------
MEDIA_ROOT = SEGAPP_HOME / "media"  # nothing below it is served by its path: views check the owner
STATIC_URL = "/static/"
STATICFILES_DIRS = [PROJECT / "static"]
STATIC_ROOT = SEGAPP_HOME / "var" / "static"
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "segapp.static_storage.ModuleStaticFilesStorage"},
}
if "test" in sys.argv or "pytest" in sys.modules or DEBUG:
    STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
SEGAPP_MEDIA = os.environ.get("SEGAPP_MEDIA", "")
if SEGAPP_MEDIA:
    # A bucket that all machines share; MEDIA_ROOT is then this machine's working copy (registry/store.py).
    try:
        from botocore.config import Config
    except ImportError:
        raise ImproperlyConfigured("SEGAPP_MEDIA needs more packages: pip install -r requirements-s3.txt") from None
    bucket = urlparse(SEGAPP_MEDIA)
    if bucket.scheme != "s3" or not bucket.hostname:
        raise ImproperlyConfigured(f"SEGAPP_MEDIA is '{SEGAPP_MEDIA}'. Set it like s3://bucket or s3://bucket/folder.")
    endpoint = os.environ.get("SEGAPP_S3_ENDPOINT") or None  # of another service than Amazon's
    STORAGES["default"] = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": bucket.netloc,
            "location": bucket.path.strip("/"),
            "endpoint_url": endpoint,
            "region_name": os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
            "client_config": Config(
                s3={"addressing_style": "path" if endpoint else "auto"},
                connect_timeout=3,
                read_timeout=30,
                retries={"mode": "standard", "total_max_attempts": 3},
                request_checksum_calculation="when_required",  # not every service knows the newer ones
                response_checksum_validation="when_required",
            ),
            "default_acl": None,  # the bucket's own: private
            "file_overwrite": True,
            "max_memory_size": 8 * 2**20,
        },
    }
WHITENOISE_USE_FINDERS = DEBUG or "pytest" in sys.modules

# --- uploads -------------------------------------------------------------------------------------------
VIDEO_LIMIT_BYTES = env_int("SEGAPP_VIDEO_MB", 200) * 10**6
UPLOAD_LIMIT_BYTES = max(formats.MAX_POST_BYTES, VIDEO_LIMIT_BYTES)  # of one post
IMAGE_LIMIT_BYTES = max(200, env_int("SEGAPP_IMAGE_MB", 2000)) * 10**6  # of a TIFF to analyze
UPLOAD_LIMIT_FILES = formats.MAX_POST_FILES
BATCH_LIMIT_BYTES = max(200, env_int("SEGAPP_BATCH_MB", 1000)) * 10**6  # of one batch, packed and unpacked
BATCH_LIMIT_FILES = max(UPLOAD_LIMIT_FILES, env_int("SEGAPP_BATCH_FILES", 500))
VIDEO_LIMIT_SECONDS = env_int("SEGAPP_VIDEO_SECONDS", 600)
VIDEO_LIMIT_PIXELS = env_int("SEGAPP_VIDEO_PIXELS", 3840 * 2160)  # of one frame
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 2**20
DATA_UPLOAD_MAX_NUMBER_FILES = BATCH_LIMIT_FILES + 1  # one more gets through, to be refused in plain words
FILE_UPLOAD_MAX_MEMORY_SIZE = 2 * 2**20
FILE_UPLOAD_TEMP_DIR = SEGAPP_HOME / "var" / "tmp"  # /tmp is often memory

# --- security ------------------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "blob:", "data:"],
        "media-src": [SELF, "blob:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "worker-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "manifest-src": [SELF],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "segapp.error_responses.csrf_failure"
if SECURE:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^api/health$", r"^live$", r"^ready$"]  # health checks of containers speak plain http
    SECURE_HSTS_SECONDS = 31536000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    # A promise that cannot be taken back for months, so only who asks for it makes it.
    SECURE_HSTS_PRELOAD = env_flag("SEGAPP_HSTS_PRELOAD", False)
    SILENCED_SYSTEM_CHECKS = [] if SECURE_HSTS_PRELOAD else ["security.W021"]
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    CSRF_TRUSTED_ORIGINS = [f"{address.scheme}://{address.netloc}"]

LOG_FORMAT = os.environ.get("SEGAPP_LOG") or "text"
if LOG_FORMAT not in ("text", "json"):
    raise ImproperlyConfigured(f"SEGAPP_LOG is '{LOG_FORMAT}'. Set it to text or json.")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request": {"()": "segapp.logs.AddRequestId"}},
    "formatters": {
        "text": {"format": "%(levelname)s %(name)s [%(request_id)s]: %(message)s"},
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": "%(asctime)s %(levelname)s %(name)s %(request_id)s %(message)s",
            "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
        },
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT, "filters": ["request"]}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "segapp": {"level": "INFO"},
        "registry": {"level": "INFO"},
        "waitress.queue": {"level": "ERROR"},  # a request that waits for a thread is no news
    },
}
