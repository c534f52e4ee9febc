"""Addresses, grouped by page; names are those of the views."""

from django.contrib import admin
from django.urls import include, path

from segapp.views import (
    analyze,
    api,
    batch,
    compare,
    exports,
    files,
    finetune,
    home,
    metrics,
    models,
    mydata,
    paint,
    reset,
    share,
    status,
    transfer,
    version,
    video,
)

status_urls = [
    path("", status.status, name="status"),
    path("dismiss/", status.dismiss, name="status-dismiss"),
]

finetune_urls = [
    path("", finetune.finetune, name="finetune"),
    path("samples/", finetune.samples, name="finetune-samples"),
    path("classes/", finetune.classes, name="finetune-classes"),
    path("train/", finetune.train, name="finetune-train"),
    path("clear/", finetune.clear, name="finetune-clear"),
    path("examples/<str:public_id>/remove/", finetune.remove, name="finetune-remove"),
    path("runs/<str:public_id>/", finetune.run, name="finetune-run"),
    path("runs/<str:public_id>/stop/", finetune.stop, name="finetune-stop"),
    path("runs/<str:public_id>/again/", finetune.again, name="finetune-again"),
]

paint_urls = [
    path("", paint.begin, name="finetune-paint-begin"),
    path("afresh/", paint.afresh, name="finetune-afresh"),
    path("on/<str:public_id>/", paint.train_on, name="finetune-train-on"),
    path("improve/<str:public_id>/", paint.improve, name="finetune-improve"),
    path("<str:public_id>/", paint.paint, name="finetune-paint"),
    path("<str:public_id>/mask", paint.mask, name="finetune-paint-mask"),
    path("<str:public_id>/mask.png", paint.download, name="finetune-paint-download"),
    path("<str:public_id>/edit/", paint.to_edit, name="finetune-paint-edit"),
    path("<str:public_id>/classes/<int:number>/remove/", paint.forget_class, name="finetune-paint-forget"),
    path("<str:public_id>/nothing/", paint.nothing, name="finetune-paint-nothing"),
]

analyze_urls = [
    path("", analyze.analyze, name="analyze"),
    path("sample/", analyze.sample, name="analyze-sample"),
    path("strip/", analyze.strip, name="analyze-strip"),
    path("<str:public_id>/", analyze.result, name="analyze-result"),
    path("<str:public_id>/compare/", analyze.compare, name="analyze-compare"),
    path("<str:public_id>/classes.csv", analyze.table, name="analyze-table"),
    path("<str:public_id>/delete/", analyze.delete, name="analyze-delete"),
    path("<str:public_id>/fix/", paint.fix, name="analyze-fix"),
]

models_urls = [
    path("", models.models, name="models"),
    path("compare/", compare.compare, name="models-compare"),
    path("erase/", mydata.erase, name="models-erase"),
    path("shares/<str:token>/revoke/", share.revoke, name="model-share-revoke"),
    path("<str:public_id>/share/", share.share, name="model-share"),
    path("<str:public_id>/export/<str:format>/", exports.export, name="model-export"),
    path("<str:public_id>/export/<str:format>/file/", exports.export_file, name="model-export-file"),
    path("<str:public_id>/", version.version, name="model"),
    path("<str:public_id>/activate/", models.activate, name="model-activate"),
    path("<str:public_id>/rename/", models.rename, name="model-rename"),
    path("<str:public_id>/delete/", models.delete, name="model-delete"),
    path("<str:public_id>/undelete/", models.undelete, name="model-undelete"),
    path("<str:public_id>/download/<str:kind>/", models.download, name="model-download"),
]

files_urls = [
    path("examples/<str:public_id>/overlay", files.example_overlay, name="example-overlay"),
    path("examples/<str:public_id>/<str:kind>", files.example, name="example-file"),
    path("runs/<str:public_id>/<str:name>", files.run, name="run-file"),
    path("analyses/<str:public_id>/view/<str:kind>", files.analysis_view, name="analysis-view"),
    path("analyses/<str:public_id>/<str:kind>", files.analysis, name="analysis-file"),
    path("models/<str:public_id>/preview", files.model_preview, name="model-preview"),
]

urlpatterns = [
    path("", home.home, name="home"),
    path("status/", include(status_urls)),
    path("finetune/", include(finetune_urls)),
    path("analyze/batch/", include(batch.urlpatterns)),
    path("finetune/paint/", include(paint_urls)),
    path("analyze/", include(analyze_urls)),
    path("video/", include(video.urlpatterns)),
    path("models/", include(models_urls)),
    path("shared/", include(share.urlpatterns)),
    path("transfer/", include(transfer.urlpatterns)),
    path("reset/", reset.reset, name="reset"),
    path("files/", include(files_urls)),
    path("", include([*api.api_urlpatterns, *video.api_urlpatterns, *batch.api_urlpatterns, *share.api_urlpatterns])),
    path("metrics", metrics.metrics, name="metrics"),
    path("admin/", admin.site.urls),
]

handler400 = "segapp.failures.bad_request"
handler403 = "segapp.failures.forbidden"
handler404 = "segapp.failures.not_found"
handler500 = "segapp.failures.server_error"
