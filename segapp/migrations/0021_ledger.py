from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("segapp", "0020_video_objects")]

    operations = [
        migrations.CreateModel(
            name="LedgerEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("place", models.CharField(help_text="Like examples/<public id>", max_length=64, unique=True)),
                ("visitor", models.CharField(db_index=True, max_length=64)),
                (
                    "source",
                    models.CharField(
                        blank=True, db_index=True, help_text="Digest of an address; empty: none", max_length=32
                    ),
                ),
                ("bytes", models.PositiveBigIntegerField(default=0)),
                ("measured", models.DateTimeField(auto_now=True)),
            ],
            options={"verbose_name_plural": "ledger entries"},
        ),
    ]
