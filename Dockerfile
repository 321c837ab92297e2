# Shoal's image. Build:  docker build -t shoal .
#                Run:    docker run --rm --read-only -p 127.0.0.1:8000:8000 -v "$PWD/models:/models:ro" shoal
#
# PROVIDER=cuda adds ONNX Runtime's CUDA provider (linux/amd64 only) and needs a RUNTIME_IMAGE with the CUDA libraries
# it was linked with: docs/gpu.md.
ARG RUNTIME_IMAGE=node:24-bookworm-slim

FROM node:24-bookworm-slim AS build
# The package's own install step would fetch CUDA libraries; the CPU runtime is inside the package.
ENV ONNXRUNTIME_NODE_INSTALL=skip
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json ./
COPY src ./src
RUN npm run --silent build && npm prune --omit=dev --no-audit --no-fund

# Of ONNX Runtime's binaries for five platforms keep the one this image is for.
ARG TARGETARCH
RUN set -eu; \
    case "${TARGETARCH:-$(dpkg --print-architecture)}" in \
      amd64) arch=x64 ;; \
      arm64) arch=arm64 ;; \
      *) echo "ONNX Runtime for Node.js has no linux binary for '${TARGETARCH}'" >&2; exit 1 ;; \
    esac; \
    cd node_modules/onnxruntime-node/bin; \
    test -f "napi-v6/linux/$arch/onnxruntime_binding.node"; \
    find . -type f ! -path "./napi-v6/linux/$arch/*" -delete; \
    find . -type d -empty -delete

ARG PROVIDER=cpu
RUN set -eu; \
    case "$PROVIDER" in \
      cpu) ;; \
      cuda) \
        ONNXRUNTIME_NODE_INSTALL=cuda12 node node_modules/onnxruntime-node/script/install; \
        rm -f node_modules/onnxruntime-node/bin/napi-v6/linux/x64/libonnxruntime_providers_tensorrt.so ;; \
      *) echo "PROVIDER must be cpu or cuda, not '$PROVIDER'" >&2; exit 1 ;; \
    esac; \
    rm -r node_modules/.package-lock.json node_modules/onnxruntime-node/script; \
    find dist node_modules -name '*.map' -delete
# The repository's models, so that the image answers out of the box; a mount at /models takes their place.
COPY models /models
COPY proto ./proto
COPY LICENSE deploy/container/check-cuda-libraries.sh ./
RUN chmod -R u=rwX,go=rX dist node_modules package.json LICENSE proto /models

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="shoal" \
      org.opencontainers.image.description="Inference server for ONNX models: concurrent requests share ONNX Runtime calls." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
WORKDIR /opt/shoal
COPY --from=build /build/package.json /build/LICENSE ./
COPY --from=build /build/node_modules ./node_modules
COPY --from=build /build/dist/src ./dist/src
COPY --from=build /build/proto ./proto
COPY --from=build /models /models
# A CUDA base image has no Node.js of its own; and whatever the base, the runtime must load before the image exists.
ARG PROVIDER=cpu
RUN --mount=type=bind,from=build,source=/,target=/run/build \
    set -eu; \
    command -v node >/dev/null || install -m 755 /run/build/usr/local/bin/node /usr/local/bin/node; \
    if [ "$PROVIDER" = cuda ]; then bash /run/build/build/check-cuda-libraries.sh; fi; \
    ORT_DISABLE_TELEMETRY=1 node -e "require('onnxruntime-node')"

ENV NODE_ENV=production \
    ORT_DISABLE_TELEMETRY=1 \
    SHOAL_HOST=0.0.0.0 \
    SHOAL_MODELS=/models
# Numbers, so that Kubernetes' runAsNonRoot can tell. Nothing is ever written: the root file system may be read-only.
USER 1000:1000
# gRPC is on 8001 where SHOAL_GRPC_PORT=8001 turns it on.
EXPOSE 8000 8001
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
  CMD ["node", "/opt/shoal/dist/src/main.js", "health"]
# The exec form makes the server process 1: SIGTERM reaches it and nothing else.
ENTRYPOINT ["node", "/opt/shoal/dist/src/main.js"]
CMD ["serve"]
