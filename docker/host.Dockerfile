# The whole pipeline: recipes in, bundles out.
#
#   docker build -f docker/host.Dockerfile -t edgeticket-host .
#   docker run --rm -v "$PWD:/work" -u "$(id -u)" edgeticket-host run demo
#
# The default index of pip has PyTorch with CUDA, several gigabytes of it. To train on a CPU, let
# pip see PyTorch's index of CPU builds: --build-arg PIP_EXTRA_INDEX_URL=...

FROM python:3.11-slim-bookworm AS build
ARG PIP_EXTRA_INDEX_URL
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY edgeticket edgeticket
COPY device_runner device_runner
COPY models models
COPY pipeline pipeline
RUN python -m venv --without-pip /opt/edgeticket \
 && python -m pip --python /opt/edgeticket/bin/python install --no-cache-dir --no-compile \
      -c constraints.txt '.[host]'

FROM python:3.11-slim-bookworm
COPY --from=build /opt/edgeticket /opt/edgeticket
# The user of `docker run -u` has no home: what is fetched stays beside the results.
ENV PATH=/opt/edgeticket/bin:$PATH \
    EDGETICKET_DATA=/work/.edgeticket/data \
    EDGETICKET_CACHE=/work/.edgeticket \
    MPLCONFIGDIR=/tmp
WORKDIR /work
USER 1000:1000
HEALTHCHECK --interval=5m --timeout=60s CMD ["edgeticket", "--help"]
ENTRYPOINT ["edgeticket"]
CMD ["--help"]
