# Trains models, in worker processes of its own. From the repository's root:
#   docker build --file docker/trainer.Dockerfile --tag roundhouse-trainer .

FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
COPY LICENSE README.md pyproject.toml constraints.txt ./
COPY tools/protogen.py tools/
COPY protos protos
COPY sdk sdk
COPY services services
RUN python -m venv /opt/roundhouse
# By its exact version, and before anything that asks for torch. Give the build argument
# PIP_EXTRA_INDEX_URL the index of PyTorch's CPU wheels for an image without CUDA's gigabytes.
ARG PIP_EXTRA_INDEX_URL
RUN /opt/roundhouse/bin/pip install --constraint constraints.txt torch==2.13.0
RUN /opt/roundhouse/bin/pip install --constraint constraints.txt ".[trainer]"

FROM python:3.11.14-slim-bookworm
# LightGBM's wheel brings no OpenMP runtime.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/roundhouse roundhouse
COPY --from=build /opt/roundhouse /opt/roundhouse
COPY docker/healthcheck.py /opt/roundhouse/healthcheck.py
ENV PATH=/opt/roundhouse/bin:$PATH
ENV PYTHONUNBUFFERED=1
ENV ROUNDHOUSE_TRAINER_DATA_DIR=/var/lib/roundhouse
ENV ROUNDHOUSE_TRAINER_LISTEN=0.0.0.0:7002
ENV ROUNDHOUSE_TRAINER_METRICS_LISTEN=0.0.0.0:7102
USER roundhouse
WORKDIR /var/lib/roundhouse
VOLUME /var/lib/roundhouse
EXPOSE 7002 7102
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/opt/roundhouse/healthcheck.py", "127.0.0.1:7002"]
ENTRYPOINT ["roundhouse-trainer"]
