# An image of `deploy-snn serve`, without torch and ONNX: a server reads bundles, and needs neither.
#
#   docker build --tag deploy-snn .
#   docker run --publish 127.0.0.1:8000:8000 --volume "$PWD/bundles:/bundles:ro" deploy-snn /bundles/robot
FROM python:3.13-slim AS build
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY deploy_snn deploy_snn
RUN python -m venv /opt/deploy-snn \
    && /opt/deploy-snn/bin/pip install --no-cache-dir --constraint constraints.txt \
        numpy pydantic rich safetensors typer onnxruntime \
        fastapi uvicorn httptools msgspec uvloop websockets prometheus-client grpcio grpcio-health-checking grpcio-reflection redis \
    && /opt/deploy-snn/bin/pip install --no-cache-dir --constraint constraints.txt --no-deps .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --create-home deploy-snn \
    && install --directory --owner=deploy-snn /var/lib/deploy-snn
COPY --from=build /opt/deploy-snn /opt/deploy-snn
USER 10001
# For --checkpoint /var/lib/deploy-snn: streams then survive the container.
VOLUME /var/lib/deploy-snn
EXPOSE 8000
HEALTHCHECK --interval=10s --start-period=10s CMD ["/opt/deploy-snn/bin/python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=2)"]
ENTRYPOINT ["/opt/deploy-snn/bin/deploy-snn", "serve", "--host", "0.0.0.0", "--port", "8000"]
