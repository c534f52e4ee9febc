"""Addresses, grouped by page; names are those of the views. The API's are in segapp/api/urls.py."""

from django.contrib import admin
from django.urls import include, path

from segapp.views import (
    admin_login,
    admin_overview,
    analyze,
    batch,
    compare,
    exports,
    files,
    finetune,
    home,
    hooks,
    keys,
    metrics,
    models,
    mydata,
    objects,
    paint,
    paint_live,
    privacy,
    reset,
    share,
    status,
    training_sets,
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
    path("reading/", finetune.reading, name="finetune-reading"),
    path("input/", finetune.image_input, name="finetune-input"),
    path("train/", finetune.train, name="finetune-train"),
    path("clear/", finetune.clear, name="finetune-clear"),
    path("examples/<str:public_id>/remove/", finetune.remove, name="finetune-remove"),
    path("runs/<str:public_id>/", finetune.run, name="finetune-run"),
    path("runs/<str:public_id>/stop/", finetune.stop, name="finetune-stop"),
    path("runs/<str:public_id>/again/", finetune.again, name="finetune-again"),
    path("runs/<str:public_id>/images.zip", training_sets.download_run, name="finetune-run-download"),
    path("images.zip", training_sets.download_drafts, name="finetune-download"),
]

training_set_urls = [
    path("save/", training_sets.save, name="finetune-set-save"),
    path("close/", training_sets.close, name="finetune-set-close"),
    path("<str:public_id>/open/", training_sets.open_set, name="finetune-set-open"),
    path("<str:public_id>/rename/", training_sets.rename, name="finetune-set-rename"),
    path("<str:public_id>/duplicate/", training_sets.duplicate, name="finetune-set-duplicate"),
    path("<str:public_id>/delete/", training_sets.delete, name="finetune-set-delete"),
    path("<str:public_id>/images.zip", training_sets.download_set, name="finetune-set-download"),
]

paint_urls = [
    path("", paint.begin, name="finetune-paint-begin"),
    path("afresh/", paint.start_new, name="finetune-start-new"),
    path("use-live/", paint_live.use_as_it_is, name="finetune-live-model"),
    path("on/<str:public_id>/", paint.train_on, name="finetune-train-on"),
    path("improve/<str:public_id>/", paint.improve, name="finetune-improve"),
    path("<str:public_id>/", paint.paint, name="finetune-paint"),
    path("<str:public_id>/mask", paint.mask, name="finetune-paint-mask"),
    path("<str:public_id>/live", paint_live.live, name="finetune-paint-live"),
    path("<str:public_id>/region", paint_live.region, name="finetune-paint-region"),
    path("<str:public_id>/proposal", paint_live.proposal, name="finetune-paint-proposal"),
    path("<str:public_id>/accept", paint_live.accept, name="finetune-paint-accept"),
    path("<str:public_id>/next", paint_live.next_image, name="finetune-paint-next"),
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
    path("<str:public_id>/objects/", objects.objects, name="analyze-objects"),
    path("<str:public_id>/classes.csv", analyze.table, name="analyze-table"),
    path("<str:public_id>/stop/", analyze.stop, name="analyze-stop"),
    path("<str:public_id>/delete/", analyze.delete, name="analyze-delete"),
    path("<str:public_id>/fix/", paint.fix, name="analyze-fix"),
]

batch_urls = [
    path("", batch.batch, name="analyze-batch"),
    path("<str:public_id>/", batch.batch_job, name="analyze-batch-job"),
    path("<str:public_id>/live/", batch.batch_live, name="analyze-batch-live"),
    path("<str:public_id>/stop/", batch.batch_stop, name="analyze-batch-stop"),
    path("<str:public_id>/delete/", batch.batch_delete, name="analyze-batch-delete"),
    path("<str:public_id>/results.zip", batch.batch_zip, name="analyze-batch-zip"),
    path("<str:public_id>/classes.csv", batch.batch_table, name="analyze-batch-table"),
    path("<str:public_id>/objects/<str:key>", batch.batch_objects, name="analyze-batch-objects"),
    path("<str:public_id>/fix/<int:number>/", batch.batch_fix, name="analyze-batch-fix"),
    path("<str:public_id>/files/<int:number>/colours", batch.batch_colours, name="analyze-batch-colours"),
    path("<str:public_id>/files/<int:number>/<str:kind>", batch.batch_file, name="analyze-batch-file"),
]

video_urls = [
    path("", video.video, name="video"),
    path("<str:public_id>/", video.video_job, name="video-job"),
    path("<str:public_id>/live/", video.video_live, name="video-live"),
    path("<str:public_id>/stop/", video.video_stop, name="video-stop"),
    path("<str:public_id>/delete/", video.video_delete, name="video-delete"),
    path("<str:public_id>/masks.zip", video.video_masks, name="video-masks"),
    path("<str:public_id>/files/<str:name>", video.video_file, name="video-file"),
]

models_urls = [
    path("", models.models, name="models"),
    path("compare/", compare.compare, name="models-compare"),
    path("keys/", keys.make, name="models-key-make"),
    path("keys/<str:public_id>/revoke/", keys.revoke, name="models-key-revoke"),
    path("hooks/", hooks.make, name="models-hook-make"),
    path("hooks/<str:public_id>/", hooks.hook, name="models-hook"),
    path("hooks/<str:public_id>/test/", hooks.test, name="models-hook-test"),
    path("hooks/<str:public_id>/delete/", hooks.delete, name="models-hook-delete"),
    path("erase/", mydata.erase, name="models-erase"),
    path("data.zip", mydata.download, name="models-data"),
    path("shares/<str:token>/revoke/", share.revoke, name="model-share-revoke"),
    path("<str:public_id>/share/", share.share, name="model-share"),
    path("<str:public_id>/export/<str:format>/", exports.export, name="model-export"),
    path("<str:public_id>/export/<str:format>/file/", exports.export_file, name="model-export-file"),
    path("<str:public_id>/", version.version, name="model"),
    path("<str:public_id>/activate/", models.activate, name="model-activate"),
    path("<str:public_id>/rename/", models.rename, name="model-rename"),
    path("<str:public_id>/things/", version.things, name="model-things"),
    path("<str:public_id>/delete/", models.delete, name="model-delete"),
    path("<str:public_id>/undelete/", models.undelete, name="model-undelete"),
    path("<str:public_id>/download/<str:kind>/", models.download, name="model-download"),
]

shared_urls = [
    path("<str:token>/", share.shared, name="shared"),
    path("<str:token>/<str:public_id>/", share.shared_result, name="shared-result"),
]

transfer_urls = [
    path("", transfer.enter, name="transfer"),
    path("make/", transfer.make, name="transfer-make"),
    path("sign-out-others/", transfer.sign_out_others, name="transfer-sign-out"),
    path("<str:public_id>/revoke/", transfer.revoke, name="transfer-revoke"),
]

files_urls = [
    path("examples/<str:public_id>/overlay", files.example_overlay, name="example-overlay"),
    path("examples/<str:public_id>/<str:kind>", files.example, name="example-file"),
    path("runs/<str:public_id>/<str:name>", files.run, name="run-file"),
    path("analyses/<str:public_id>/objects/<str:key>/<str:format>", files.analysis_objects, name="analysis-objects"),
    path("analyses/<str:public_id>/view/<str:kind>", files.analysis_view, name="analysis-view"),
    path("analyses/<str:public_id>/<str:kind>", files.analysis, name="analysis-file"),
    path("models/<str:public_id>/preview", files.model_preview, name="model-preview"),
]

urlpatterns = [
    path("", home.home, name="home"),
    path("status/", include(status_urls)),
    path("finetune/sets/", include(training_set_urls)),
    path("finetune/", include(finetune_urls)),
    path("analyze/batch/", include(batch_urls)),
    path("finetune/paint/", include(paint_urls)),
    path("analyze/", include(analyze_urls)),
    path("video/", include(video_urls)),
    path("models/", include(models_urls)),
    path("shared/", include(shared_urls)),
    path("transfer/", include(transfer_urls)),
    path("reset/", reset.reset, name="reset"),
    path("files/", include(files_urls)),
    path("api/", include("segapp.api.urls")),
    path("privacy/", privacy.privacy, name="privacy"),
    path("metrics", metrics.metrics, name="metrics"),
    path("admin/login/", admin_login.login),
    path("admin/overview/", admin.site.admin_view(admin_overview.overview), name="admin-overview"),
    path("admin/", admin.site.urls),
]

handler400 = "segapp.error_responses.bad_request"
handler403 = "segapp.error_responses.forbidden"
handler404 = "segapp.error_responses.not_found"
handler500 = "segapp.error_responses.server_error"
