# One image for every part. Alone it serves everything, with its Redis and SQLite below /data; docker-compose.yml runs
# the parts apart. Where pip should find torch's CPU build, name the index that has it:
#   docker build --build-arg PIP_EXTRA_INDEX_URL=... -t segapp .
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 SEGAPP_HOME=/data HF_HOME=/data/huggingface
WORKDIR /app

COPY requirements*.txt ./
ARG PIP_EXTRA_INDEX_URL=
# "-r requirements-s3.txt" for media in a bucket (docs/scaling.md).
ARG EXTRAS=
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements-torch.txt \
    && pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r requirements.txt \
    && if [ -n "$EXTRAS" ]; then pip install --no-cache-dir --disable-pip-version-check $EXTRAS; fi \
    && python -m compileall -q /usr/local/lib

COPY . .
RUN useradd --create-home --uid 10001 segapp && mkdir /data /key && chown segapp:segapp /data /key
USER segapp

VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/api/health', timeout=4)"]
CMD ["python", "manage.py", "serve", "--bind", "0.0.0.0"]
