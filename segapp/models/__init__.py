"""The site's rows and the transitions between their states, a file for each kind.

Knows nothing of requests, tasks or torch.
"""

from segapp.models.analysis import Analysis
from segapp.models.api_key import ApiKey, Scope
from segapp.models.base_preparation import BasePreparation, Phase
from segapp.models.batch import Batch, BatchItem, ItemState
from segapp.models.export import Export, ExportFormat
from segapp.models.hook import Delivery, DeliveryState, Event, Hook
from segapp.models.ledger import LedgerEntry
from segapp.models.measurement import Measurement
from segapp.models.painting import Painting, PaintingQuerySet
from segapp.models.sharing import ModelShare, TransferCode
from segapp.models.training import Effort, Example, TrainingRun
from segapp.models.training_set import TrainingSet
from segapp.models.video import VideoJob
from segapp.models.visitor import RestoreUse, VisitorAlias, VisitorMove
from segapp.models.work import MAX_ATTEMPTS, UNFINISHED, Pinned, State, Stop, Work, WorkQuerySet
from segapp.models.worker import Worker, WorkerQuerySet

__all__ = [
    "MAX_ATTEMPTS",
    "UNFINISHED",
    "Analysis",
    "ApiKey",
    "BasePreparation",
    "Batch",
    "BatchItem",
    "Delivery",
    "DeliveryState",
    "Effort",
    "Event",
    "Example",
    "Export",
    "ExportFormat",
    "Hook",
    "ItemState",
    "LedgerEntry",
    "Measurement",
    "ModelShare",
    "Painting",
    "PaintingQuerySet",
    "Phase",
    "Pinned",
    "RestoreUse",
    "Scope",
    "State",
    "Stop",
    "TrainingRun",
    "TrainingSet",
    "TransferCode",
    "VideoJob",
    "VisitorAlias",
    "VisitorMove",
    "Work",
    "WorkQuerySet",
    "Worker",
    "WorkerQuerySet",
]
