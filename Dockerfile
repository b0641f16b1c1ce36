# mnist_lab in a container, on the CPU; with CUDA (6 GB):
#   docker build -t mnist_lab --build-arg TORCH=https://pypi.org/simple .
#   docker run --gpus all -v "$PWD/outputs:/work/outputs" mnist_lab train model=cnn
FROM python:3.11-slim
ARG TORCH=https://download.pytorch.org/whl/cpu
COPY constraints.txt /tmp/
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt --index-url "$TORCH" torch torchvision
COPY pyproject.toml README.md LICENSE /src/
COPY mnist_lab /src/mnist_lab
COPY conf /src/conf
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt /src && rm -r /src
RUN useradd --create-home --uid 1000 lab && mkdir -p /work/outputs && chown -R lab /work
USER lab
WORKDIR /work
ENTRYPOINT ["mnist-lab"]
CMD ["train", "--help"]
