from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("registry", "0002_image_input")]

    operations = [
        migrations.AddField(
            model_name="usermodel",
            name="active_when_found",
            field=models.BooleanField(default=False, help_text="Was active when its file was lost"),
        ),
    ]
