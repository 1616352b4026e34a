# tests/house/test_dockerfile.py performs these steps without an engine: keep them plain.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python -m venv /opt/build
RUN /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
RUN python -m venv /opt/relay
RUN /opt/relay/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY relay relay
RUN /opt/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /opt/dist .
RUN /opt/relay/bin/pip install --no-deps --no-index --find-links /opt/dist relay

FROM python:3.13-slim
RUN useradd --system --uid 10001 --create-home --home-dir /data relay
COPY --from=build /opt/relay /opt/relay
USER relay
WORKDIR /data
# For `--network host`, where media needs no address translated: HTTP is this machine's alone, for
# the TLS proxy. With published ports instead, deploy/README.md names the settings it takes.
ENV PATH=/opt/relay/bin:/usr/local/bin:/usr/bin:/bin
ENV RELAY_HTTP__PORT=8080 RELAY_ICE__UDP_PORT=8081 RELAY_ICE__TCP_PORT=8081
EXPOSE 8080/tcp 8081/udp 8081/tcp
HEALTHCHECK --interval=10s --timeout=4s CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:%s/healthz' % os.environ['RELAY_HTTP__PORT'], timeout=3)"]
CMD ["relay", "serve"]
