"""What is said of a result: how the classes fare, and what would help next."""

from segapp.views.finetune_context import advice, verdict


def row(name: str, iou: float | None, base: float | None = None, images: int = 5) -> dict:
    return {"name": name, "iou": iou, "base_iou": base, "images": images}


def of(*rows: dict) -> dict:
    return {"per_class": list(rows)}


def test_classes_are_compared_with_the_base_and_the_weakest_is_named():
    metrics = of(row("road", 0.9, 0.5), row("car", 0.7, 0.8), row("fence", 0.2, 0.1, images=2))
    words = "Better than the base model on 2 of 3 classes; weakest: “fence” (0.20), seen in 2 images."
    assert verdict(metrics) == words


def test_without_a_base_to_compare_the_strongest_is_named_too():
    assert verdict(of(row("soil", 0.97), row("spot", 0.58, images=1))) == (
        "Strongest: “soil” (0.97); weakest: “spot” (0.58), seen in 1 image."
    )
    assert verdict(of(row("soil", 1.0))) == "“soil” reaches 1.00."
    assert verdict(of(row("soil", None))) == verdict({}) == ""


def test_a_weak_class_that_was_hardly_seen_needs_more_images():
    assert "Add 3 or more images that show “fence”: so far 1 image did." in advice(of(row("fence", 0.2, images=1)))


def test_a_weak_class_that_was_often_seen_needs_a_look_at_its_masks():
    words = advice(of(row("road", 0.9), row("pole", 0.1, images=5)))
    assert "“pole” is in 5 images and still weak" in words and "masks are exact" in words


def test_a_class_that_could_not_be_tested_is_named_first():
    assert advice(of(row("road", 0.9), row("boat", None, images=0))).startswith("“boat” could not be tested")


def test_a_good_result_says_what_to_try_and_suggests_no_more_work():
    words = advice(of(row("road", 0.9), row("car", 0.8)))
    assert words == "Nothing urgent. Try it on images from elsewhere, and add those where it fails."
    assert "thorough" in advice(of(row("car", 0.6))) and "thorough" not in advice(of(row("car", 0.6)), "thorough")
    assert advice({}) == ""
