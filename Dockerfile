# docker build -t caloman .   Another torch, as for CUDA: docs/howto/containers.md
FROM python:3.11-slim
ARG TORCH=torch
ARG PIP_OPTIONS=--no-cache-dir
WORKDIR /opt/caloman
COPY pyproject.toml constraints.txt README.md LICENSE CITATION.cff ./
COPY caloman_cli caloman_cli
COPY conf conf
# --no-cache-dir stands in PIP_OPTIONS, which hadolint does not see.
# hadolint ignore=DL3042
RUN pip install $PIP_OPTIONS -c constraints.txt "$TORCH" \
 && pip install $PIP_OPTIONS -c constraints.txt ".[slurm]"
WORKDIR /work
ENTRYPOINT ["caloman"]
CMD ["--help"]
