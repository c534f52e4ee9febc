"""Train segmentation models from a few images and use them, through a Segapp server.

from segapp_client import Segapp

with Segapp("https://seg.example.org", key="segapp_…") as segapp:
    model = segapp.finetune("images/", "masks/")
    result = model.segment("new.png")
    result.mask     # class ids, uint8 (H, W)
    result.objects  # one row for each object
"""

from segapp_client.aio import AsyncBatch, AsyncModel, AsyncRun, AsyncSegapp, AsyncVideo
from segapp_client.client import Batch, Model, Run, Segapp, Video
from segapp_client.errors import (
    AlreadyTraining,
    BadRequest,
    Conflict,
    ConnectionFailed,
    FileProblem,
    Invalid,
    InvalidFile,
    InvalidKey,
    JobCancelled,
    JobFailed,
    NotAllowed,
    NotFound,
    RateLimited,
    SegappError,
    ServerError,
    TimedOut,
    TooLarge,
    Unavailable,
)
from segapp_client.hooks import HookEvent, InvalidSignature, read_hook
from segapp_client.results import ApiKey, BatchFile, ClassArea, Mask, Objects, Progress, Segmentation

__version__ = "1.0.0"

__all__ = [
    "AlreadyTraining",
    "ApiKey",
    "AsyncBatch",
    "AsyncModel",
    "AsyncRun",
    "AsyncSegapp",
    "AsyncVideo",
    "BadRequest",
    "Batch",
    "BatchFile",
    "ClassArea",
    "Conflict",
    "ConnectionFailed",
    "FileProblem",
    "HookEvent",
    "Invalid",
    "InvalidFile",
    "InvalidKey",
    "InvalidSignature",
    "JobCancelled",
    "JobFailed",
    "Mask",
    "Model",
    "NotAllowed",
    "NotFound",
    "Objects",
    "Progress",
    "RateLimited",
    "Run",
    "Segapp",
    "SegappError",
    "Segmentation",
    "ServerError",
    "TimedOut",
    "TooLarge",
    "Unavailable",
    "Video",
    "read_hook",
]
