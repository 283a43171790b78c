# Serves models by the Open Inference Protocol, in the process or in front of Triton. From the repository's root:
#   docker build --file docker/inference.Dockerfile --tag roundhouse-inference .

FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
COPY LICENSE README.md pyproject.toml constraints.txt ./
COPY tools/protogen.py tools/
COPY protos protos
COPY sdk sdk
COPY services services
RUN python -m venv /opt/roundhouse
RUN /opt/roundhouse/bin/pip install --constraint constraints.txt ".[inference,signing]"

FROM python:3.11.14-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/roundhouse roundhouse
COPY --from=build /opt/roundhouse /opt/roundhouse
COPY docker/healthcheck.py /opt/roundhouse/healthcheck.py
ENV PATH=/opt/roundhouse/bin:$PATH
ENV PYTHONUNBUFFERED=1
ENV ROUNDHOUSE_INFERENCE_DATA_DIR=/var/lib/roundhouse
ENV ROUNDHOUSE_INFERENCE_LISTEN=0.0.0.0:7003
ENV ROUNDHOUSE_INFERENCE_METRICS_LISTEN=0.0.0.0:7103
USER roundhouse
WORKDIR /var/lib/roundhouse
VOLUME /var/lib/roundhouse
EXPOSE 7003 7103
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/opt/roundhouse/healthcheck.py", "127.0.0.1:7003"]
ENTRYPOINT ["roundhouse-inference"]
