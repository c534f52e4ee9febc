"""The bodies that the JSON API answers with, as types.

One definition for three readers: mypy checks the code that makes a body against it, /api/openapi.json is derived from
it (msgspec), and the tests hold every real answer against it. Addresses are paths on this server.
"""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from segapp.imaging.formats import MAX_CLASSES
from segapp.models import DeliveryState, Event, ExportFormat, ItemState, Scope, State


def _one_of(values: Any, description: str, example: str) -> Meta:
    """A text that is one of `values`; the rows it comes from know it as plain text."""
    return Meta(description=description, examples=[example], extra_json_schema={"enum": [str(v) for v in values]})


RunState = Annotated[str, _one_of(State.values, "Where the work stands", "done")]
Fraction = Annotated[float, Meta(ge=0, le=1, description="From 0 to 1", examples=[1.0])]
Eta = Annotated[float | None, Meta(description="Seconds left, as far as is known", examples=[0])]
QueuePosition = Annotated[int, Meta(ge=0, description="How many stand before it in the queue at most", examples=[0])]
WaitSeconds = Annotated[
    float | None,
    Meta(description="How long it is likely to wait, as the latest ones took; null: not known", examples=[0]),
]
Time = Annotated[str, Meta(description="ISO 8601, UTC", examples=["2026-05-04T10:20:30+00:00"])]
Message = Annotated[
    str, Meta(description="What happened, for people; empty when there is nothing to say", examples=[""])
]
Sha256 = Annotated[str, Meta(description="Of the model's file; empty before it has answered", examples=["3f8a…"])]
ModelKey = Annotated[str, Meta(description="`user_<id>`, or a base's key", examples=["user_5tPq0aXbW2kYl3mN"])]
Notes = Annotated[
    list[str],
    Meta(description="What was decided about the files, and what looks odd", examples=[["Page 1 of 3 is used."]]),
]
ClassId = Annotated[int, Meta(ge=0, le=255, description="The class's value in masks", examples=[1])]
ClassName = Annotated[str, Meta(examples=["leaf"])]
Color = Annotated[str, Meta(pattern="^#[0-9a-fA-F]{6}$", examples=["#2f7d4f"])]
Figure = Annotated[float | None, Meta(description="0 to 1; null where it could not be computed", examples=[0.87])]


class ErrorFile(TypedDict):
    file: Annotated[str, Meta(description="The file's name; empty when the message is about all", examples=["a.png"])]
    message: Annotated[str, Meta(examples=["The file is empty. Save or upload it again."])]


class ErrorDetail(TypedDict):
    code: Annotated[str, Meta(description="What kind of error, for programs", examples=["refused"])]
    message: Annotated[str, Meta(description="What happened and what to do, for people")]
    files: NotRequired[Annotated[list[ErrorFile], Meta(description="The files that are at fault")]]


class Error(TypedDict):
    """The one shape of every error."""

    error: ErrorDetail


# --- health -------------------------------------------------------------------------------------------------


class BaseInfo(TypedDict):
    key: Annotated[str, Meta(examples=["mit_b3"])]
    name: Annotated[str, Meta(examples=["MiT-B3"])]
    weights: Annotated[str, Meta(description="Where its weights came from", examples=["packaged"])]


class WorkerInfo(TypedDict):
    name: Annotated[str, Meta(examples=["host:1b2c3d4e:512:90211"])]
    queues: Annotated[str, Meta(description="The queues it works on", examples=["predict"])]
    device: Annotated[str, Meta(examples=["CPU"])]
    ready: Annotated[bool, Meta(description="Whether its base network is in memory", examples=[True])]
    info: Annotated[dict[str, Any], Meta(description="Counters of its cache, memory", examples=[{"memory_mb": 812}])]


class Preparing(TypedDict):
    """The base that SEGAPP_BASE names while it is being made ready; another one answers until then."""

    key: Annotated[str, Meta(examples=["mit_b3"])]
    name: Annotated[str, Meta(examples=["MiT-B3"])]
    state: Annotated[Literal["queued", "running", "failed"], Meta(examples=["running"])]
    progress: Annotated[float, Meta(description="0 to 1", examples=[0.42])]
    eta_seconds: Annotated[float | None, Meta(description="Null until that is known", examples=[180.0])]
    message: Annotated[str, Meta(description="What it is doing, or what failed and what to do, in words")]


class Health(TypedDict):
    status: Annotated[Literal["ok", "warming", "no_base"], Meta(examples=["ok"])]
    device: Annotated[str, Meta(description="What the workers compute on", examples=["CPU"])]
    active_model: ModelKey
    active_model_name: Annotated[str, Meta(examples=["Custom Model"])]
    base: BaseInfo | None
    preparing: Annotated[Preparing | None, Meta(description="The base that is being made ready", examples=[None])]
    workers: list[WorkerInfo]
    notice: Annotated[
        str | None, Meta(description="Why the visitor's model is not the one in use; null when it is", examples=[None])
    ]


# --- training -----------------------------------------------------------------------------------------------


class RunAccepted(TypedDict):
    run_id: Annotated[str, Meta(examples=["9uVq1hZr4cTe6sLd"])]
    status_url: Annotated[
        str, Meta(description="Where to ask how far it is", examples=["/api/finetune/9uVq1hZr4cTe6sLd"])
    ]
    notes: Notes


class Baseline(TypedDict):
    kind: Annotated[Literal["base", "trivial"], Meta(description="What the model is compared with", examples=["base"])]
    miou: Figure


class ClassScore(TypedDict):
    """The figures of what the model is compared with are null for the kind that it is not, or absent."""

    id: ClassId
    name: ClassName
    iou: Figure
    dice: Figure
    base_iou: NotRequired[Figure]
    base_dice: NotRequired[Figure]
    trivial_iou: NotRequired[Figure]
    trivial_dice: NotRequired[Figure]
    images: Annotated[int, Meta(description="Held-out images that show it", examples=[5])]


class KnownClass(TypedDict):
    name: ClassName
    color: Color


class HeldOutImage(TypedDict):
    index: Annotated[int, Meta(examples=[0])]
    stem: Annotated[str, Meta(description="The image's name without its ending", examples=["leaf_03"])]
    base: Annotated[bool, Meta(description="Whether the base model's result was drawn, too", examples=[True])]
    knows: Annotated[list[KnownClass], Meta(description="What the base found where its classes are others")]


class RunMetrics(TypedDict, total=False):
    """Scores on images that the scored model had not seen. While a training runs, `comparison` alone."""

    miou: Figure
    dice: Figure
    per_class: list[ClassScore]
    comparison: Baseline
    better: Annotated[bool, Meta(description="Than what it is compared with", examples=[True])]
    held_out: Annotated[str, Meta(description="How the scores were made")]
    sentence: Annotated[str, Meta(description="The scores in words")]
    choices: Annotated[list[str], Meta(description="What the training chose, and why")]
    held_out_images: list[HeldOutImage]


class Run(TypedDict):
    run_id: Annotated[str, Meta(examples=["9uVq1hZr4cTe6sLd"])]
    state: RunState
    progress: Fraction
    eta_seconds: Eta
    queue_position: QueuePosition
    wait_seconds: WaitSeconds
    loss: Annotated[list[float], Meta(description="The loss so far, thinned", examples=[[1.2, 0.4]])]
    scores: Annotated[
        list[tuple[float, float]], Meta(description="Progress and held-out mIoU", examples=[[[0.2, 0.61], [0.8, 0.83]]])
    ]
    metrics: RunMetrics
    user_id: Annotated[str | None, Meta(description="The model's id, once there is one", examples=["5tPq0aXbW2kYl3mN"])]
    model_path: Annotated[str | None, Meta(examples=["models/user_5tPq0aXbW2kYl3mN.pth"])]
    restore_token: Annotated[str | None, Meta(description="Makes another client this visitor; keep it secret")]
    active: Annotated[bool, Meta(description="Whether its model is the one in use", examples=[True])]
    message: Message


# --- one image ----------------------------------------------------------------------------------------------


class ClassArea(TypedDict):
    id: ClassId
    name: ClassName
    color: Color
    pixels: Annotated[int, Meta(ge=0, examples=[48213])]
    percent: Annotated[float, Meta(ge=0, le=100, examples=[18.39])]
    things: NotRequired[Annotated[bool, Meta(description="Whether its objects are counted", examples=[True])]]
    objects_mean: NotRequired[Annotated[float, Meta(description="Of a video: objects in a frame", examples=[7.4])]]
    objects_most: NotRequired[Annotated[int, Meta(description="Of a video: most in a frame", examples=[12])]]


class Analysis(TypedDict):
    analysis_id: Annotated[str, Meta(examples=["Jd0sWq7RtZ2mVb5x"])]
    model_key: ModelKey
    model_name: Annotated[str, Meta(examples=["Leaves"])]
    model_sha256: Sha256
    base: Annotated[str, Meta(description="Key of the base the model stands on", examples=["mit_b3"])]
    width: Annotated[int, Meta(ge=1, examples=[512])]
    height: Annotated[int, Meta(ge=1, examples=[512])]
    classes: Annotated[list[ClassArea], Meta(max_length=MAX_CLASSES)]
    inference_ms: Annotated[float | None, Meta(examples=[184.2])]
    timings: Annotated[dict[str, float], Meta(description="Milliseconds by stage", examples=[{"decode_ms": 4.1}])]
    notice: Annotated[str | None, Meta(description="Why another model than asked for answered", examples=[None])]
    notes: Notes
    mask_url: Annotated[
        str,
        Meta(
            description="Class ids as palette PNG, or tiled TIFF of a large image", examples=["/files/analyses/…/mask"]
        ),
    ]
    overlay_url: Annotated[str, Meta(description="The image with its classes over it", examples=["/files/…/overlay"])]
    confidence_url: Annotated[str, Meta(description="Grey PNG, white is sure", examples=["/files/…/confidence"])]


class AnalysisProgress(TypedDict):
    """An image over 50 megapixels that is not done: it is read in parts."""

    analysis_id: Annotated[str, Meta(examples=["Jd0sWq7RtZ2mVb5x"])]
    model_key: ModelKey
    state: Annotated[str, _one_of(State.values, "Where the work stands", "running")]
    progress: Annotated[float, Meta(ge=0, le=1, description="From 0 to 1", examples=[0.4])]
    queue_position: QueuePosition
    wait_seconds: WaitSeconds
    message: Message


class AnalysisAccepted(AnalysisProgress):
    """An image over 50 megapixels: it is read in parts, and asked for later."""

    status_url: Annotated[
        str, Meta(description="Where to ask how far it is", examples=["/api/segment/Jd0sWq7RtZ2mVb5x"])
    ]


class LargeAnalysis(Analysis):
    """The result of an image over 50 megapixels."""

    state: RunState
    progress: Fraction
    queue_position: QueuePosition
    wait_seconds: WaitSeconds
    message: Message


class CountedClass(TypedDict):
    """A class of an image, and what its objects are where they are counted."""

    id: ClassId
    name: ClassName
    color: Color
    things: Annotated[bool, Meta(description="Whether its objects are counted", examples=[True])]
    pixels: Annotated[int, Meta(ge=0, examples=[48213])]
    percent: Annotated[float, Meta(ge=0, le=100, examples=[18.39])]
    count: NotRequired[Annotated[int, Meta(ge=0, examples=[42])]]
    object_area_px: NotRequired[Annotated[int, Meta(description="What they cover together", examples=[48213])]]
    mean_area_px: NotRequired[Annotated[float, Meta(examples=[1147.93])]]
    per_megapixel: NotRequired[Annotated[float, Meta(description="Their density", examples=[160.2])]]


class Objects(TypedDict):
    """What was counted and measured; `objects` is null where it could not be, and `objects_message` says why."""

    objects: Annotated[dict[str, int] | None, Meta(description="Count by class id", examples=[{"1": 42}])]
    objects_message: Annotated[str | None, Meta(examples=[None])]
    objects_total: NotRequired[Annotated[int, Meta(ge=0, examples=[42])]]
    objects_by_class: NotRequired[list[CountedClass]]
    scale: NotRequired[
        Annotated[str | None, Meta(description="Pixel size, for people", examples=["0.65 µm per pixel, typed in"])]
    ]
    pixel_size_um: NotRequired[
        Annotated[list[float] | None, Meta(description="Width and height; null unknown", examples=[[0.65, 0.65]])]
    ]
    objects_url: NotRequired[Annotated[str, Meta(description="CSV, one row an object", examples=["/files/…/csv"])]]
    geojson_url: NotRequired[Annotated[str, Meta(description="One feature an object", examples=["/files/…/geojson"])]]
    instances_url: NotRequired[
        Annotated[str, Meta(description="16-bit PNG of object numbers", examples=["/files/…/instances"])]
    ]
    object_files: NotRequired[
        Annotated[dict[str, str], Meta(description="Every format by its key", examples=[{"coco": "/files/…/coco"}])]
    ]


class MeasuredAnalysis(Analysis, Objects):
    """A result whose objects were asked for."""


class MeasuredLargeAnalysis(LargeAnalysis, Objects):
    """The same of an image over 50 megapixels."""


# --- many images, and videos ----------------------------------------------------------------------------------


class BatchAccepted(TypedDict):
    batch_id: Annotated[str, Meta(examples=["b2Lx8FhQw1nT5kRc"])]
    status_url: Annotated[str, Meta(description="Where to ask how far it is", examples=["/api/batch/b2Lx8FhQw1nT5kRc"])]


class BatchFileObjects(TypedDict, total=False):
    """What an image of a batch also has when objects were asked for; null before it is done, or without a count."""

    objects: Annotated[
        dict[str, int] | None, Meta(description="Count by class id, where it was asked for", examples=[{"1": 42}])
    ]
    geojson_url: Annotated[str | None, Meta(examples=["/analyze/batch/…/files/1/polygons"])]
    instances_url: Annotated[str | None, Meta(examples=["/analyze/batch/…/files/1/instances"])]
    scale: Annotated[str | None, Meta(description="Pixel size", examples=["0.65 µm per pixel, typed in"])]


class BatchObjects(TypedDict, total=False):
    """What a batch also has when objects were asked for; addresses are null until the files are written."""

    objects: Annotated[dict[str, int], Meta(description="Count by class id over all images", examples=[{"1": 4210}])]
    objects_url: Annotated[
        str | None, Meta(description="CSV, one row an object", examples=["/analyze/batch/…/objects/csv"])
    ]
    objects_xlsx_url: Annotated[str | None, Meta(examples=["/analyze/batch/…/objects/xlsx"])]
    objects_by_class_url: Annotated[
        str | None, Meta(description="CSV, a row an image and class", examples=["/analyze/batch/…/objects/classes"])
    ]
    objects_coco_url: Annotated[
        str | None, Meta(description="COCO JSON of all images", examples=["/analyze/batch/…/objects/coco"])
    ]
    objects_yolo_url: Annotated[
        str | None, Meta(description="YOLO segmentation, a zip", examples=["/analyze/batch/…/objects/yolo"])
    ]


class BatchFile(BatchFileObjects):
    file: Annotated[str, Meta(description="Its name as it was sent", examples=["plot/a.jpg"])]
    stem: Annotated[str, Meta(description="Its name among the results", examples=["a"])]
    state: Annotated[str, _one_of(ItemState.values, "Where it stands", "done")]
    message: Message
    mask_url: Annotated[str | None, Meta(examples=["/analyze/batch/…/files/1/mask"])]
    overlay_url: Annotated[str | None, Meta(examples=["/analyze/batch/…/files/1/overlay"])]
    doubt: Annotated[
        float | None,
        Meta(description="Mean of 1 - confidence along the borders of its mask, 0 to 1", examples=[0.14]),
    ]


class Batch(BatchObjects):
    batch_id: Annotated[str, Meta(examples=["b2Lx8FhQw1nT5kRc"])]
    state: RunState
    progress: Fraction
    eta_seconds: Eta
    queue_position: QueuePosition
    wait_seconds: WaitSeconds
    total: Annotated[int, Meta(ge=0, examples=[120])]
    done: Annotated[int, Meta(ge=0, examples=[119])]
    failed: Annotated[int, Meta(ge=0, examples=[1])]
    model_key: ModelKey
    model_name: Annotated[str, Meta(examples=["Leaves"])]
    model_sha256: Sha256
    base: Annotated[str, Meta(examples=["mit_b3"])]
    classes: Annotated[list[ClassArea], Meta(description="Over all images that are done")]
    zip_url: Annotated[
        str | None, Meta(description="All results in one zip", examples=["/analyze/batch/…/results.zip"])
    ]
    table_url: Annotated[str | None, Meta(description="CSV", examples=["/analyze/batch/…/classes.csv"])]
    files: list[BatchFile]
    message: Message


class VideoAccepted(TypedDict):
    job_id: Annotated[str, Meta(examples=["v7Kd3MzYp0qS9wJf"])]
    status_url: Annotated[str, Meta(description="Where to ask how far it is", examples=["/api/video/v7Kd3MzYp0qS9wJf"])]


class VideoSource(TypedDict):
    """What was sent, as far as it is known."""

    width: Annotated[int | None, Meta(examples=[1280])]
    height: Annotated[int | None, Meta(examples=[720])]
    seconds: Annotated[float | None, Meta(examples=[12.4])]
    frames: Annotated[int | None, Meta(examples=[310])]
    rate: Annotated[str | None, Meta(description="Frames a second, as a fraction", examples=["25"])]
    audio: Annotated[str | None, Meta(description="Codec of the sound; empty without", examples=["aac"])]


class DoubtfulMoment(TypedDict):
    seconds: Annotated[float, Meta(ge=0, examples=[12.4])]
    doubt: Annotated[float, Meta(ge=0, le=1, examples=[0.31])]
    frame: Annotated[int, Meta(ge=0, description="Its number, from 0", examples=[310])]


class Video(TypedDict):
    job_id: Annotated[str, Meta(examples=["v7Kd3MzYp0qS9wJf"])]
    state: RunState
    progress: Fraction
    eta_seconds: Eta
    queue_position: QueuePosition
    wait_seconds: WaitSeconds
    model_key: ModelKey
    model_name: Annotated[str, Meta(examples=["Leaves"])]
    model_sha256: Sha256
    base: Annotated[str, Meta(examples=["mit_b3"])]
    overlay_url: Annotated[str | None, Meta(description="MP4", examples=["/video/…/files/overlay.mp4"])]
    mask_url: Annotated[str | None, Meta(description="MP4", examples=["/video/…/files/mask.mp4"])]
    table_url: Annotated[
        str | None, Meta(description="CSV, a row for each frame", examples=["/video/…/files/frames.csv"])
    ]
    masks_url: Annotated[str | None, Meta(description="Zip of masks", examples=["/video/…/masks.zip"])]
    frames: Annotated[int, Meta(ge=0, examples=[310])]
    frames_skipped: Annotated[int, Meta(ge=0, description="That could not be decoded", examples=[0])]
    frames_per_second_predicted: Annotated[float | None, Meta(examples=[5])]
    segments_done: Annotated[int, Meta(ge=0, examples=[3])]
    source: VideoSource
    classes: Annotated[list[ClassArea], Meta(description="Of an average frame")]
    timeline: Annotated[
        list[tuple[float, dict[str, float]]],
        Meta(description="Seconds, and percent by class id", examples=[[[0.0, {"1": 18.4}]]]),
    ]
    object_timeline: Annotated[
        list[tuple[float, dict[str, float]]],
        Meta(description="Seconds, and mean count by class id; empty unless asked for", examples=[[[0.0, {"1": 7}]]]),
    ]
    doubtful: Annotated[
        list[DoubtfulMoment],
        Meta(description="At most five moments, the most doubtful first; empty until the video is done"),
    ]
    message: Message


# --- models -------------------------------------------------------------------------------------------------


class Done(TypedDict):
    status: Annotated[Literal["ok"], Meta(examples=["ok"])]


class Trashed(Done):
    restorable_for_days: Annotated[int, Meta(examples=[7])]


class ResetDone(Done):
    active_model: ModelKey


class Activated(ResetDone):
    model_key: ModelKey
    name: Annotated[str, Meta(examples=["Leaves"])]


class ModelClass(TypedDict):
    id: ClassId
    name: ClassName
    color: Color
    things: NotRequired[Annotated[bool, Meta(description="Whether its objects are counted", examples=[True])]]


class Model(TypedDict):
    id: Annotated[str, Meta(examples=["5tPq0aXbW2kYl3mN"])]
    key: ModelKey
    name: Annotated[str, Meta(examples=["Leaves"])]
    active: Annotated[bool, Meta(examples=[True])]
    file_state: Annotated[str, Meta(description="`ok`, or why it cannot answer", examples=["ok"])]
    base: Annotated[str, Meta(examples=["mit_b3"])]
    classes: list[ModelClass]
    metrics: RunMetrics
    sha256: Sha256
    size_bytes: Annotated[int, Meta(ge=0, examples=[7130201])]
    seconds: Annotated[float, Meta(description="That the training took", examples=[48.1])]
    image_count: Annotated[int, Meta(ge=0, examples=[5])]
    parent: Annotated[str | None, Meta(description="Key of the model it was trained on from", examples=[None])]
    created: Time


class Models(TypedDict):
    models: Annotated[list[Model], Meta(description="The visitor's own, newest first")]


class Export(TypedDict):
    format: Annotated[str, _one_of(ExportFormat.values, "Of the file", "onnx")]
    state: RunState
    progress: Fraction
    eta_seconds: Eta
    message: Message
    file: Annotated[str, Meta(description="The file's name", examples=["user_5tPq0aXbW2kYl3mN.onnx"])]
    file_url: Annotated[str | None, Meta(examples=["/models/…/export/onnx/file/"])]
    size_bytes: Annotated[int, Meta(ge=0, examples=[14211034])]
    sha256: Sha256
    status_url: Annotated[
        str, Meta(description="Where to ask how far it is", examples=["/api/models/5tPq0aXbW2kYl3mN/exports/onnx"])
    ]


class Share(TypedDict):
    token: Annotated[str, Meta(examples=["x2mV8…"])]
    url: Annotated[
        str, Meta(description="The page for those who have the link", examples=["http://127.0.0.1:8000/shared/x2mV8…/"])
    ]
    label: Annotated[str, Meta(examples=["for the field team"])]
    uses: Annotated[int, Meta(ge=0, examples=[3])]
    created: Time
    last_used: Annotated[str | None, Meta(examples=[None])]


class Shares(TypedDict):
    shares: list[Share]


# --- keys ---------------------------------------------------------------------------------------------------


class Key(TypedDict):
    id: Annotated[str, Meta(examples=["pQ4rT6yU8iO0aS2d"])]
    name: Annotated[str, Meta(examples=["lab robot"])]
    scope: Annotated[str, _one_of(Scope.values, "`predict`: segment images and videos; `all`: everything", "predict")]
    created: Time
    expires: Annotated[str | None, Meta(description="null: never", examples=["2027-05-04T10:20:30+00:00"])]
    last_used: Annotated[str | None, Meta(description="To the minute; null: not yet", examples=[None])]


class NewKey(Key):
    key: Annotated[str, Meta(description="The key itself, shown this once", examples=["segapp_…"])]


class Keys(TypedDict):
    keys: Annotated[list[Key], Meta(description="Newest first")]


# --- webhooks -----------------------------------------------------------------------------------------------


class Hook(TypedDict):
    id: Annotated[str, Meta(examples=["h7Gf5dS3aQ1wE9rT"])]
    url: Annotated[str, Meta(examples=["https://lab.example.org/segapp"])]
    events: Annotated[list[str], Meta(description="Which ends it is notified of", examples=[["training", "batch"]])]
    created: Time


class NewHook(Hook):
    secret: Annotated[str, Meta(description="What deliveries are signed with, shown this once", examples=["whsec_…"])]


class Hooks(TypedDict):
    hooks: Annotated[list[Hook], Meta(description="Oldest first")]


class Delivery(TypedDict):
    id: Annotated[str, Meta(description="As the header `webhook-id` has it", examples=["d2Fg4hJ6kL8zX0cV"])]
    event: Annotated[str, _one_of([*Event.values, "test"], "What ended", "batch")]
    subject: Annotated[str, Meta(description="The id of what ended", examples=["b9Vn7cM5xZ3lK1jH"])]
    state: Annotated[str, _one_of(DeliveryState.values, "Whether it has arrived", "delivered")]
    attempts: Annotated[int, Meta(ge=0, examples=[1])]
    status: Annotated[int | None, Meta(description="HTTP status of the last answer, if any", examples=[204])]
    message: Message
    created: Time
    ended: Annotated[str | None, Meta(description="null: it is still tried", examples=["2026-05-04T10:20:31+00:00"])]


class Deliveries(TypedDict):
    deliveries: Annotated[list[Delivery], Meta(description="The latest 20, newest first")]
