# syntax=docker/dockerfile:1
# One image for `transrec serve`, `transrec worker` and `transrec migrate` (see docker-compose.yml).
#   docker build -t transrec-serve .                      CPU
#   docker build -t transrec-serve:cuda --target cuda .   torch and FAISS on CUDA 12 or newer
#   --build-arg TORCH_INDEX=<URL>                         an index with the wanted build of torch, if yours has another
FROM python:3.11-slim AS base
ENV PATH=/opt/venv/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

# What both builds share: a virtual environment with torch, by far the largest part. It changes least, so it comes first.
FROM base AS build
ARG TORCH_INDEX=""
RUN python -m venv /opt/venv
WORKDIR /src
COPY constraints.txt ./
RUN pip install -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY training training
COPY migrations migrations

FROM build AS build-cpu
RUN pip install -c constraints.txt ".[serve,cpu]"

# What both images share: OpenMP, which torch and FAISS load; a user; a folder for releases.
FROM base AS runtime
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --create-home transrec
RUN install -d -o transrec -g transrec /data
ARG REVISION=unknown
LABEL org.opencontainers.image.title="TransRec Serve" \
      org.opencontainers.image.description="Multi-tenant recommendation serving: one frozen backbone, an adapter a channel" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$REVISION"
ENV PYTHONUNBUFFERED=1 \
    TRANSREC_HOME=/data \
    TRANSREC_HOST=0.0.0.0
USER transrec
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('TRANSREC_PORT', '8000') + '/health/ready', timeout=4)"]
CMD ["transrec", "serve"]

FROM build AS build-cuda
RUN pip install -c constraints.txt ".[serve,gpu]"
# A CPU build of torch would be found out only by how slow it is.
RUN python -c "import torch; assert torch.version.cuda, 'torch without CUDA: name another TORCH_INDEX'"

FROM runtime AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /opt/venv /opt/venv

# Last, so that a build without --target makes it.
FROM runtime AS cpu
COPY --from=build-cpu /opt/venv /opt/venv
