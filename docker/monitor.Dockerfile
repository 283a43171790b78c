# Watches what is served, and has models trained anew. From the repository's root:
#   docker build --file docker/monitor.Dockerfile --tag roundhouse-monitor .

FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
COPY LICENSE README.md pyproject.toml constraints.txt ./
COPY tools/protogen.py tools/
COPY protos protos
COPY sdk sdk
COPY services services
RUN python -m venv /opt/roundhouse
RUN /opt/roundhouse/bin/pip install --constraint constraints.txt ".[monitor]"

FROM python:3.11.14-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/roundhouse roundhouse
COPY --from=build /opt/roundhouse /opt/roundhouse
COPY docker/healthcheck.py /opt/roundhouse/healthcheck.py
ENV PATH=/opt/roundhouse/bin:$PATH
ENV PYTHONUNBUFFERED=1
ENV ROUNDHOUSE_MONITOR_DATA_DIR=/var/lib/roundhouse
ENV ROUNDHOUSE_MONITOR_LISTEN=0.0.0.0:7004
ENV ROUNDHOUSE_MONITOR_METRICS_LISTEN=0.0.0.0:7104
# It has no login: whoever sets an address here decides who reads it.
ENV ROUNDHOUSE_MONITOR_DASHBOARD_LISTEN=
USER roundhouse
WORKDIR /var/lib/roundhouse
VOLUME /var/lib/roundhouse
EXPOSE 7004 7104
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/opt/roundhouse/healthcheck.py", "127.0.0.1:7004"]
ENTRYPOINT ["roundhouse-monitor"]
