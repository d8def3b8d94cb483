# kstyle on a processor, with PyTorch. Linted (hadolint), but not built where it was written: no builder was at hand.
#   docker build -t kstyle .
#   docker run --rm --user "$(id -u)" -v "$PWD:/work" kstyle stylize photo.jpg painting.jpg -o result.png
FROM python:3.11-slim AS build
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir hatchling==1.33.0 && pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.11-slim
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /wheels /wheels
# PyTorch's build without CUDA is a fifth of the size of the one on PyPI. PyTorch's page "Get started" names its index:
#   docker build --build-arg TORCH_INDEX=https://… -t kstyle .
ARG TORCH_INDEX=
RUN wheel="$(echo /wheels/*.whl)" && pip install --no-cache-dir -c /tmp/constraints.txt \
      ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "${wheel}[torch,backbones,heif]"
# What is downloaded or can be made again is kept where any user may write.
ENV KERAS_HOME=/tmp/keras KSTYLE_CACHE=/tmp/kstyle
WORKDIR /work
USER 65534:65534
ENTRYPOINT ["kstyle"]
CMD ["--help"]
