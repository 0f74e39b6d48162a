# The base of both stages. A release pins it: --build-arg NODE_IMAGE=docker.io/library/node:26-slim@sha256:…
ARG NODE_IMAGE=docker.io/library/node:26-slim

# Runs on the builder's own architecture: what it makes is the same for all.
FROM --platform=$BUILDPLATFORM ${NODE_IMAGE} AS build
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json mirror.config.json LICENSE ./
COPY scripts/image-config.ts scripts/prune-packages.ts scripts/
COPY src src
# /data can be written by the group 0 as well: OpenShift runs the image as any user of that group.
RUN mkdir -p /image/app /image/data /image/etc/layerwell /image/usr/local/bin \
  && npx tsc -p tsconfig.build.json --outDir /image/app/dist --sourceMap false \
  && cp -r src/http/management/pages/assets /image/app/dist/http/management/pages/ \
  && node scripts/image-config.ts > /image/etc/layerwell/mirror.config.json \
  && npm prune --omit=dev \
  && node scripts/prune-packages.ts node_modules \
  && cp -r node_modules package.json LICENSE /image/app/ \
  && chmod 755 /image/app/dist/main.js \
  && ln -s /app/dist/main.js /image/usr/local/bin/layerwell \
  && chmod 770 /image/data

FROM ${NODE_IMAGE}
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Layerwell" \
  org.opencontainers.image.description="A pull-through caching mirror for container registries" \
  org.opencontainers.image.licenses="Apache-2.0" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}" \
  org.opencontainers.image.created="${CREATED}" \
  org.opencontainers.image.source="${SOURCE}"
ENV NODE_ENV=production LAYERWELL_REVISION=${REVISION} LAYERWELL_CONFIG=/etc/layerwell/mirror.config.json
WORKDIR /app
COPY --from=build /image/app /app
COPY --from=build /image/etc/layerwell /etc/layerwell
COPY --from=build /image/usr/local/bin /usr/local/bin
COPY --from=build --chown=65532:0 /image/data /data
USER 65532:65532
VOLUME /data
EXPOSE 5000 5001
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["node", "dist/main.js", "health"]
# Node is process 1 and handles SIGTERM itself. An init (docker run --init) is needed only by a credential helper that leaves processes behind.
ENTRYPOINT ["node", "dist/main.js"]
CMD ["serve"]
