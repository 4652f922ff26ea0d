# syntax=docker/dockerfile:1
# The API and the worker: one image, two commands (see docker-compose.yml).
#   docker build -t transrec-serve .                    CPU
#   docker build -t transrec-serve --build-arg EXTRA=gpu .   FAISS on CUDA 12
FROM python:3.11-slim AS build
ARG EXTRA=cpu
# For a CPU image from an index that offers only the CUDA build of torch.
ARG TORCH_INDEX=""
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY constraints.txt ./
RUN pip install -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY training training
COPY migrations migrations
RUN pip install -c constraints.txt ".[${EXTRA}]"

FROM python:3.11-slim
# OpenMP, which torch and FAISS load.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --create-home transrec && install -d -o transrec /data
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 TRANSREC_HOME=/data TRANSREC_HOST=0.0.0.0
USER transrec
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('TRANSREC_PORT', '8000') + '/health/ready', timeout=4)"]
CMD ["transrec", "serve"]
