"""Addresses of the JSON API, below /api/."""

from django.urls import path

from segapp.api import described, exports, hooks, views

urlpatterns = [
    path("openapi.json", described.described, name="api-described"),
    path("docs", described.docs, name="api-docs"),
    path("health", views.health, name="api-health"),
    path("finetune", views.finetune, name="api-finetune"),
    path("finetune/<str:run_id>", views.run, name="api-run"),
    path("finetune/<str:run_id>/events", views.run_events, name="api-run-events"),
    path("finetune/<str:run_id>/stop", views.run_stop, name="api-run-stop"),
    path("segment", views.segment, name="api-segment"),
    path("segment/<str:analysis_id>", views.segment_result, name="api-segment-result"),
    path("segment/<str:analysis_id>/objects", views.segment_objects, name="api-segment-objects"),
    path("segment/<str:analysis_id>/stop", views.segment_stop, name="api-segment-stop"),
    path("batch", views.batch, name="api-batch"),
    path("batch/<str:batch_id>", views.batch_job, name="api-batch-job"),
    path("batch/<str:batch_id>/stop", views.batch_stop, name="api-batch-stop"),
    path("video", views.video, name="api-video"),
    path("video/<str:job_id>", views.video_job, name="api-video-job"),
    path("video/<str:job_id>/stop", views.video_stop, name="api-video-stop"),
    path("load-user-model", views.load_user_model, name="api-load-user-model"),
    path("reset-to-base-model", views.reset_to_base_model, name="api-reset"),
    path("hooks", hooks.hooks, name="api-hooks"),
    path("hooks/<str:hook_id>", hooks.hook, name="api-hook"),
    path("hooks/<str:hook_id>/test", hooks.hook_test, name="api-hook-test"),
    path("hooks/<str:hook_id>/deliveries", hooks.hook_deliveries, name="api-hook-deliveries"),
    path("keys", views.keys, name="api-keys"),
    path("keys/<str:key_id>", views.key, name="api-key"),
    path("models", views.models, name="api-models"),
    path("models/<str:model_id>", views.model, name="api-model"),
    path("models/<str:model_id>/activate", views.model_activate, name="api-model-activate"),
    path("models/<str:model_id>/rename", views.model_rename, name="api-model-rename"),
    path("models/<str:model_id>/things", views.model_things, name="api-model-things"),
    path("models/<str:model_id>/exports/<str:format>", exports.export, name="api-export"),
    path("models/<str:model_id>/shares", views.shares, name="api-shares"),
    path("shares/<str:token>", views.share, name="api-share"),
]
