# One image for `async server` and `async worker`; see docker-compose.yml.
FROM node:20-bookworm-slim
WORKDIR /app
COPY package.json package-lock.json .npmrc tsconfig.json tsconfig.build.json ./
COPY src ./src
# With the development packages to build, then without them.
RUN npm ci --no-audit --no-fund && npm prune --omit=dev --ignore-scripts --no-audit --no-fund
COPY workers ./workers
USER node
ENV NATS_URL=nats://nats:4222
ENTRYPOINT ["node", "dist/cli/main.js"]
CMD ["server", "--http", "0.0.0.0:8000"]
