# aipface-server: the service alone; its PostgreSQL runs beside it (docker-compose.yml).
#
# The weights of the default pack are baked in: 75 MB, for which the build downloads 209 MB, buy a start that needs no
# network and a file system that may be read-only. Another pack is fetched into the volume: AIPFACE_PACK=...
# AIPFACE_MODEL_DIR=/var/lib/aipface/models.
#
# Build with BuildKit (the default of current engines): docker build -t aipface-server .
# To search in Milvus: --build-arg LOCK=requirements-milvus.lock (docs/scaling.md). For an NVIDIA GPU: DEVICE=cuda.

FROM python:3.12-slim AS build
ARG LOCK=requirements.lock
ARG DEVICE=cpu
WORKDIR /src
COPY requirements.lock requirements-milvus.lock pyproject.toml README.md LICENSE ./
COPY deploy/install.sh deploy/
COPY service service
COPY models models
COPY alembic alembic
RUN deploy/install.sh environment /opt/aipface
# npm comes as a PyPI package when the machine has none, so nothing else is installed for it.
# hadolint ignore=DL3059
RUN AIPFACE=/opt/aipface/bin/aipface deploy/install.sh weights /opt/aipface/weights

FROM python:3.12-slim
LABEL org.opencontainers.image.title="aipface-server" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 aipface \
 && useradd --uid 10001 --gid aipface --home-dir /var/lib/aipface --no-create-home --shell /usr/sbin/nologin aipface \
 && install -d -o aipface -g aipface -m 0700 /var/lib/aipface
COPY --from=build /opt/aipface /opt/aipface
COPY deploy/healthcheck.py /opt/aipface/healthcheck.py
ENV PATH=/opt/aipface/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    AIPFACE_HOME=/var/lib/aipface \
    AIPFACE_MODEL_DIR=/opt/aipface/weights \
    AIPFACE_HOST=0.0.0.0 \
    AIPFACE_PORT=8000 \
    AIPFACE_LOG_FORMAT=json
USER 10001:10001
WORKDIR /var/lib/aipface
VOLUME ["/var/lib/aipface"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "/opt/aipface/healthcheck.py"]
ENTRYPOINT ["aipface"]
CMD ["serve"]
