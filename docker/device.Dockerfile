# The runner with both runtimes, for arm64 boards and for amd64 machines.
#
#   docker build -f docker/device.Dockerfile -t edgeticket-device .
#   docker run --rm -v "$PWD:/work" -u "$(id -u)" edgeticket-device bench bundle.zip -o reports
#
# Clock, heat and throttling are read from the host's /sys, which containers see. A Raspberry Pi's
# vcgencmd is not in the image, so throttling is reported as unavailable.

FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY edgeticket edgeticket
COPY device_runner device_runner
# pip stays outside of the environment, so the image does not carry it.
RUN python -m venv --without-pip /opt/edgeticket \
 && python -m pip --python /opt/edgeticket/bin/python install --no-cache-dir --no-compile \
      -c constraints.txt '.[tflite,ort]'

FROM python:3.11-slim-bookworm
COPY --from=build /opt/edgeticket /opt/edgeticket
ENV PATH=/opt/edgeticket/bin:$PATH
WORKDIR /work
USER 1000:1000
# Healthy: Python, numpy and both runtimes load, and the machine can be described.
HEALTHCHECK --interval=5m --timeout=60s CMD ["device-runner", "info"]
ENTRYPOINT ["device-runner"]
CMD ["--help"]
