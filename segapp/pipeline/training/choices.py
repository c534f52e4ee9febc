"""What a training chose and why, in sentences for the visitor."""

from segapp.pipeline.training.job import Job


def choices_of(job: Job) -> list[str]:
    """What the training chose and why, a sentence each."""
    return [*_subject_choices(job), *_border_choices(job), *_size_choices(job)]


def _size_choices(job: Job) -> list[str]:
    if job.size_gain is None:
        return []
    sizes = f"enlarged to {job.spec.input_size} pixels only instead of {job.base.spec.input_size}"
    return [f"Your images are small and are {sizes}: {job.size_gain:+.2f} mean IoU on held-out images."]


def _border_choices(job: Job) -> list[str]:
    if job.guided_gain is None:
        return []
    found = f"{job.guided_gain:+.2f} mean IoU on held-out images"
    if job.guided:
        return [f"Borders follow the edges of the image: {found}."]
    return [f"Borders stay as the network draws them: following the edges of the image gave {found}."]


def _subject_choices(job: Job) -> list[str]:
    if job.fits_head_only:
        return [
            "The base model knows this subject, so only its last layer was fitted, to its own answers and the strokes."
        ]
    if not job.adapts:
        far = "all of the way" if job.alpha == 1.0 else f"{job.alpha:.0%} of the way"
        return [f"The base model knows this subject, so training went {far} from it: as far as held-out images gained."]
    notes = ["The subject is new to the base model, so the deepest part of its encoder was adapted as well."]
    if job.mirrored:
        notes.append("It looks at every image twice, once mirrored: up to twice as long, and a little better.")
    if job.detail_gain is None:
        return notes
    if job.use_detail:
        return [*notes, f"Fine texture helped: {job.detail_gain:+.2f} mean IoU on held-out images."]
    return [*notes, f"Fine texture did not help ({job.detail_gain:+.2f} mean IoU on held-out images) and is not used."]
