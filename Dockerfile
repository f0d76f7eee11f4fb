# The environment is made in one stage and copied into the other: no compiler, no pip cache, no sources remain.
#
#   docker build -t aup-relay .
#   docker run -v ./etc:/etc/aup-relay:ro -v aup-relay:/var/lib/aup-relay -p 587:2587 aup-relay
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY config/policies config/policies
COPY config/relay.yaml config/relay.yaml
COPY relay relay
# The slim image has no compiler: every package comes as a wheel or is Python alone.
RUN python -m venv /opt/aup-relay \
 && /opt/aup-relay/bin/pip install --no-cache-dir --disable-pip-version-check . \
 && /opt/aup-relay/bin/pip uninstall --yes --quiet pip

FROM python:3.13-slim-bookworm
LABEL org.opencontainers.image.title="aup-relay" \
      org.opencontainers.image.description="An outbound SMTP relay that enforces an Acceptable Use Policy" \
      org.opencontainers.image.licenses="MIT"
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/aup-relay --shell /usr/sbin/nologin aup-relay \
 && install -d -o aup-relay -g aup-relay -m 0700 /var/lib/aup-relay \
 && install -d -m 0755 /etc/aup-relay \
 # Not needed to run, and the first thing an intruder looks for.
 && rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip
COPY --from=build /opt/aup-relay /opt/aup-relay
ENV PATH=/opt/aup-relay/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    AUP_RELAY_CONFIG=/etc/aup-relay/relay.yaml \
    AUP_RELAY_HEALTH=http://127.0.0.1:8025/healthz
USER aup-relay
WORKDIR /var/lib/aup-relay
VOLUME /var/lib/aup-relay
EXPOSE 2587 8025 8026
# SIGTERM drains; give it `limits.drain` and a little more: docker stop --time 345
STOPSIGNAL SIGTERM
# The public listener of the configuration; AUP_RELAY_HEALTH names it if it is elsewhere.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(os.environ['AUP_RELAY_HEALTH'], timeout=4)"]
ENTRYPOINT ["aup-relay"]
CMD ["serve"]
