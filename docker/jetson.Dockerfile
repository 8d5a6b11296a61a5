# The runner on a Jetson, on top of NVIDIA's own image, which brings CUDA and TensorRT.
#
#   docker build -f docker/jetson.Dockerfile -t edgeticket-jetson \
#     --build-arg BASE=l4t-jetpack:r36.4.0 --build-arg ORT=onnxruntime-gpu .
#   docker run --rm --runtime nvidia -v "$PWD:/work" -u "$(id -u)" edgeticket-jetson \
#     bench bundle.zip -o reports
#
# BASE is NVIDIA's l4t-jetpack image for the JetPack on the board, under the name that it has
# here. ORT is what pip installs as ONNX Runtime: the builds with TensorRT and CUDA for Jetson
# come from NVIDIA, as a wheel in the folder docker/wheels/ or from an index that pip is
# configured for. The public `onnxruntime` works too, on the CPU.

ARG BASE=l4t-jetpack:r36.4.0

FROM ${BASE} AS build
ARG ORT=onnxruntime==1.23.0
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY edgeticket edgeticket
COPY device_runner device_runner
COPY docker/wheels /wheels
# One environment over the system's packages: TensorRT's Python module is one of them. No
# constraints.txt here: its versions are for Python 3.11, and JetPack 6 has 3.10.
RUN python3 -m venv --system-site-packages /opt/edgeticket \
 && /opt/edgeticket/bin/python -m pip install --no-cache-dir --no-compile \
      --find-links /wheels '.[tflite]' "${ORT}"

FROM ${BASE}
COPY --from=build /opt/edgeticket /opt/edgeticket
ENV PATH=/opt/edgeticket/bin:$PATH
WORKDIR /work
USER 1000:1000
HEALTHCHECK --interval=5m --timeout=60s CMD ["device-runner", "info"]
ENTRYPOINT ["device-runner"]
CMD ["--help"]
