# The controller's image. BASE must be a Python 3.11 or newer image pinned by digest, for example
#   docker build -f deploy/docker/controller.Dockerfile --build-arg BASE=<repository>@sha256:<digest> .
ARG BASE
FROM ${BASE} AS build
WORKDIR /source
COPY hack/requirements/operator.txt hack/requirements/operator.txt
RUN python3 -m venv /opt/kaito-controller \
    && /opt/kaito-controller/bin/python -m pip install --no-cache-dir --no-deps --require-hashes -r hack/requirements/operator.txt
COPY setup.py setup.cfg README.md LICENSE ./
COPY kaito_controller kaito_controller
COPY inference_server inference_server
RUN /opt/kaito-controller/bin/python -m pip install --no-cache-dir --no-deps .

FROM ${BASE}
COPY --from=build /opt/kaito-controller /opt/kaito-controller
USER 65532:65532
ENTRYPOINT ["/opt/kaito-controller/bin/kaito-controller"]
CMD ["run"]
