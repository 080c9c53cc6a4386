# The inference image for NVIDIA GPUs: vLLM of one pinned version, and this project's server and agent.
#
#   docker build -f deploy/docker/inference.Dockerfile --build-arg BASE_IMAGE=REPOSITORY@sha256:DIGEST \
#     --build-arg REVISION=$(git rev-parse HEAD) --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) \
#     --output type=image,name=REGISTRY/kaito-inference:0.1.0,push=true,rewrite-timestamp=true .
#
# The base needs Python 3.11 with venv, pip and development files, and a C compiler; CUDA comes in the locked wheels, the
# driver from the node.
# BASE_IMAGE has no default: give one with a digest, for a tag may name something else tomorrow. Every step is a program
# with its arguments; no shell takes part. `--target sbom --output DIRECTORY` puts the bill of materials beside the image.
ARG BASE_IMAGE

FROM ${BASE_IMAGE} AS build
ARG BASE_IMAGE
ARG SOURCE_DATE_EPOCH=0
ENV PYTHONPATH=/source/hack PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
USER 0:0
WORKDIR /source
COPY hack/image_builder hack/image_builder
RUN ["python3", "-m", "image_builder.base_image", "--compiler"]
RUN ["python3", "-m", "venv", "--without-pip", "/opt/kaito"]
COPY hack/requirements/inference-cuda.txt hack/requirements/inference-cuda.txt
RUN ["python3", "-m", "pip", "--python", "/opt/kaito/bin/python3", "install", "--no-compile", "--no-deps", \
     "--only-binary", ":all:", "--require-hashes", "--requirement", "hack/requirements/inference-cuda.txt"]
COPY setup.cfg setup.cfg
COPY inference_server inference_server
RUN ["/opt/kaito/bin/python3", "-m", "image_builder.sources", ".", "inference_server"]
RUN ["/opt/kaito/bin/python3", "-m", "image_builder.bytecode", "/", "0", "1", "/opt/kaito/lib"]
RUN ["/opt/kaito/bin/python3", "-m", "image_builder.sbom", "kaito-inference", ".", "/opt/kaito/share/sbom/kaito-inference.cdx.json"]

FROM scratch AS sbom
COPY --from=build /opt/kaito/share/sbom /

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG REVISION=unknown
LABEL org.opencontainers.image.title="kaito-inference" \
      org.opencontainers.image.description="kaito-controller's inference server with vLLM on NVIDIA GPUs" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
COPY --from=build /opt/kaito /opt/kaito
ENV PATH=/opt/kaito/bin:/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp USER=nonroot LOGNAME=nonroot NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /
USER 65532:65532
ENTRYPOINT ["/opt/kaito/bin/python3", "-m", "inference_server.serve"]
